"""Lighthouse's judgement of the index, a page of text and formulas, and a page with a widget, on a desktop and on a phone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import browser as browser_tool
import pytest
from conftest import LIMIT_S, ROOT

PAGES = ["book/index.html", "book/intuition.html", "book/latent-explorer.html"]
LEAST_PERFORMANCE = {"desktop": 95, "mobile": 85}
LEAST = {"accessibility": 100, "best-practices": 95, "seo": 95}
MOST_SHIFT = 0.05
LONGEST_TASK_MS = 200
pytestmark = pytest.mark.alone
LIGHTHOUSE = ROOT / "node_modules" / "lighthouse" / "cli" / "index.js"


def run(url: str, device: str, folder: Path, categories: list[str]) -> dict[str, Any]:
    """Let Lighthouse load a page, with its own simulation of network and processor."""
    report = folder / "report.json"
    flags = " ".join(["--headless=new", *browser_tool.arguments()])
    command = [str(Path(sys.executable).parent / "node"), str(LIGHTHOUSE), url, "--output=json", f"--output-path={report}"]
    options = ["--quiet", "--no-enable-error-reporting", f"--only-categories={','.join(categories)}", f"--chrome-flags={flags}"]
    preset = ["--preset=desktop"] if device == "desktop" else []
    environment = {"CHROME_PATH": browser_tool.find(), "PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)}
    done = subprocess.run(
        [*command, *options, *preset], env=environment, capture_output=True, text=True, timeout=5 * LIMIT_S, check=False
    )
    assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert "runtimeError" not in found, found["runtimeError"]
    return found


def score(report: dict[str, Any], category: str) -> float:
    return 100 * float(report["categories"][category]["score"])


def speed(report: dict[str, Any]) -> float:
    return score(report, "performance")


def longest_task(report: dict[str, Any]) -> float:
    return max((item["duration"] for item in report["audits"]["long-tasks"].get("details", {}).get("items", [])), default=0.0)


def lost(report: dict[str, Any], category: str) -> list[str]:
    """Return the audits of a category that cost it points."""
    return [
        f"{entry['id']}: {report['audits'][entry['id']]['title']}"
        for entry in report["categories"][category]["auditRefs"]
        if entry["weight"] and report["audits"][entry["id"]]["score"] not in (1, None)
    ]


@pytest.mark.parametrize("device", LEAST_PERFORMANCE)
@pytest.mark.parametrize("name", PAGES)
def test_lighthouse_is_content(site: str, tmp_path: Path, name: str, device: str) -> None:
    """Its times vary with what else the machine does: where a first run is too slow, the median of three counts."""
    reports = [run(f"{site}/{name}", device, tmp_path, ["performance", *LEAST])]
    first = reports[0]
    if speed(first) < LEAST_PERFORMANCE[device] or (device == "desktop" and longest_task(first) > LONGEST_TASK_MS):
        reports += [run(f"{site}/{name}", device, tmp_path, ["performance"]) for _ in range(2)]
    performance, task = (statistics.median(of(report) for report in reports) for of in (speed, longest_task))
    shift = first["audits"]["cumulative-layout-shift"]["numericValue"]
    others = {category: score(first, category) for category in LEAST}
    print(f"{name}, {device}: performance {performance:.0f}, {others}, shift {shift:.3f}, longest task {task:.0f} ms")
    for category, least in LEAST.items():
        assert others[category] >= least, lost(first, category)
    assert performance >= LEAST_PERFORMANCE[device], lost(first, "performance")
    assert shift < MOST_SHIFT
    assert device == "mobile" or task <= LONGEST_TASK_MS
