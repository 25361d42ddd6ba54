"""What is done to each built page after Sphinx has written it, so that it is private, light and accessible.

- Formulas are typeset here rather than in each reader's browser, and so are there without JavaScript too.
- A Content-Security-Policy forbids what the book promises not to do: to ask another server for anything. Of scripts in a page's
  text it allows those that stand there now, by their hashes: markup that somebody puts into a page runs nothing.
- The identifiers that widgets get when they are executed are replaced, so that two builds give the same bytes.
- The state of widgets moves out of the page into a file of its own, which comes after the text.
- Scripts wait for the text; those that a page does not need go. Pictures have their size, so that nothing moves as they come.
- One script, early.js, stands in each page's text: it shows still pictures where the widgets' files do not arrive.
- Sphinx's search is mended where words such as "constructor" confuse it.
- Each page has a description of its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

ROOT = Path(__file__).parent.parent
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' blob:{}",  # widgets' modules are made in the page; the hashes of scripts in its text
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    ]
)
DONE = "data-finished"
# What the widgets of a page take, on a screen and on a phone 390 pixels wide; test_pages.py holds it against what comes.
_HEIGHTS = {
    "book/index": [("311px", "calc(min(46vw, 200px) + 72px)")],  # on the first screen: exact, on every phone
    "book/derivation": [("615px", "660px")],
    "book/kl-closed-form": [("670px", "845px")],
    "book/reparameterization": [("751px", "877px")],
    "book/mnist-results": [("541px", "753px"), ("715px", "1042px")],
    "book/latent-explorer": [("612px", "808px")],
    "book/exact-likelihood": [("586px", "977px")],
    "book/which-beta": [("515px", "778px")],
    "book/dimensions": [("822px", "1026px")],
    "book/aggregate-posterior": [("509px", "992px")],
    "book/conditional": [("512px", "622px")],
}
_FORMULA = re.compile(
    r'<(span|div) class="(?P<kind>(?:amsmath )?math) notranslate nohighlight"(?P<rest>[^>]*)>(?P<body>.*?)</\1>', re.DOTALL
)
_MARKS = re.compile(r"[.,;:!?)’”]+")
_CELL = re.compile(r"<td>.*?</td>", re.DOTALL)
_CODE = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span>)')
_NUMBER = re.compile(r'\s*(<span class="eqno">.*?</span>)', re.DOTALL)
_STATE = re.compile(r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL)
_REFERENCE = re.compile(r"IPY_MODEL_([0-9a-f]{32})")
_VIEW = '<script type="application/vnd.jupyter.widget-view+json">'
_VIEW_TEXT = re.compile(re.escape(_VIEW) + r"([^<]*)</script>")
_ICON_FONT = re.compile(r"<script[^>]*fontawesome\.js[^>]*></script>")  # icons.css holds what is used of it
_PRELOAD = re.compile(r'<link rel="preload" as="script"[^>]*/>')  # of scripts that wait: they would only delay the text
_STYLE = re.compile(r'<link (?=[^>]*rel="stylesheet")[^>]*href="([^"?]*)[^"]*"[^>]*/>')
_IN_STYLE = re.compile(r"""@import (?:url\()?["']?([^"')]+)["']?\)?;|url\(["']?((?!data:)[^"')]+)["']?\)""")
# rules of the icon font, for its 2,000 icons and for its files
_ICON_RULES = re.compile(
    r"""(?:\.fa-[\w-]+:{1,2}before,?)+\{content:"[^"]*"\}|@font-face\{[^}]*(?:Font ?Awesome|fontawesome)[^}]*\}""", re.IGNORECASE
)
_FOR_SEARCH = re.compile(r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
_OPTIONS = re.compile(r'<script src="([^"?]*documentation_options\.js)[^"]*"></script>')  # inline scripts use them at once
_ARGUMENTS = re.compile(r'<dl>\s*((?:<dd><em class="sig-param">.*?</dd>\s*)+)</dl>', re.DOTALL)
_THEME = """{ light: "light", dark: "dark" }[document.documentElement.dataset.mode] ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")"""
_SCRIPT = re.compile(r"<script(?P<attributes>(?:\s[^>]*)?)>(?P<text>.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_SOURCE = re.compile(r"(?<![\w-])src\s*=", re.IGNORECASE)
_TYPE = re.compile(r"""(?<![\w-])type\s*=\s*["']?([^\s"'>]*)""", re.IGNORECASE)
_RUNS = {"", "module", "text/javascript", "application/javascript", "importmap", "speculationrules"}  # other types are data
_HANDLER = re.compile(
    r"""(?P<before><[a-z][^<>]*?)\s(?P<name>on[a-z]+)\s*=\s*(?P<quote>["'])(?P<code>.*?)(?P=quote)""", re.DOTALL | re.IGNORECASE
)
_ACTIONS = {"window.print()": "print", "toggleFullScreen()": "fullscreen"}  # of the theme's buttons: page.js does them
# A fault of Sphinx, up to 7.4 at least: searchtools.js keeps words in plain objects, which inherit "constructor", "__proto__" and
# others; a search for them finds a function where it expects a list of pages, and stops with an error.
_SEARCH_REPAIRS = {
    "    Search._index = index;\n": (
        "    Search._index = index;\n"
        "    for (const words of [index.terms, index.titleterms]) Object.setPrototypeOf(words, null);\n"
    ),
    "!terms.hasOwnProperty(word)": "!Object.hasOwn(terms, word)",
    "!titleTerms.hasOwnProperty(word)": "!Object.hasOwn(titleTerms, word)",
    "scoreMap.set(file, {})": "scoreMap.set(file, Object.create(null))",
}
_SECOND_VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1" />'


class Formula(NamedTuple):
    """A formula of a page: where it stands, what number it has, and its TeX."""

    match: re.Match[str]
    number: str
    tex: str
    display: bool


def formulas_of(page: str) -> list[Formula]:
    """Find the formulas of a page as Sphinx writes them."""
    found = []
    for match in _FORMULA.finditer(page):
        number = _NUMBER.match(match["body"])
        tex = html.unescape(match["body"][number.end() :] if number else match["body"]).strip()
        if tex.startswith((r"\(", r"\[")):
            tex = tex[2:-2]
        found.append(Formula(match, number[1] if number else "", tex.strip(), match[1] == "div"))
    return found


def typeset(pages: list[list[Formula]]) -> list[dict[str, Any]]:
    """Have MathJax typeset the formulas of all pages, in one run of Node."""
    wanted = [[{"tex": formula.tex, "display": formula.display} for formula in page] for page in pages]
    command = [str(Path(sys.executable).parent / "node"), str(ROOT / "tools" / "typeset.mjs")]
    done = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"typesetting the formulas failed:\n{done.stderr[-2000:]}")
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def with_formulas(page: str, formulas: list[Formula], typeset_page: dict[str, Any], warn: Callable[[str], None]) -> str:
    """Put typeset formulas in the places of their TeX, and their style in the page's head."""
    parts, end = [], 0
    for formula, made in zip(formulas, typeset_page["formulas"], strict=True):
        if isinstance(made, dict):
            warn(made["error"])
            continue
        match = formula.match
        start = f'<{match[1]} class="{match["kind"]} notranslate nohighlight"{match["rest"]}>'
        whole, end_of_last = f"{start}{formula.number}{made}</{match[1]}>", end
        end = match.end()
        if not formula.display and (mark := _MARKS.match(page, end)):  # no line begins with a full stop
            whole, end = f'<span class="vae-together">{whole}{mark[0]}</span>', mark.end()
        parts += [page[end_of_last : match.start()], whole]
    page = "".join([*parts, page[end:]])
    if not formulas:
        return page
    fonts = f"{content_root(page)}_static/vendor/mathjax/fonts"
    css = re.sub(r"\s+", " ", typeset_page["css"].replace("FONTS", fonts))
    return page.replace("</head>", f"<style>{css}</style>\n</head>", 1)


def with_theme_at_once(page: str) -> str:
    """Choose between light and dark before anything is painted, and light where there is no JavaScript to choose."""
    page = page.replace('data-theme="auto"', 'data-theme="light"', 1)
    return page.replace('localStorage.getItem("theme") || "auto"', _THEME, 1)


def with_right_roles(page: str) -> str:
    """Mend what the theme, Sphinx and its extensions tell a screen reader that is not so."""
    page = re.sub(r'(<button class="btn search-button-field[^>]*) aria-label="Search"', r"\1", page)  # its text is more than that
    page = page.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    page = page.replace('role="doc-biblioentry"', 'role="listitem"')
    return _ARGUMENTS.sub(lambda match: '<div class="vae-arguments">' + match[1].replace("dd>", "div>") + "</div>", page)


def with_breaks_in_names(page: str) -> str:
    """Let long names in tables break after their parts, and not in the middle of a word."""
    breaks = re.compile(r"(?<=[/_.(])(?=\w)|(?<=::)(?=\w)")
    return _CELL.sub(lambda cell: _CODE.sub(lambda code: breaks.sub("<wbr>", code[0]), cell[0]), page)


def content_root(page: str) -> str:
    """Return the way from a page to the top of the book."""
    found = re.search(r'data-content_root="([^"]*)"', page)
    return found[1] if found else "./"


def inline_scripts(page: str) -> list[str]:
    """Return the texts of the scripts that stand in a page itself, each once, in their order."""
    texts = []
    for script in _SCRIPT.finditer(page):
        kind = _TYPE.search(script["attributes"])
        if not _SOURCE.search(script["attributes"]) and (kind[1].lower() if kind else "") in _RUNS:
            texts.append(script["text"])
    return list(dict.fromkeys(texts))


def policy(page: str) -> str:
    """Return the Content-Security-Policy of a page, with the hash of each script in it; by https://www.w3.org/TR/CSP3/."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline_scripts(page)]
    return _POLICY.format("".join(f" 'sha256-{one}'" for one in hashes))


def with_policy(page: str) -> str:
    """Forbid what the book does not do, before anything is loaded; after this, no script in the page may change any more."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(page)}" />'
    return page.replace('<meta charset="utf-8" />', f'<meta charset="utf-8" />\n    {meta}', 1)


def with_early_script(page: str) -> str:
    """Put the script that has to run first, and cannot come as a file, before all others."""
    lines = (ROOT / "book" / "front" / "early.js").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for raw in lines if (line := raw.strip()) and not line.startswith("//"))
    page = page.replace(_SECOND_VIEWPORT, "", 1)
    return page.replace('<meta charset="utf-8" />', f'<meta charset="utf-8" />\n    <script>{text}</script>', 1)


