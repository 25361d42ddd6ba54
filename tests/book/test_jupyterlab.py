"""The explorer's chapter in a real JupyterLab: run all, move a slider, read z in Python, show an explorer again and again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import lab
import nbformat
import pytest
from conftest import LIMIT_S, ROOT, frames, until  # it also makes tools/ importable
from playwright.sync_api import Browser, Locator, Page

AGAIN = 20
READ = "print('z is', [round(value, 4) for value in explorer.z])"
MAKE = "vae_lib.LatentExplorer(vae, images=images[:100], labels=labels[:100])"

# Counts what the page has made and not let go: workers, canvases that the garbage collector cannot take, and listeners on what
# outlives a widget (window, document, media queries), added by code from a blob, which is how anywidget loads a widget's.
COUNTING = """
(() => {
  const canvases = [];
  const own = () => new Error().stack.includes("blob:");
  let workers = 0, listeners = 0, observers = 0;
  const create = Document.prototype.createElement;
  Document.prototype.createElement = function (...args) {
    const node = create.apply(this, args);
    if (String(args[0]).toLowerCase() === "canvas" && own()) canvases.push(new WeakRef(node));
    return node;
  };
  const Made = window.Worker;
  window.Worker = class extends Made {
    constructor(...args) { super(...args); this.ours = own(); if (this.ours) workers += 1; }
    terminate() { if (this.ours) workers -= 1; this.ours = false; super.terminate(); }
  };
  const lasting = (target) => [window, document, document.body].includes(target) || target instanceof MediaQueryList;
  const held = new Map(); // target → type → Set of listeners
  const of = (target, type) => {
    if (!held.has(target)) held.set(target, {});
    return (held.get(target)[type] ??= new Set());
  };
  const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype;
  EventTarget.prototype.addEventListener = function (type, listener, options) {
    const target = this ?? window;
    if (lasting(target) && own() && !of(target, type).has(listener)) {
      of(target, type).add(listener);
      if (options?.signal) add.call(options.signal, "abort", () => of(target, type).delete(listener));
    }
    return add.call(target, type, listener, options);
  };
  EventTarget.prototype.removeEventListener = function (type, listener, options) {
    const target = this ?? window;
    if (held.has(target)) of(target, type).delete(listener);
    return remove.call(target, type, listener, options);
  };
  for (const name of ["ResizeObserver", "MutationObserver", "IntersectionObserver"]) {
    const Observer = window[name];
    window[name] = class extends Observer {
      observe(...args) { if (!this.live && own()) { this.live = true; observers += 1; } return super.observe(...args); }
      disconnect() { if (this.live) { this.live = false; observers -= 1; } return super.disconnect(); }
    };
  }
  window.counted = () => ({
    workers, observers,
    listeners: [...held.values()].flatMap((types) => Object.values(types)).reduce((sum, all) => sum + all.size, 0),
    canvases: canvases.filter((node) => node.deref()).length,
    made: canvases.length,
    shown: document.querySelectorAll("canvas").length,
  });
})();
"""


@pytest.fixture(scope="module")
def ran(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The chapter with two cells more, all of it run."""
    notebook = nbformat.read(ROOT / "book" / "latent-explorer.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells += [nbformat.v4.new_code_cell(text) for text in (READ, MAKE)]  # type: ignore[no-untyped-call]
    with lab.serve(tmp_path_factory.mktemp("lab"), notebook) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 1000})
        context.add_init_script(COUNTING)
        page = context.new_page()
        page.goto(address)
        lab.run_all(page, LIMIT_S)
        yield page
        context.close()


def cell_with(page: Page, text: str) -> Locator:
    return page.locator(".jp-Notebook .jp-CodeCell").filter(has=page.locator(".jp-InputArea", has_text=text)).first


def run(page: Page, cell: Locator) -> None:
    """Run a cell as a reader does, with Ctrl + Enter, and wait until the kernel has answered."""
    cell.locator(".jp-InputPrompt").first.click()
    before = cell.locator(".jp-InputPrompt").first.inner_text()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "([prompt, before]) => /^\\[\\d+\\]/.test(prompt.innerText) && prompt.innerText !== before",
        arg=[cell.locator(".jp-InputPrompt").first.element_handle(), before],
    )


def explorer_cell(page: Page) -> Locator:
    cell = cell_with(page, "explorer = vae_lib.LatentExplorer(")
    cell.locator(".vae-explorer-digit").wait_for()
    return cell


def counts(page: Page) -> dict[str, int]:
    """What is alive once the garbage has been collected, and collecting it again changes nothing."""
    session = page.context.new_cdp_session(page)
    found: list[dict[str, int]] = [{}]

    def the_same_again() -> bool:
        session.send("HeapProfiler.collectGarbage")
        frames(page)
        found.append(page.evaluate("window.counted()"))
        return found[-1] == found[-2]

    until(page, the_same_again, "what is alive stays the same")
    session.detach()
    return found[-1]


def test_the_whole_chapter_runs_without_an_error(ran: Page) -> None:
    assert ran.locator(".jp-Notebook .jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg").count() == 0
    assert ran.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.error']").count() == 0
    prompts = [prompt.inner_text() for prompt in ran.locator(".jp-CodeCell .jp-InputPrompt").all()]
    assert prompts
    assert all(prompt.strip("[]:").isdigit() for prompt in prompts)


def test_a_moved_slider_is_read_in_python(ran: Page) -> None:
    handles = explorer_cell(ran).locator(".noUi-handle")
    read = cell_with(ran, READ[:11])
    read_before = read.locator(".jp-OutputArea-output").inner_text()
    handles.first.focus()
    for _ in range(3):
        ran.keyboard.press("ArrowRight")
    handles.nth(1).focus()
    ran.keyboard.press("ArrowLeft")
    frames(ran)
    caption = explorer_cell(ran).get_by_text("Decoded at z = ").inner_text().replace("−", "-")
    shown = caption.split("(")[1].rstrip(")").split(", ")

    def told() -> list[str]:
        run(ran, read)
        after = read.locator(".jp-OutputArea-output").inner_text()
        return [f"{value:.2f}" for value in json.loads(after.removeprefix("z is "))]

    until(ran, lambda: told() == shown, f"the kernel hears that z is {shown}")
    assert read.locator(".jp-OutputArea-output").inner_text() != read_before


def test_run_again_20_times_the_explorer_leaves_nothing_behind(ran: Page) -> None:
    cell = cell_with(ran, MAKE)

    def again() -> None:
        run(ran, cell)
        cell.locator(".vae-explorer-digit").wait_for()
        cell.locator(".vae-explorer-tabs button", has_text="Ledger").click()  # what is opened must be let go as well
        cell.get_by_role("region", name="Ledger").locator("canvas").first.wait_for()

    for _ in range(2):  # what was shown last may stay until the next has come: one, always
        again()
    first = counts(ran)
    for _ in range(AGAIN):
        again()
    same = ("workers", "observers", "listeners", "shown")
    last: dict[str, int] = {}

    def as_before() -> bool:  # what was shown last goes some time after the next has come
        last.update(counts(ran))
        return all(last[name] == first[name] for name in same) and last["canvases"] <= first["canvases"] + 3

    until(ran, as_before, f"after {AGAIN} runs more nothing is left but {first}")  # of canvases, far fewer than one for each run
    print("after two runs:", first, f"after {AGAIN} more:", last)
    assert first["shown"] > 0
    assert last["made"] >= first["made"] + AGAIN  # canvases were made, and counted
