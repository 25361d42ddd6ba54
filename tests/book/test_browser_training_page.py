"""Training in the browser, on its page: it learns, obeys, leaves the page responsive, and says so where it cannot start."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shown
from conftest import AS_PICTURE, Watched, at_rest, until, widget_state
from playwright.sync_api import Browser, Page, Worker, expect
from scipy.special import xlogy

CHAPTER = shown.page_with("BrowserTraining")
READOUT = ".vae-browser-training .vae-readout"
# counts what the page sees: painted pictures, workers that were started and ended, and tasks of the main thread above 50 ms
COUNTERS = """
window.seen = { pictures: 0, started: 0, ended: 0, long: [] };
const RealWorker = Worker;
window.Worker = class extends RealWorker {
  constructor(...given) { super(...given); seen.started += 1; }
  terminate() { seen.ended += 1; super.terminate(); }
};
const note = (list) => seen.long.push(...list.getEntries().map((entry) => Math.round(entry.duration)));
new PerformanceObserver(note).observe({ type: "longtask" });
"""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:"
)


def opened(chromium: Browser, base: str, **options: object) -> Watched:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)  # type: ignore[arg-type]
    watched = Watched(context, base)
    watched.page.add_init_script(COUNTERS)
    return watched


@pytest.fixture(scope="module")
def shared(chromium: Browser, site: str) -> Iterator[Page]:
    """One page for all tests that leave a training behind: each resets it first."""
    watched = opened(chromium, site)
    page = watched.open(f"{site}/{CHAPTER}")
    ready(page)
    yield page
    assert watched.foreign == watched.troubles == []
    page.context.close()


@pytest.fixture
def page(shared: Page) -> Page:
    """As it was before the first click, with the sliders at their start."""
    shared.locator(".vae-noise").set_checked(True)
    move(shared, 1, "Home")
    move(shared, 1, *["ArrowRight"] * 20)
    press(shared, "reset")
    ready(shared)
    return shared


@pytest.fixture(scope="module")
def mean_image(html: Path) -> float:
    """What the mean of the page's images costs, nats per image: where a collapsed decoder ends."""
    (canvas,) = (model for model in json.loads(widget_state(html / CHAPTER))["state"].values() if "worker" in model["state"])
    data = {buffer["path"][0]: base64.b64decode(buffer["data"]) for buffer in canvas["buffers"]}
    both = np.frombuffer(data["images"], np.uint8)
    x = np.stack([both & 15, both >> 4], axis=1).reshape(len(data["labels"]), -1) / 15
    mean = x.mean(axis=0)
    return float(-(xlogy(x, mean) + xlogy(1 - x, 1 - mean)).sum(axis=1).mean())


def ready(page: Page) -> None:
    expect(page.locator(READOUT)).to_contain_text("Before training")


def press(page: Page, name: str) -> None:
    page.locator(f".vae-browser-training .vae-{name}").click()


def handles(page: Page):  # type: ignore[no-untyped-def]
    box = page.locator(".vae-widget-box", has=page.locator(".vae-browser-training"))
    return box.locator(".noUi-handle")


def move(page: Page, slider: int, *keys: str) -> None:
    handles(page).nth(slider).focus()
    for key in keys:
        page.keyboard.press(key)


def said(page: Page) -> str:
    return page.locator(READOUT).inner_text()


def steps(page: Page) -> int:
    found = re.search(r"([\d,]+) gradient step", said(page))
    return int(found[1].replace(",", "")) if found else 0


def wait_for_steps(page: Page, least: int) -> None:
    page.wait_for_function(
        r"""least => {
          const text = document.querySelector(".vae-browser-training .vae-readout").innerText;
          return Number((text.match(/([\d,]+) gradient step/) ?? [0, "0"])[1].replaceAll(",", "")) >= least;
        }""",
        arg=least,
    )


def training_of(page: Page) -> Worker:
    """The worker that trains on the page."""
    (worker,) = (one for one in page.workers if one.evaluate("typeof training !== 'undefined'"))
    return worker


def trained(worker: Worker) -> tuple[bool, int]:
    """Whether a worker trains, and how many steps it has made: what it knows, and the page only hears of."""
    running, count = worker.evaluate("[running, training.net.steps]")
    return running, count


