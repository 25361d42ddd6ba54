r"""One symbol, one meaning: the notation page defines each symbol once, and no page uses a letter for anything else.

What the letters mean is read from the notation page. A simple check cannot read mathematics, but it sees what goes wrong in
practice: $k$ for the number of latent dimensions, $\ell$ for a log-variance, a sum over $k$, an index in the place of a count.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
NOTATION = ROOT / "book" / "notation.md"
PAGES = sorted((ROOT / "book").glob("*.md"))

FORMULA = re.compile(r"\$\$(.*?)\$\$|\$([^$]+)\$", flags=re.DOTALL)
FENCE = re.compile(r"^(`{3,})[^`].*?^\1`*$", flags=re.DOTALL | re.MULTILINE)
# Front matter, code and roles are no running text; nor is a letter that belongs to the post: "$k$ in the post and $d$ here".
NO_TEXT = re.compile(r"\A---\n.*?\n---\n|(?:\{[\w:]+\})?`[^`\n]+`|\$[^$]+\$ in the post", flags=re.DOTALL)
# What is no symbol inside a formula: names in upright type, alphabets, environments, the d of an integral.
NO_SYMBOL = re.compile(
    r"\\(?:text|mathrm|operatorname|begin|end|phantom|tag)\*?\{[^{}]*\}|\\math(?:cal|bb)\s*\{?[A-Z]\}?|\\mathrm\s*[A-Za-z]"
    r"|(?<![A-Za-z\\])d(?:\\ell|[a-z])(?![a-z])"
)
GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|phi|varphi|chi|psi|omega"
    r"|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|ell|nabla)"
)
VARIABLES = {"x", "y", "z"}  # count nothing
LATENT = r"\\(?:mu|sigma|varepsilon)|(?<![A-Za-z\\])z"  # have one value for each latent dimension
PIXELS = r"\\ell|(?<![A-Za-z\\])x"  # have one for each pixel
INDEXED = {"latent dimension": LATENT, "pixel": PIXELS}


class Notation(NamedTuple):
    """What the notation page says."""

    symbols: list[str]
    """First column of each table, a formula each, in order and as often as they stand there."""
    letters: set[str]
    """All letters that occur in them, and the local ones."""
    local: set[str]
    """Letters that a section may use for what it likes."""
    counts: dict[str, str]
    """Letter → what it counts, such as "latent dimensions"."""
    indices: dict[str, str]
    """Letter → of what it is an index, such as "latent dimension"."""
    arguments: dict[str, str]
    """Name in code → letter, such as latent_dim → d."""


def letters(formula: str) -> list[str]:
    """Return the letters of a formula, Greek ones with their backslash."""
    tokens = re.findall(r"\\[A-Za-z]+|[A-Za-z]", NO_SYMBOL.sub(" ", formula))
    return [token for token in tokens if len(token) == 1 or GREEK.fullmatch(token)]


def formulas(text: str) -> list[str]:
    return [display or inline for display, inline in FORMULA.findall(NO_TEXT.sub(" ", FENCE.sub("", text)))]


@cache
def notation() -> Notation:
    symbols: list[str] = []
    counts, indices, arguments = {}, {}, {}
    page = NOTATION.read_text(encoding="utf-8")
    for row in re.findall(r"^\| (.*) \|$", page, flags=re.MULTILINE):
        first, meaning, *rest = row.split(" | ")
        found = [formula.strip() for _, formula in FORMULA.findall(first)]
        symbols += found
        if number := re.match(r"number of ([\w -]+)", meaning):
            counts[found[0]] = re.sub(r" (of|in|for) .*| $", "", number[1])
            if rest and (name := re.fullmatch(r"`(\w+)`", rest[0])):
                arguments[name[1]] = found[0]
        if index := re.match(r"index of an? ([\w ]+)", meaning):
            indices[found[0]] = index[1].removesuffix(" of a mixture")
    (listed,) = re.findall(r"^The letters (.*?) are local", page, flags=re.MULTILINE)
    local = {formula for _, formula in FORMULA.findall(listed)}
    used = {letter for symbol in symbols for letter in letters(symbol)}
    return Notation(symbols, used | local, local, counts, indices, arguments)


def may_count(noun: str, known: Notation) -> set[str]:
    """Return the letters for a noun; "samples" may be of either kind, but "importance samples" only of one."""
    exact = {letter for letter, counted in known.counts.items() if counted == noun}
    return exact or {letter for letter, counted in known.counts.items() if counted.split()[-1] == noun}


def wrong_letters(text: str, known: Notation) -> list[str]:
    """Return letters that the notation page does not have."""
    unknown = sorted({letter for formula in formulas(text) for letter in letters(formula)} - known.letters)
    return [f"{letter} is not on the notation page" for letter in unknown]


def wrong_counts(text: str, known: Notation) -> list[str]:
    """Return what is counted with another letter: in words, such as "$k$ latent dimensions", and in the limits of sums."""
    found = []
    nouns = sorted({*known.counts.values(), *(noun.split()[-1] for noun in known.counts.values())}, key=len, reverse=True)
    noun = "|".join(nouns)
    prose = NO_TEXT.sub(" ", FENCE.sub("", text))
    phrases = re.findall(rf"[$*]([A-Za-z])(?: = [\d{{}},\\]+)?[$*] (?:[a-z-]+ )??({noun})\b", prose)
    phrases += re.findall(rf"\*([A-Za-z])\* the number of (?:[a-z-]+ )??({noun})\b", prose)
    found += [f"{letter} {what}" for letter, what in phrases if letter not in may_count(what, known) | VARIABLES]
    for formula in formulas(text):
        for index, limit in re.findall(r"\\sum_\{?([a-zA-Z])\s*=\s*1\}?\^\{?([a-zA-Z])", formula):
            what = known.indices.get(index, "nothing")
            if limit not in may_count(f"{what.split()[-1]}s", known):
                found.append(f"sum over {index} up to {limit}")
        sums = re.findall(r"\\sum_\{?([a-zA-Z])(?![\w])", formula)
        found += [f"sum over {letter}" for letter in sums if letter in known.counts or letter in known.local]
    return found


def wrong_indices(text: str, known: Notation) -> list[str]:
    """Return subscripts that are no index of what carries them, such as the k of a latent dimension's variance."""
    found = []
    for formula in formulas(text):
        for what, carriers in INDEXED.items():
            for carrier, letter in re.findall(rf"({carriers})_\{{?([a-zA-Z])(?![\w])", formula):
                if letter in {*known.counts, *known.indices} and known.indices.get(letter) != what:
                    found.append(f"{carrier}_{letter}")
    return found


