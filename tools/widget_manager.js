// The part of the widget manager that this book needs: it shows the widgets whose state a page holds, without a kernel.
// The stock one, html-manager's embed-amd.js, also brings notebook outputs and a schema checker that calls eval: 3.6 MB.
// build.py bundles this file with the packages that it imports; page.js loads it after the state of the page's widgets, and calls it.
import { ManagerBase } from "@jupyter-widgets/base-manager";
import * as base from "@jupyter-widgets/base";
import * as controls from "@jupyter-widgets/controls";
import { MessageLoop } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import "@lumino/widgets/style/index.css";
import "@jupyter-widgets/controls/css/widgets-base.css";
import "@jupyter-widgets/controls/css/labvariables.css";
import anywidget from "anywidget";

const MODULES = { "@jupyter-widgets/base": base, "@jupyter-widgets/controls": controls, anywidget: anywidget(base) };
const VIEW = "script[type='application/vnd.jupyter.widget-view+json']";

class PageManager extends ManagerBase {
  async loadClass(name, module) {
    const found = MODULES[module]?.[name];
    if (!found) throw new Error(`expected a widget of ${Object.keys(MODULES).join(", ")}, got ${name} of ${module}`);
    return found;
  }

  // There is no kernel to talk to.
  async _get_comm_info() {
    return {};
  }

  async _create_comm() {
    return { on_close() {}, on_msg() {}, close() {}, send() {} };
  }

  /** Put a model's view in the place in front of the script element that asks for it. */
  async show(script, models) {
    const { model_id: id } = JSON.parse(script.textContent);
    const model = models.find((candidate) => candidate.model_id === id);
    if (!model) throw new Error(`expected the state of widget ${id} in the page, found none`);
    const view = await this.create_view(model);
    const place = script.previousElementSibling;
    Widget.attach(view.luminoWidget, place);
    if (place.querySelector(".jupyter-widgets-error-widget")) { // what the base manager shows of a model or a view that it cannot make
      Widget.detach(view.luminoWidget);
      throw new Error(`expected a state from which widget ${id} can be made`);
    }
    window.addEventListener("resize", () => MessageLoop.postMessage(view.luminoWidget, Widget.ResizeMessage.UnknownSize));
  }
}

/** Show all widgets of the page from their state; fail(place, error) is called for each that cannot be shown. */
globalThis.vaeShowWidgets = async (state, fail) => {
  const manager = new PageManager();
  const models = await manager.set_state(state);
  for (const script of document.querySelectorAll(VIEW)) {
    await manager.show(script, models).catch((error) => fail(script.previousElementSibling, error));
  }
};
