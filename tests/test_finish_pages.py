"""What is done to built pages: formulas, policy, description, widgets apart, sizes."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import build  # noqa: E402 -- tools/ is no package
import finish_pages  # noqa: E402
import page_extension  # noqa: E402

PAGE = """<!DOCTYPE html>
<html lang="en" data-content_root="../" data-theme="auto">
<head>
    <meta charset="utf-8" />
    <title>A chapter</title>
    <link rel="stylesheet" href="../_static/styles/a.css?v=1" />
    <link rel="stylesheet" href="../_static/b.css" />
    <script src="../_static/documentation_options.js?v=1"></script>
    <script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
    <script src="../_static/doctools.js"></script>
    <script src="../searchindex.js"></script>
    <script type="application/vnd.jupyter.widget-state+json">{"state": {}}</script>
</head>
<body><article class="bd-article">
<p>For <span class="math notranslate nohighlight">\\(x &lt; y\\)</span>, a paragraph with a formula describes no page.</p>
<p>What this page is about, said in so many words that they &amp; more fill a line.</p>
<div class="math notranslate nohighlight" id="equation-a">
<span class="eqno">(1)<a href="#equation-a">#</a></span>\\[\\tfrac12\\]</div>
<div><script type="application/vnd.jupyter.widget-view+json">{"model_id": "a"}</script></div>
<img alt="first" src="../_images/a.png" /><img alt="second" src="../_images/a.png" />
</article></body>
</html>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A built book of one page."""
    for name, text in {
        "book/a.html": PAGE,
        "_static/styles/a.css": '/* gone */@import "../c.css";.a{background:url(../a.svg)}.fa-bars:before{content:"\\f0c9"}',
        "_static/b.css": ".b{background:url(data:image/png;base64,AA)}",
        "_static/c.css": ".c{color:red}",
        "_static/documentation_options.js": "const DOCUMENTATION_OPTIONS = {};",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "_images").mkdir()
    Image.new("L", (6, 4)).save(tmp_path / "_images" / "a.png")
    return tmp_path


def test_a_page_is_finished_once(folder: Path) -> None:
    warnings: list[str] = []
    assert finish_pages.finish(folder, warnings.append) == 1
    page = (folder / "book" / "a.html").read_text(encoding="utf-8")
    assert warnings == []
    assert finish_pages.finish(folder, warnings.append) == 0
    assert (folder / "book" / "a.html").read_text(encoding="utf-8") == page


def test_what_a_finished_page_holds(folder: Path) -> None:
    finish_pages.finish(folder)
    page = (folder / "book" / "a.html").read_text(encoding="utf-8")
    assert page.count("<mjx-container") == page.count("<mjx-assistive-mml") == 2
    assert "\\(" not in page
    assert '<span class="eqno">(1)<a href="#equation-a">#</a></span><mjx-container' in page
    assert "url(../_static/vendor/mathjax/fonts/" in page.replace('"', "")
    assert page.index("Content-Security-Policy") < page.index("<link")
    assert (
        '<meta name="description" content="What this page is about, said in so many words that they &amp; more fill a line."'
        in page
    )
    assert page.count('width="6" height="4"') == 2
    assert page.count('loading="lazy"') == 1
    assert "fontawesome" not in page
    assert "searchindex" not in page
    assert '<script defer src="../_static/doctools.js">' in page
    assert "<script>const DOCUMENTATION_OPTIONS = {};</script>" in page


def test_the_state_of_widgets_moves_into_a_file(folder: Path) -> None:
    finish_pages.finish(folder)
    page = (folder / "book" / "a.html").read_text(encoding="utf-8")
    assert "widget-state+json" not in page
    assert '<div class="widget-subarea vae-waiting" style="--wide: 600px; --narrow: 850px"></div><script type="appl' in page
    assert 'data-widgets="_static/widgets/book-a.js?v=' in page
    text = (folder / "_static" / "widgets" / "book-a.js").read_text(encoding="utf-8")
    assert json.loads(text.removeprefix("globalThis.vaeWidgetState = ").rstrip(";\n")) == {"state": {}}


def test_random_identifiers_of_widgets_become_the_same_in_each_build(folder: Path) -> None:
    results = []
    for old in ("0123456789abcdef" * 2, "fedcba9876543210" * 2):
        text = PAGE.replace('{"state": {}}', f'{{"state": {{"{old}": {{"model_name": "A"}}}}}}').replace(
            '"model_id": "a"', f'"model_id": "{old}"'
        )
        (folder / "book" / "a.html").write_text(text, encoding="utf-8")
        finish_pages.finish(folder)
        results.append([(folder / name).read_text(encoding="utf-8") for name in ("book/a.html", "_static/widgets/book-a.js")])
        assert all(old not in text for text in results[-1])
    assert results[0] == results[1]
    (identifier,) = json.loads(results[0][1].removeprefix("globalThis.vaeWidgetState = ").rstrip(";\n"))["state"]
    assert f'{{"model_id": "{identifier}"}}' in results[0][0]


def test_identifiers_follow_from_what_refers_to_what_and_not_from_the_order_of_the_list(folder: Path) -> None:
    """An executed chapter lists models as they were made, one whose outputs were kept by their random identifiers."""

    def state(box: str, slider: str, link: str, *, backwards: bool) -> str:
        models = {
            slider: {"model_name": "Slider", "state": {"value": 1.0}},
            box: {"model_name": "Box", "state": {"children": [f"IPY_MODEL_{slider}"]}},
            link: {"model_name": "Link", "state": {"source": [f"IPY_MODEL_{slider}", "value"]}},
        }
        return json.dumps({"state": dict(reversed(models.items())) if backwards else models}, sort_keys=backwards)

    results = []
    for digits, backwards in ("abc", False), ("bca", True), ("cab", True):
        box, slider, link = (32 * digit for digit in digits)
        text = PAGE.replace('{"state": {}}', state(box, slider, link, backwards=backwards))
        (folder / "book" / "a.html").write_text(text.replace('"model_id": "a"', f'"model_id": "{box}"'), encoding="utf-8")
        finish_pages.finish(folder)
        results.append([(folder / name).read_text(encoding="utf-8") for name in ("book/a.html", "_static/widgets/book-a.js")])
    assert results[0] == results[1] == results[2]


def test_style_sheets_become_one(folder: Path) -> None:
    finish_pages.finish(folder)
    (style,) = (folder / "_static").glob("style-*.css")
    assert (
        style.read_text(encoding="utf-8")
        == '.c{color:red}.a{background:url("a.svg")}\n.b{background:url(data:image/png;base64,AA)}'
    )
    page = (folder / "book" / "a.html").read_text(encoding="utf-8")
    assert page.count('rel="stylesheet"') == 1


def test_a_formula_that_cannot_be_typeset_is_named(folder: Path) -> None:
    page = folder / "book" / "a.html"
    page.write_text(PAGE.replace("tfrac12", "nosuchthing"), encoding="utf-8")
    warnings: list[str] = []
    finish_pages.finish(folder, warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("book/a: Undefined control sequence \\nosuchthing")


def test_an_icon_that_the_theme_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.icons().count("--icon: url(") == len(build.ICONS)
    monkeypatch.setattr(build, "ICONS", ["no-such-icon"])
    with pytest.raises(RuntimeError, match="no-such-icon"):
        build.icons()


def test_labels_with_markup_are_shown_as_text() -> None:
    script = "import plain from './tools/plain_text.js'; console.log(plain(`<img src=x onerror=\"alert('1')\">&`))"
    node = str(Path(sys.executable).parent / "node")
    done = subprocess.run([node, "--input-type=module", "-e", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;"


def test_a_comma_stays_with_the_formula_before_it(folder: Path) -> None:
    finish_pages.finish(folder)
    page = (folder / "book" / "a.html").read_text(encoding="utf-8")
    assert page.count('<span class="vae-together">') == 1
    assert "</span>,</span> a paragraph" in page


def test_names_in_tables_break_after_their_parts_alone() -> None:
    code = '<code class="literal"><span class="pre">{}</span></code>'
    page = f"<p>{code.format('a_b')}</p><td>{code.format('tests/test_a.py::test_b')} {code.format('vae.encoder(x)')}</td>"
    broken = finish_pages.with_breaks_in_names(page)
    assert code.format("a_b") in broken
    assert code.format("tests/<wbr>test_<wbr>a.<wbr>py::<wbr>test_<wbr>b") in broken
    assert code.format("vae.<wbr>encoder(<wbr>x)") in broken


def test_what_is_printed_in_several_messages_stays_one_text() -> None:
    out, err = ({"output_type": "stream", "name": name} for name in ("stdout", "stderr"))
    shown = {"output_type": "display_data", "data": {}}
    outputs = [{**out, "text": "one, "}, {**err, "text": "!"}, shown, {**out, "text": "two\n"}]
    assert page_extension.whole_streams(outputs) == [{**out, "text": "one, two\n"}, {**err, "text": "!"}, shown]


def test_the_policy_names_each_script_in_the_page_by_its_hash_and_no_other(folder: Path) -> None:
    own = "<script>let a = 'ä';\n</script><script type='module'>import('b')</script><script data-src='x'>c()</script>"
    data = '<script type="application/ld+json">{}</script><script src="d.js"></script>'
    (folder / "book" / "a.html").write_text(PAGE.replace("</body>", f"{own}{own}{data}</body>"), encoding="utf-8")
    finish_pages.finish(folder)
    page = (folder / "book" / "a.html").read_text(encoding="utf-8")
    early = page.partition("<script>")[2].partition("</script>")[0]
    assert "vaeStill" in early
    texts = [early, "const DOCUMENTATION_OPTIONS = {};", "let a = 'ä';\n", "import('b')", "c()"]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    rule = " ".join(["script-src 'self' blob:", *(f"'sha256-{one}'" for one in hashes)])
    assert f" {rule};" in page
    assert "unsafe-inline" not in rule
    assert page.index("Content-Security-Policy") < page.index("<script>")


def test_the_page_that_leads_to_the_first_allows_no_script_of_its_own() -> None:
    page = finish_pages.redirect("book/a.html", "A & B")
    assert "script-src 'self' blob:;" in page
    assert "<script" not in page


def test_code_in_attributes_becomes_the_name_of_what_page_js_does(folder: Path) -> None:
    buttons = """<button onclick="window.print()" class="a">Print</button>