def without_handlers(page: str, warn: Callable[[str], None]) -> str:
    """Replace code in attributes, which the policy forbids, by names of what page.js does; warn of what it does not know."""

    def named(found: re.Match[str]) -> str:
        action = _ACTIONS.get(html.unescape(found["code"]).strip().rstrip(";"))
        if action is None:
            warn(f"a page's policy does not let {found['name']}={found['code']!r} run; listen for the event in page.js")
            return found["before"]
        return f'{found["before"]} data-action="{action}"'

    while _HANDLER.search(page):  # an element may have several
        page = _HANDLER.sub(named, page)
    return page


def repair_search(folder: Path, warn: Callable[[str], None]) -> None:
    """Mend Sphinx's search in the built pages; warn if its script is not as expected."""
    file = folder / "_static" / "searchtools.js"
    if not file.exists():
        return
    text = file.read_text(encoding="utf-8")
    for old, new in _SEARCH_REPAIRS.items():
        if new in text:
            continue
        if text.count(old) != 1:
            warn(f"searchtools.js: expected {old.strip()!r} once, found it {text.count(old)} times; see finish_pages.py")
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def with_description(page: str) -> str:
    """Describe a page by its first paragraph without formulas, or by its title, unless it describes itself."""
    if 'name="description"' in page:
        return page
    article = page.partition("<article")[2]
    paragraphs = re.findall(r"<p>(.*?)</p>", article, flags=re.DOTALL)
    texts = [plain(paragraph) for paragraph in paragraphs if "nohighlight" not in paragraph]
    title = re.search(r"<title>(.*?)</title>", page, flags=re.DOTALL)
    text = next((text for text in texts if len(text) > 40), plain(title[1]) if title else "")
    shortened = html.escape(textwrap.shorten(text, 155, placeholder=" …"))
    return page.replace("</title>", f'</title>\n    <meta name="description" content="{shortened}" />', 1)


