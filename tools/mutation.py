"""Change the library by small faults, one at a time, and count how many its tests notice: `make mutation`, every week.

Cosmic Ray makes the changes: another operator or number, a condition turned round, a loop that does not run. Of all that it could
make in each core module a random sample is tried, another each week, each in a copy of the tree, by the tests of that module; the
settings stand in pyproject.toml, [tool.mutation]. Not tried: annotations, messages, the `strict` of zip, which guards against
what cannot come, and lines marked `# pragma: no mutate`, where a change has no effect that a test could see.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import multiprocessing
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import extra
import reproducible

ROOT = Path(__file__).parent.parent
INSIDE = "VAE_LIB_MUTATION"  # set where Cosmic Ray can be imported
PRAGMA = "# pragma: no mutate"


class Outcome(NamedTuple):
    """What came of one change."""

    module: str
    verdict: str
    """"killed" if a test failed, "timeout" if the tests did not end, "survived" if none noticed."""
    diff: str


def settings(root: Path = ROOT) -> dict[str, Any]:
    """Return [tool.mutation] of pyproject.toml.

    Parameters
    ----------
    root
        The tree.
    """
    found: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutation"]
    return found


def untried(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return from where to where nothing of a module is changed: annotations, messages, imports for type checkers and the like.

    Parameters
    ----------
    source
        Of the module.
    """
    nodes: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            nodes.append(node.returns)
        elif isinstance(node, ast.keyword) and node.arg == "strict":
            nodes.append(node.value)
        elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes.append(node)
    places = [((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in nodes]  # type: ignore[attr-defined]
    marked = [number for number, line in enumerate(source.splitlines(), 1) if PRAGMA in line]
    return [*places, *(((number, 0), (number + 1, 0)) for number in marked)]


def sample(changes: Iterable[Any], source: str, count: int, seed: str) -> list[Any]:
    """Draw changes: so many places, each of them once, by one of the operators that can change it.

    Parameters
    ----------
    changes
        All that could be made of one module, as Cosmic Ray describes them.
    source
        Of the module.
    count
        How many; all places if there are fewer.
    seed
        The same draws the same.
    """
    left_out = untried(source)
    places: dict[Any, list[Any]] = {}
    for change in changes:
        if not any(start <= change.start_pos < end for start, end in left_out):
            places.setdefault((change.start_pos, change.end_pos), []).append(change)
    generator = random.Random(seed)  # noqa: S311 -- a sample, no secret
    chosen = generator.sample(sorted(places), min(count, len(places)))
    return [
        generator.choice(sorted(places[place], key=lambda change: (change.operator_name, change.occurrence))) for place in chosen
    ]


def every_change(module: str) -> list[Any]:
    """List all changes that Cosmic Ray can make of a module in the current folder."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/session", WorkDB.Mode.create) as session:
        init([Path("vae_lib", f"{module}.py")], session, {})
        return [change for item in session.work_items for change in item.mutations]


def command(tests: list[str]) -> str:
    """Return how the tests of a module are run: until the first that fails."""
    return shlex.join([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-W", "default", *tests])


def try_out(module: str, change: Any, tests: list[str], timeout: float) -> Outcome:
    """Make one change in the current folder, run the tests, and undo it."""
    from cosmic_ray.mutating import mutate_and_test

    result = mutate_and_test([change], command(tests), timeout)
    verdict = "survived" if not result.is_killed else "timeout" if (result.output or "").strip() == "timeout" else "killed"
    return Outcome(module, verdict, result.diff or result.output or "")


def enter_copy(folder: str) -> None:
    """Let a process work in a copy of the tree of its own."""
    copy = Path(folder) / f"copy-{os.getpid()}"
    reproducible.copy_tree(copy)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)


def measured(module: str, tests: list[str]) -> float:
    """Run the tests of a module without a change; return how many seconds they take.

    Raises
    ------
    SystemExit
        If they fail: then nothing can be learned from changes.
    """
    start = time.monotonic()
    done = subprocess.run(shlex.split(command(tests)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"{module}: expected its tests to pass without a change, got exit code {done.returncode}:\n{done.stdout[-3000:]}"
        )
    return time.monotonic() - start


def report(outcomes: list[Outcome], floor: float) -> int:
    """Print what survived, and a table; return the exit code, 1 below the floor.

    Parameters
    ----------
    outcomes
        Of all changes.
    floor
        Percent that have to be noticed.
    """
    for outcome in outcomes:
        if outcome.verdict == "survived":
            print(f"\nsurvived in {outcome.module}:\n{outcome.diff}")
    print(f"\n{'module':14}{'noticed':>9}{'by time':>9}{'survived':>10}{'score':>9}")
    rows = [*sorted({outcome.module for outcome in outcomes}), "all"]
    score = 0.0
    for row in rows:
        verdicts = [outcome.verdict for outcome in outcomes if row in (outcome.module, "all")]
        noticed = len(verdicts) - verdicts.count("survived")
        score = 100 * noticed / len(verdicts) if verdicts else 0.0
        print(f"{row:14}{noticed:9}{verdicts.count('timeout'):9}{verdicts.count('survived'):10}{score:8.1f}%")
    good = score >= floor
    print(f"mutation score {score:.1f} %, expected at least {floor} %: {'passed' if good else 'FAILED'}")
    return 0 if good else 1


def main(arguments: list[str]) -> int:
    """Try a sample of changes of the named modules, or of all core modules."""
    chosen = settings()
    today = datetime.datetime.now(tz=datetime.UTC).date().isocalendar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(chosen['tests'])}")
    parser.add_argument("--count", type=int, default=chosen["per-module"], help="places to change in each module")
    parser.add_argument("--seed", default=f"{today.year} week {today.week}", help="of the sample; by default another each week")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.modules if name not in chosen["tests"]]:
        parser.error(f"expected modules of {', '.join(chosen['tests'])}, got {', '.join(unknown)}")
    if INSIDE not in os.environ:
        python = extra.environment("mutation", "mutation", 5e8)
        return subprocess.run([python, __file__, *arguments], env={**os.environ, INSIDE: "1"}, check=False).returncode
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        enter_copy(folder)
        with multiprocessing.get_context("spawn").Pool(given.processes, enter_copy, [folder]) as pool:
            for module in given.modules or chosen["tests"]:
                tests = chosen["tests"][module]
                limit = 60 + 4 * measured(module, tests)
                source = Path("vae_lib", f"{module}.py").read_text(encoding="utf-8")
                drawn = sample(every_change(module), source, given.count, f"{given.seed} {module}")
                print(f"· {module}: {len(drawn)} changes, sample {given.seed!r}, at most {limit:.0f} s each", flush=True)
                outcomes += pool.starmap(try_out, [(module, change, tests, limit) for change in drawn], chunksize=1)
        os.chdir(ROOT)
    return report(outcomes, chosen["floor"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