def wrong_logits(text: str) -> list[str]:
    r"""Return where \ell, which is a logit, stands for a log-variance: beside σ or μ, or halved in an exponent."""
    found = [
        formula for formula in formulas(text) if r"\ell" in formula and re.search(r"\\sigma|\\mu\b|e\^\{\\ell ?/ ?2", formula)
    ]
    code = "\n".join(fence[0] for fence in FENCE.finditer(text))
    found += [line.strip() for line in code.splitlines() if "ℓ" in line and re.search("σ|log_var|variance", line)]
    return found


def wrong_code(text: str, known: Notation) -> list[str]:
    """Return single letters in code that contradict the notation page: as arguments, as sizes, as subscripts, in shapes."""
    if "\nkernelspec:" not in text:
        return []
    found = []
    for cell in jupytext.reads(text, fmt="md:myst").cells:
        if cell.cell_type != "code" or "remove-cell" in cell.metadata.get("tags", []):
            continue
        for comment in re.findall(r"#.*?\(([^()]+)\)", cell.source):
            parts = [part.strip() for part in comment.split(",")]
            if len(parts) > 1 and all(re.fullmatch(r"\w+", part) for part in parts):
                found += [f"shape ({comment})" for part in parts if part in known.indices]
                found += [f"shape ({comment})" for part in parts[1:] if part == "k"]  # importance samples come first
        found += [f"mnist-{{{letter}}}d" for letter in re.findall(r"mnist-\{(\w)\}d", cell.source) if letter != "d"]
        for node in ast.walk(ast.parse(cell.source)):
            match node:
                case ast.keyword(arg=str(name), value=ast.Name(id=letter)) if name in known.arguments and len(letter) == 1:
                    if letter != known.arguments[name]:
                        found.append(f"{name}={letter}")
                case ast.Compare(left=ast.Attribute(attr=name), comparators=[ast.Name(id=letter)]):
                    if len(letter) == 1 and known.arguments.get(name, letter) != letter:
                        found.append(f"{name} == {letter}")
                case ast.Call(func=ast.Name(id="GaussianMixture"), args=[ast.Name(id=letter), *_]) if len(letter) == 1:
                    if letter not in may_count("components", known):
                        found.append(f"GaussianMixture({letter})")
                case ast.Subscript(slice=ast.Tuple(elts=elements)):
                    names = [element.id for element in elements if isinstance(element, ast.Name)]
                    found += [f"[…, {name}]" for name in names if name in known.counts]
    return found


def violations(text: str, known: Notation) -> list[str]:
    return [
        *wrong_letters(text, known),
        *wrong_counts(text, known),
        *wrong_indices(text, known),
        *wrong_logits(text),
        *wrong_code(text, known),
    ]