def plain(markup: str) -> str:
    """Return the text of a piece of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split())


def with_light_scripts(page: str, folder: Path, *, is_search: bool) -> str:
    """Drop the scripts that a page does not need, and let the others wait for the text, in their order."""
    page = _PRELOAD.sub("", _ICON_FONT.sub("", page))
    if not is_search:
        page = _FOR_SEARCH.sub("", page)
    if 'class="sd-tab' not in page:
        page = re.sub(r"<script[^>]*design-tabs\.js[^>]*></script>", "", page)
    page = _OPTIONS.sub(lambda match: f"<script>{(folder / match[1]).read_text(encoding='utf-8')}</script>", page)
    return re.sub(r"<script (?=[^>]*src=)(?![^>]*defer)", "<script defer ", page)


def style_text(file: Path, static: Path) -> str:
    """Return a style sheet with those that it imports, its addresses as seen from the folder of all."""

    def resolved(match: re.Match[str]) -> str:
        if match[1]:
            return style_text((file.parent / match[1]).resolve(), static)
        return f'url("{os.path.relpath(file.parent / match[2], static)}")'

    text = re.sub(r"/\*(?!!).*?\*/", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return _IN_STYLE.sub(resolved, _ICON_RULES.sub("", text))


def with_one_style(page: str, folder: Path, static: Path) -> str:
    """Join the style sheets of a page, which all have to be there before anything is painted."""
    links = list(_STYLE.finditer(page))
    if not links:
        return page
    text = "\n".join(style_text((folder / link[1]).resolve(), static) for link in links)
    file = static / f"style-{hashlib.sha256(text.encode()).hexdigest()[:8]}.css"
    file.write_text(text, encoding="utf-8")
    one = f'<link rel="stylesheet" href="{content_root(page)}_static/{file.name}" />'
    rest = _STYLE.sub("", page[links[0].end() :])
    return page[: links[0].start()] + one + rest


def in_order_of_use(models: dict[str, Any], views: list[str]) -> list[str]:
    """Return the identifiers of a page's models as the page comes to them: views, and what each of them refers to.

    Those that nothing refers to, such as links, come last, by what they refer to themselves. Neither identifiers nor the order
    in which a notebook lists them count, for both change: the former with each execution, the latter when outputs are kept.
    """
    order: dict[str, int] = {}

    def visit(identifier: str) -> None:
        if identifier in models and identifier not in order:
            order[identifier] = len(order)
            for other in _REFERENCE.findall(json.dumps(models[identifier], sort_keys=True)):
                visit(other)

    def masked(identifier: str) -> str:
        text = json.dumps(models[identifier], sort_keys=True)
        return _REFERENCE.sub(lambda match: f"{order.get(match[1], '')}", text)

    for view in views:
        visit(view)
    for identifier in sorted((left for left in models if left not in order), key=masked):
        visit(identifier)
    return list(order)


def with_widgets_apart(page: str, name: str, static: Path) -> str:
    """Move the state of the page's widgets into a file, and keep a place for each.

    Their random identifiers become others that follow from the page's name and their order: two builds give the same bytes.
    """
    if not (state := _STATE.search(page)):
        return page
    content = json.loads(state[1])
    page = _VIEW_TEXT.sub(lambda view: f"{_VIEW}{json.dumps(json.loads(view[1]), sort_keys=True)}</script>", page)
    views = re.findall(re.escape(_VIEW) + r'[^<]*"model_id": ?"([0-9a-f]{32})"', page)
    order = in_order_of_use(content["state"], views)
    new = {old: hashlib.sha256(f"{name} {i}".encode()).hexdigest()[:32] for i, old in enumerate(order)}

    def renamed(text: str) -> str:
        return re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", lambda match: new.get(match[0], match[0]), text)

    page = renamed(page)
    content = json.loads(renamed(json.dumps(content, ensure_ascii=False)))
    state = _STATE.search(page)
    assert state is not None
    text = f"globalThis.vaeWidgetState = {json.dumps(content, ensure_ascii=False, sort_keys=True)};\n"
    file = static / "widgets" / f"{name.replace('/', '-')}.js"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    address = f"_static/widgets/{file.name}?v={hashlib.sha256(text.encode()).hexdigest()[:8]}"
    page = page[: state.start()] + page[state.end() :]
    heights = iter(_HEIGHTS.get(name, ()))

    def with_place(view: re.Match[str]) -> str:
        wide, narrow = next(heights, ("600px", "850px"))
        return f'<div class="widget-subarea vae-waiting" style="--wide: {wide}; --narrow: {narrow}"></div>{view[0]}'

    page = re.sub(re.escape(_VIEW), with_place, page)
    return page.replace("<html ", f'<html data-widgets="{address}" ', 1)


def with_sized_pictures(page: str, folder: Path) -> str:
    """Give each picture its size; those after the first come when the reader draws near."""
    seen = 0

    def sized(match: re.Match[str]) -> str:
        nonlocal seen
        source = re.search(r'src="([^":?#]+)', match[0])
        if source is None or "width=" in match[0] or "_static" in source[1] or (folder / source[1]).suffix != ".png":
            return match[0]
        with Image.open(folder / source[1]) as image:
            width, height = image.size
        seen += 1
        lazy = ' loading="lazy"' if seen > 1 else ""
        return f'<img width="{width}" height="{height}"{lazy}' + match[0].removeprefix("<img")

    return re.sub(r"<img\b[^>]*>", sized, page)


def redirect(target: str, title: str) -> str:
    """Return the page at the book's address, which leads to its first chapter."""
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en" {DONE}>\n<head>\n<meta charset="utf-8" />\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy("")}" />\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1.0" />\n'
        f'<meta http-equiv="refresh" content="0; url={target}" />\n<link rel="canonical" href="{target}" />\n'
        '<link rel="icon" href="data:," />\n'
        f'<title>{title}</title>\n<meta name="description" content="{title}: to the first page." />\n</head>\n'
        f'<body>\n<main><h1>{title}</h1>\n<p><a href="{target}">To the first page</a></p></main>\n</body>\n</html>\n'
    )


