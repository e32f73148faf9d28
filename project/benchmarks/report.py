"""Formats the rounds as tables."""

import argparse
import statistics
from typing import Any

from benchmarks.contenders import Round

FLOOR = "floor fp32"
SERVICE = "service fp32"


def summary(rounds: dict[str, list[Round]], machine: dict[str, str], given: argparse.Namespace) -> dict[str, Any]:
    """Medians and extremes of the rounds. Ratios are of one round, because the machine's speed varies."""
    contenders = {}
    for name, measured in rounds.items():
        if not measured:
            continue
        contenders[name] = {
            "per_second": _spread([one.per_second for one in measured]),
            "p50_ms": _spread([_percentile(one.latencies, 50) for one in measured]),
            "p99_ms": _spread([_percentile(one.latencies, 99) for one in measured]),
            "cpu_ms": _spread([1000 * one.cpu_seconds / max(1, len(one.latencies)) for one in measured]),
            "peak_mib": _spread([one.peak_bytes / 2**20 for one in measured]),
            "lost": sum(one.lost for one in measured),
            "finished": sum(len(one.latencies) for one in measured),
        }
        for reference in (FLOOR, SERVICE):
            if reference in rounds and name != reference:
                pairs = zip(measured, rounds[reference], strict=True)
                contenders[name][f"of_{reference.replace(' ', '_')}"] = _spread(
                    [one.per_second / other.per_second for one, other in pairs]
                )
    settings = {
        "rounds": given.rounds,
        "seconds": given.seconds,
        "connections": given.connections,
        "model": given.model,
    }
    return {"machine": machine, "settings": settings, "contenders": contenders}


def markdown(result: dict[str, Any]) -> str:
    """The table of a summary."""
    lines = [
        "| | uploads/s | of the floor | p50 ms | p99 ms | CPU ms each | peak MiB | lost |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in result["contenders"].items():
        share = one.get("of_floor_fp32")
        cells = [
            name,
            _cell(one["per_second"], 1),
            _cell(share, 2) if share else "-",
            *(_cell(one[key], 0) for key in ("p50_ms", "p99_ms")),
            _cell(one["cpu_ms"], 1),
            f"{one['peak_mib']['median']:.0f}",
            str(one["lost"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    settings, machine = result["settings"], result["machine"]
    versions = ", ".join(f"{name} {value}" for name, value in machine.items() if name != "date")
    message = (
        f"Median of {settings['rounds']} alternating rounds of {settings['seconds']:g} s (smallest to largest), "
        f"{settings['connections']} connections, on {machine['date']}: {versions}."
    )
    lines += ["", message, ""]
    return "\n".join(lines)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}


def _cell(spread: dict[str, float], digits: int) -> str:
    low, middle, high = (f"{spread[key]:.{digits}f}" for key in ("smallest", "median", "largest"))
    return f"{middle} ({low} to {high})"


def _percentile(values: list[float], percent: int) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0