def loss(page: Page) -> float:
    found = re.search(r"reconstruction ([\d.]+) \+ KL ([\d.,]+) ", said(page))
    assert found is not None, said(page)
    return float(found[1]) + float(found[2])


def sigma(page: Page) -> float:
    found = re.search(r"encoder's σ is ([\d.]+)", said(page))
    assert found is not None, said(page)
    return float(found[1])


def test_it_waits_for_the_reader(page: Page) -> None:
    at_rest(page)
    assert steps(page) == 0
    assert trained(training_of(page)) == (False, 0)
    expect(page.locator(".vae-browser-training .vae-start")).to_have_text("Start")
    assert page.locator(".vae-browser-training canvas").get_attribute("role") == "img"
    for control in page.locator(".vae-browser-training button, .vae-browser-training input").all():
        box = control.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 24
    names = [handle.get_attribute("aria-label") for handle in handles(page).all()]
    assert names == ["Learning rate", "Weight β of the KL"]


def longest_task(trace: bytes) -> float:
    """Return the processor time of the longest task of any page's main thread, ms."""
    events = json.loads(trace)["traceEvents"]
    named = [event for event in events if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"]
    main = {(event["pid"], event["tid"]) for event in named}
    tasks = [event for event in events if event["name"].endswith("RunTask") and (event["pid"], event["tid"]) in main]
    times = [event["tdur"] / 1000 for event in tasks if "tdur" in event]
    assert len(times) > 100, "the trace holds no tasks"
    return max(times)


@pytest.mark.alone
def test_the_loss_falls_below_the_mean_image_and_the_page_stays_responsive(
    page: Page, chromium: Browser, mean_image: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """No task of the main thread takes 50 ms of the processor's time: by the clock, a busy machine makes any task long."""
    canvas = page.locator(".vae-browser-training canvas")
    before = canvas.evaluate(AS_PICTURE)
    page.evaluate(
        """() => {
          const text = document.querySelector(".vae-browser-training .vae-readout");
          seen.watch = new MutationObserver(() => (seen.pictures += 1));
          seen.watch.observe(text, { childList: true });
          Object.assign(seen, { pictures: 0, long: [], began: performance.now() });
        }"""
    )
    chromium.start_tracing(page=page, categories=["toplevel"])
    press(page, "start")
    wait_for_steps(page, 600)
    longest = longest_task(chromium.stop_tracing())
    seen = page.evaluate("() => { seen.watch.disconnect(); return { ...seen, watch: 0, now: performance.now() }; }")
    pace = re.search(r"\d+ pictures and \d+ steps a second", said(page))
    assert pace is not None
    rate = 1000 * seen["pictures"] / (seen["now"] - seen["began"])
    with capsys.disabled():
        print(
            f"\n  {rate:.1f} pictures a second; {pace[0]}; longest task {longest:.1f} ms; by the clock, above 50: {seen['long']}"
        )
    assert seen["pictures"] >= 100  # 600 steps at the pace of stepsBetween are 110 pictures or more
    assert longest < 50
    assert canvas.evaluate(AS_PICTURE) != before
    assert loss(page) < mean_image
    # what is read aloud comes every eight seconds
    expect(page.locator(".vae-browser-training .vae-unseen[role=status]")).to_contain_text("nats per image")


def test_it_pauses_steps_and_goes_on(page: Page) -> None:
    press(page, "start")
    wait_for_steps(page, 5)
    expect(page.locator(".vae-browser-training .vae-step")).to_be_disabled()
    press(page, "start")
    worker = training_of(page)
    until(page, lambda: not trained(worker)[0], "the worker hears of the pause")
    stopped = trained(worker)[1]
    until(page, lambda: steps(page) == stopped, "the page shows what was learned last")
    step = page.locator(".vae-browser-training .vae-step")
    step.focus()
    page.keyboard.press("Enter")
    wait_for_steps(page, stopped + 1)
    assert (steps(page), trained(worker)) == (stopped + 1, (False, stopped + 1))  # nothing was learned in between
    expect(page.locator(".vae-browser-training .vae-start")).to_have_text("Go on")
    press(page, "start")
    wait_for_steps(page, stopped + 3)


def test_a_reset_repeats_the_same_steps_and_a_new_seed_does_not(page: Page) -> None:
    texts = []
    for button in ("reset", "reset", "seed"):
        press(page, button)
        ready(page)
        for count in range(1, 4):
            press(page, "step")
            wait_for_steps(page, count)
        texts.append(said(page).split(". ", 1))
    assert texts[0] == texts[1]
    assert texts[2][0] != texts[0][0]  # the seed
    assert texts[2][1] != texts[0][1]


def test_without_noise_every_cloud_becomes_as_wide_as_the_prior(page: Page) -> None:
    page.locator(".vae-noise").focus()
    page.keyboard.press("Space")
    press(page, "start")
    wait_for_steps(page, 400)
    assert "without noise no bound" in said(page)
    assert sigma(page) == pytest.approx(1, abs=0.05)
    quiet = loss(page)
    page.locator(".vae-noise").set_checked(False)
    page.locator(".vae-noise").set_checked(True)  # nobody could tell one image from another now
    expect(page.locator(READOUT)).not_to_contain_text("no bound")
    until(page, lambda: loss(page) > quiet, "the noise raises the loss")


def test_beta_takes_effect_while_it_runs(page: Page) -> None:
    press(page, "start")
    wait_for_steps(page, 150)
    narrow = sigma(page)
    move(page, 1, "End")  # beta 10
    expect(page.locator(READOUT)).to_contain_text("with β 10.00")
    wait_for_steps(page, steps(page) + 300)
    assert sigma(page) > 1.5 * narrow
    move(page, 1, "Home")  # beta 0
    wait_for_steps(page, steps(page) + 300)
    assert sigma(page) < narrow


def test_a_large_learning_rate_ends_at_the_mean_image_and_nothing_breaks(page: Page, mean_image: float) -> None:
    move(page, 0, "End")
    press(page, "start")
    wait_for_steps(page, 200)
    assert loss(page) > mean_image - 2 or "diverged" in said(page)
    press(page, "reset")
    move(page, 0, "Home", *["ArrowRight"] * 34)  # 0.005 again, for the tests after this one


def test_a_widget_that_is_removed_ends_its_worker(chromium: Browser, site: str) -> None:
    watched = opened(chromium, site)
    page = watched.open(f"{site}/{CHAPTER}")
    ready(page)
    press(page, "start")
    wait_for_steps(page, 3)
    assert page.evaluate("[seen.started, seen.ended]") == [1, 0]
    page.evaluate("document.querySelector('.vae-browser-training').remove()")
    page.wait_for_function("() => seen.ended === 1")
    assert watched.troubles == []
    page.context.close()


def with_policy(page: Page, site: str, policy: str) -> None:
    def answer(route) -> None:  # type: ignore[no-untyped-def]
        reply = route.fetch()
        route.fulfill(response=reply, headers={**reply.headers, "content-security-policy": policy})

    page.route(f"{site}/{CHAPTER}", answer)
    page.goto(f"{site}/{CHAPTER}")


def test_it_runs_under_the_policy_that_admits_workers_from_blobs(chromium: Browser, site: str) -> None:
    page = chromium.new_page()
    with_policy(page, site, POLICY)
    ready(page)
    press(page, "step")
    wait_for_steps(page, 1)
    page.close()


def test_where_workers_are_forbidden_a_message_stands_in_its_place(chromium: Browser, site: str) -> None:
    page = chromium.new_page()
    with_policy(page, site, POLICY.replace("worker-src blob:", "worker-src 'none'"))
    message = page.locator(".vae-browser-training [role=alert]")
    expect(message).to_contain_text("Nothing can be trained here: it takes a web worker")
    for button in page.locator(".vae-browser-training button").all():
        expect(button).to_be_disabled()
    page.close()


def test_it_runs_from_the_disk_on_a_phone_that_asks_for_little_motion(chromium: Browser, html: Path) -> None:
    watched = opened(chromium, html.as_uri(), reduced_motion="reduce", color_scheme="dark", has_touch=True)
    watched.page.set_viewport_size({"width": 320, "height": 800})
    page = watched.open((html / CHAPTER).as_uri())
    ready(page)
    page.locator(".vae-browser-training .vae-start").tap()
    wait_for_steps(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert watched.foreign == watched.troubles == []
    page.context.close()
