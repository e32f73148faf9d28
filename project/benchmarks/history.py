"""The history of results: a line of JSON for each run, and a plot of it."""

import json
import subprocess
from datetime import date
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FILE: Final = Path(__file__).with_name("history.jsonl")
PLOT: Final = REPOSITORY / "project" / "docs" / "benchmarks.svg"
PLOTTED: Final = {
    "floor fp32": "#888888",
    "service fp32": "#1f6feb",
    "service bf16": "#8250df",
    "service int8": "#1a7f37",
    "LitServe": "#bc4c00",
    "mosec": "#bf8700",
}
WIDTH, HEIGHT, MARGIN = 720, 320, 48


def append(result: dict[str, Any]) -> None:
    """Add a run's medians to the history, and draw the plot again."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    medians = {name: round(one["per_second"]["median"], 1) for name, one in result["contenders"].items()}
    machine = result["machine"]
    line = {
        "date": machine["date"],
        "commit": commit.stdout.strip(),
        "processor": machine["processor"],
        "cores": machine["cores"],
        "per_second": medians,
    }
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    PLOT.write_text(plot(runs()), encoding="utf-8")


def runs() -> list[dict[str, Any]]:
    """All runs, oldest first."""
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def plot(history: list[dict[str, Any]]) -> str:
    """Uploads per second of each run, as SVG."""
    most = max(value for run in history for name, value in run["per_second"].items() if name in PLOTTED)
    step = (WIDTH - 4 * MARGIN) / max(1, len(history) - 1)

    def place(number: int, value: float) -> tuple[float, float]:
        return MARGIN + number * step, HEIGHT - MARGIN - value / most * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        "<style>text { font-size: 11px }</style>",
        "<title>Uploads per second by commit</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for value in range(0, int(most) + 1, 50):
        y = place(0, value)[1]
        parts.append(f'<path d="M{MARGIN} {y:.0f}H{WIDTH - 3 * MARGIN}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.0f}" text-anchor="end">{value}</text>')
    for number, run in enumerate(history):
        x, _ = place(number, 0)
        day = f"{date.fromisoformat(run['date']):%-d %b}"
        parts.append(f'<text x="{x:.0f}" y="{HEIGHT - 28}" text-anchor="middle">{escape(run["commit"])}</text>')
        parts.append(f'<text x="{x:.0f}" y="{HEIGHT - 14}" text-anchor="middle">{day}</text>')
    for name, colour in PLOTTED.items():
        points = [
            place(number, run["per_second"][name]) for number, run in enumerate(history) if name in run["per_second"]
        ]
        if points:
            line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}"/>' for x, y in points]
            x, y = points[-1]
            parts.append(f'<text x="{x + 8:.0f}" y="{y + 4:.0f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