def test_each_symbol_is_defined_exactly_once() -> None:
    known = notation()
    assert [symbol for symbol, times in Counter(known.symbols).items() if times > 1] == []
    single = {symbol for symbol in known.symbols if letters(symbol) == [symbol]}
    assert single & known.local == set(), "a letter that has a meaning is not free for others"
    page = NOTATION.read_text(encoding="utf-8").partition("\n## Terms\n")[0]
    again = re.findall(r"\$([^$]+)\$ (?:for short|stands for)|\*(\w)\* the number of", page)
    assert again == [], "defined in the margin, beside its row"


def test_the_letters_that_were_once_mixed_up_are_defined() -> None:
    known = notation()
    assert known.counts["d"] == "latent dimensions"
    assert known.counts["k"] == "importance samples"
    assert known.indices == {"i": "pixel", "j": "latent dimension", "n": "image", "m": "component"}
    assert len(set(known.counts.values())) >= len(known.counts) - 1  # images: of all, and of a batch
    assert r"\ell" in known.symbols
    assert r"\log \sigma^2" in known.symbols


def test_shapes_of_the_notation_page_are_of_counts() -> None:
    known = notation()
    page = NOTATION.read_text(encoding="utf-8").replace("&nbsp;", " ")
    shapes = re.findall(r"^\|.*\((\w+), (\w+)\) \|$", page, flags=re.MULTILINE)
    assert len(shapes) > 8
    for part in {part for shape in shapes for part in shape}:
        assert part in {"batch", "784"} or part in known.counts, part
    latent = re.findall(r"^\|.*\| `(?:z|mu|eps|log_var|ops\.exp\([\w. *]+\))`, (\(.*?\)) \|$", page, flags=re.MULTILINE)
    assert len(latent) == 6
    assert set(latent) == {"(batch, d)"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_gives_a_symbol_another_meaning(page: Path) -> None:
    assert violations(page.read_text(encoding="utf-8"), notation()) == []


HEAD = "---\nkernelspec:\n  display_name: Python 3\n  name: python3\n---\n\n"


def cell(source: str) -> str:
    return f"{HEAD}```{{code-cell}} ipython3\n{source}\n```\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("With $k$ latent dimensions.", ["k latent dimensions"]),
        ("With $k = 10$ dimensions.", ["k dimensions"]),
        ("Here *k* the number of latent dimensions is 2.", ["k latent dimensions"]),
        ("Each of $n$ images.", ["n images"]),
        ("$L$ importance samples", ["L importance samples"]),
        ("$d$ samples", ["d samples"]),
        ("$M$ classes and $k$ components", ["M classes", "k components"]),
        ("The number of dimensions is $k$ in the post and $d$ here.", []),
        ("$k = 5{,}000$ importance samples, $k$ samples, $L$ samples, $d = 2$ latent dimensions, $N$ images.", []),
        (r"$\frac12 \sum_k (\sigma_k^2 + \mu_k^2 - 1)$", ["sum over k", r"\mu_k", r"\sigma_k"]),
        (r"$\sum_{j=1}^{k} \mu_j$", ["sum over j up to k"]),
        (r"$\sum_{j=1}^{d} \mu_j, \sum_{i=1}^{D} x_i \ell_i, \sum_n q(z|x^{(n)}), \sum_z q(z)$", []),
        (r"$\sum_n x_n$", ["x_n"]),
        (r"$\ell = \log\sigma^2$", [r"\ell = \log\sigma^2"]),
        (r"$e^{\ell/2}\,\varepsilon$", [r"e^{\ell/2}\,\varepsilon"]),
        (r"$\ell = \log\frac{p}{1-p}$, $\tanh(\ell/2)/\ell$, $\log(1 + e^{\ell})$", []),
        (r"$\int \theta\, p(z)\, dz + \zeta$", [r"\theta is not on the notation page", r"\zeta is not on the notation page"]),
        (cell("vae = build(latent_dim=k)\nvae_lib.iwae_bound(vae, x, k=k)"), ["latent_dim=k"]),
        (cell("assert all(models[k].config.latent_dim == k for k in sizes)"), ["latent_dim == k"]),
        (cell('models = {k: pretrained(f"mnist-{k}d") for k in sizes}'), ["mnist-{k}d"]),
        (cell("GaussianMixture(k, tol=1)\nGaussianMixture(M, tol=1)"), ["GaussianMixture(k)"]),
        (cell("widths = [mu[:, d] for d in (0, 1)]"), ["[…, d]"]),
        (cell("widths = [mu[:, j] for j in (0, 1)]\nbounds[d] = table[d]"), []),
        (cell("z = draw(x)  # (n, dim)\ny = draw(z)  # (k, images)"), ["shape (n, dim)"]),
        (cell("s = 1.0  # ½(exp ℓ + …), ℓ the log-variance"), ["s = 1.0  # ½(exp ℓ + …), ℓ the log-variance"]),
    ],
)  # fmt: skip
def test_other_meanings_are_found(text: str, wrong: list[str]) -> None:
    assert sorted(violations(text, notation())) == sorted(wrong)
