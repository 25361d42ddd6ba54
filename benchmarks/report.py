"""What all benchmarks share: the machine's description, a table, results as JSON and as a picture."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Describe the machine, without its name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    found = {"cpu": ", ".join(sorted(models)) or platform.processor(), "cores": os.cpu_count(), "system": platform.system()}
    for package in ("numpy", "keras", "tensorflow", "jax", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "python": platform.python_version()}


def write(name: str, rows: list[dict[str, Any]], *, title: str) -> None:
    """Print rows as a table, and keep them with the machine's description."""
    columns = list(rows[0])
    texts = [[column.replace("_", " ") for column in columns]] + [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in texts) for i in range(len(columns))]
    print(f"\n{title}")
    for line in texts:
        print(
            "  "
            + "  ".join(
                text.ljust(width) if i == 0 else text.rjust(width)
                for i, (text, width) in enumerate(zip(line, widths, strict=True))
            )
        )
    RESULTS.mkdir(exist_ok=True)
    kept = {"title": title, "machine": machine(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def picture(name: str, rows: list[dict[str, Any]], *, label: str, value: str, title: str) -> None:
    """Draw one bar for each row."""
    from vae_lib.plots import NotebookFigure

    figure = NotebookFigure(figsize=(7.5, 0.45 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([row[label] for row in rows], [row[value] for row in rows], color="#1f5fa8")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel=value.replace("_", " "), title=title)
    figure.savefig(RESULTS / f"{name}.png", dpi=110)


def summarise() -> None:
    """Write all kept results into one page, results/README.md."""
    parts = [
        "# Results",
        "Made by `make bench`; what is measured, and how to read it, stands in [the README above](../README.md).",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        columns = list(kept["rows"][0])
        lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in kept["rows"])]
        table = "\n".join("| " + " | ".join(line).replace("_", " ") + " |" for line in lines)
        machine = ", ".join(f"{name} {value}" for name, value in kept["machine"].items())
        image = f"\n\n![{kept['title']}]({path.stem}.png)" if path.with_suffix(".png").exists() else ""
        parts.append(f"## {path.stem.replace('_', ' ')}: {kept['title']}\n\n{table}{image}\n\n{machine}")
    (RESULTS / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