<a href="#" onclick='toggleFullScreen();' id="b">Full</a>
<img src="a.svg" onerror="this.remove()" onload="later()"><code>&lt;p onclick="code"&gt;</code> onclick="text" """
    (folder / "book" / "a.html").write_text(PAGE.replace("</article>", f"{buttons}</article>"), encoding="utf-8")
    warnings: list[str] = []
    finish_pages.finish(folder, warnings.append)
    page = (folder / "book" / "a.html").read_text(encoding="utf-8")
    assert '<button data-action="print" class="a">' in page
    assert '<a href="#" data-action="fullscreen" id="b">' in page
    assert '<img src="a.svg">' in page
    assert '&lt;p onclick="code"&gt;</code> onclick="text"' in page
    assert [warning.partition(":")[0] for warning in warnings] == ["book/a", "book/a"]
    assert "this.remove()" in warnings[0] + warnings[1]


def test_views_are_the_same_bytes_whatever_the_order_of_their_keys(folder: Path) -> None:
    """An executed notebook lists them as they were made; one that was kept, by the alphabet."""
    results = []
    for view in (
        '{"version_major": 2, "version_minor": 0, "model_id": "a"}',
        '{"model_id":"a","version_minor":0,"version_major":2}',
    ):
        (folder / "book" / "a.html").write_text(PAGE.replace('{"model_id": "a"}', view), encoding="utf-8")
        finish_pages.finish(folder)
        results.append([(folder / name).read_bytes() for name in ("book/a.html", "_static/widgets/book-a.js")])
    assert results[0] == results[1]


def test_the_search_is_mended_once_and_a_search_of_another_make_is_named(folder: Path) -> None:
    import sphinx

    script = (Path(sphinx.__file__).parent / "themes" / "basic" / "static" / "searchtools.js").read_text(encoding="utf-8")
    file = folder / "_static" / "searchtools.js"
    warnings: list[str] = []
    results = []
    for text in (script, None, "const Search = {};"):
        if text is not None:
            file.write_text(text, encoding="utf-8")
        finish_pages.finish(folder, warnings.append)
        results.append(file.read_text(encoding="utf-8"))
        assert len(warnings) == (4 if text == "const Search = {};" else 0)
    assert results[0] == results[1] != script
    assert results[2] == "const Search = {};"
