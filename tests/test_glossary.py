"""Each term of the glossary is a link where a chapter first uses it, so that a reader who opens any chapter can look it up.

First use means in running text: headings, code, formulas, and the texts of links to elsewhere do not count. A term counts in the
forms that the table below gives, or in singular and plural; the longest term that fits wins, so that "evidence lower bound" is
the ELBO and no evidence.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
_TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [
    name
    for name in (_TOC["root"], *(entry["file"] for entry in _TOC["chapters"]))
    if name not in ("book/notation", "book/references")  # where the glossary stands; no running text
]

# In which words a term occurs, where that is not the term alone; each may have an s. None: what only looks like a term.
# The singular of "code" is left out: most of the time, it is Python.
FORMS: dict[str | None, tuple[str, ...]] = {
    "amortisation": ("amortisation", "amortised"),
    "code": ("codes",),
    "ELBO": ("ELBO", "evidence lower bound"),
    "evidence": ("evidence", "marginal likelihood"),
    "GAN": ("GAN", "generative adversarial network"),
    "importance weighting": ("importance weighting", "importance weight", "importance-weighted"),
    "KL divergence": ("KL divergence", "KL", "Kullback–Leibler divergence"),
    "reparameterisation": ("reparameterisation", "reparameterise", "reparameterised"),
    "score function estimator": ("score function estimator", "score function", "REINFORCE"),
    "VAE": ("VAE", "variational autoencoder"),
    None: ("maximum likelihood",),
}

# What is no running text: front matter, fenced code with its captions, comments, headings, formulas, inline code with its role.
NO_TEXT = re.compile(
    r"\A---\n.*?\n---\n|^(`{3,})[^`].*?^\1`*$|<!--.*?-->|^#+ .*?$|^:::.*?$|\$\$.*?\$\$|\$[^$]+\$|(?:\{[\w:]+\})?`[^`\n]+`",
    flags=re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s]*)\)")


def terms() -> list[str]:
    text = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
    (glossary,) = re.findall(r"^:::\{glossary\}\n(.*?)^:::$", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in glossary.splitlines() if line and not line.startswith(" ")]


def anchor(term: str) -> str:
    plain = unicodedata.normalize("NFKD", term.replace("'", "")).encode("ascii", "ignore").decode()  # as Sphinx does
    return "notation.md#term-" + re.sub(r"[^A-Za-z0-9.]+", "-", plain)


def blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def pattern(glossary: list[str]) -> tuple[re.Pattern[str], dict[str, str | None]]:
    """Return what finds any term, the longest that fits, and whose term each form is."""
    whose = {form.lower(): term for term in (*glossary, None) for form in FORMS.get(term, (str(term),))}
    forms = "|".join(r"\s+".join(map(re.escape, form.split())) for form in sorted(whose, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])({forms})s?(?![\w-])", re.IGNORECASE), whose


def unlinked(text: str, glossary: list[str]) -> list[str]:
    """Return "line 5: ELBO" for each term that is used before it is linked, or is never linked."""
    text = NO_TEXT.sub(blank, text)
    linked = {found[2]: found.start() for found in reversed(list(LINK.finditer(text)))}
    text = LINK.sub(blank, text)
    any_term, whose = pattern(glossary)
    first: dict[str, int] = {}
    for found in any_term.finditer(text):
        term = whose[" ".join(found[1].lower().split())]
        if term is not None:
            first.setdefault(term, found.start())
    late = {term: place for term, place in first.items() if linked.get(anchor(term), len(text)) > place}
    return [f"line {text.count(chr(10), 0, place) + 1}: {term}" for term, place in late.items()]


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_term_is_linked_where_a_chapter_first_uses_it(name: str) -> None:
    assert unlinked((ROOT / f"{name}.md").read_text(encoding="utf-8"), terms()) == []


GLOSSARY = ["ELBO", "evidence", "posterior", "approximate posterior", "Jensen's inequality"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("The posterior is here.", ["line 1: posterior"]),
        ("One.\n\nThe posterior, a [posterior](notation.md#term-posterior).", ["line 3: posterior"]),
        ("A [posterior](notation.md#term-posterior), then a posterior.", []),
        ("[Posteriors](notation.md#term-posterior) and their posterior.", []),
        ("An approximate\nposterior.", ["line 1: approximate posterior"]),
        ("Jensen's inequality", ["line 1: Jensen's inequality"]),
        ("[It](notation.md#term-Jensens-inequality) is Jensen's inequality.", []),
        ("The evidence lower bound.", ["line 1: ELBO"]),
        ("The [bound](derivation.md) on the evidence.", ["line 1: evidence"]),
        ("## The posterior\n\n$posterior$ `posterior` [a posterior](derivation.md)\n\n```{code-cell}\nposterior\n```\n", []),
        ("---\ntitle: posterior\n---\n$$\nposterior\n$$ (posterior)", ["line 6: posterior"]),
    ],
)  # fmt: skip
def test_first_uses_are_found(text: str, missing: list[str]) -> None:
    assert unlinked(text, GLOSSARY) == missing