def finish(folder: Path, warn: Callable[[str], None] = print) -> int:
    """Finish all pages below a folder that are not finished yet; returns how many.

    Parameters
    ----------
    folder
        The built HTML.
    warn
        Called with a text for each formula that cannot be typeset.

    Returns
    -------
    int
        The number of pages finished.
    """
    waiting = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: text for path in waiting if "<html" in (text := path.read_text(encoding="utf-8")) and DONE not in text}
    found = {path: formulas_of(page) for path, page in pages.items()}
    for (path, formulas), made in zip(found.items(), typeset(list(found.values())) if pages else (), strict=True):
        name = path.relative_to(folder).with_suffix("").as_posix()
        page = with_formulas(pages[path], formulas, made, lambda text, name=name: warn(f"{name}: {text}"))  # type: ignore[misc]
        page = with_description(page)
        page = with_widgets_apart(page, name, folder / "_static")
        page = with_one_style(page, path.parent, folder / "_static")
        page = with_light_scripts(page, path.parent, is_search=name == "search")
        page = with_sized_pictures(with_breaks_in_names(with_right_roles(with_theme_at_once(page))), path.parent)
        page = without_handlers(with_early_script(page), lambda text, name=name: warn(f"{name}: {text}"))  # type: ignore[misc]
        path.write_text(with_policy(page).replace("<html ", f"<html {DONE} ", 1), encoding="utf-8")
    repair_search(folder, warn)
    (folder / "_static" / "early.js").unlink(missing_ok=True)  # its text stands in the pages
    return len(pages)
