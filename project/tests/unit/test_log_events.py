"""Log events are constants, and dashboards and alerts use existing metrics."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import PROJECT_DIR
from app.observability import log_events, metrics
from app.observability.log_events import Event

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
EVENTS = {name: event for name, event in vars(log_events).items() if isinstance(event, Event)}
DEPLOY = PROJECT_DIR / "deploy"


def logged() -> Iterator[tuple[Path, ast.Call]]:
    """Every call that writes a log line."""
    for path in (PROJECT_DIR / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if level in LEVELS:
                    yield path, node


def test_every_log_line_has_an_event() -> None:
    calls = list(logged())
    assert len(calls) > 70
    for path, call in calls:
        message = call.args[1 if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else 0]
        assert isinstance(message, ast.Name), f"{path}:{call.lineno}"
        event = EVENTS[message.id]
        said = len(call.args) - 1 - (isinstance(call.func, ast.Attribute) and call.func.attr == "log")
        assert said == len(event.fields), f"{path}:{call.lineno}"
        assert said == len(re.findall(r"%[^%]", event.replace("%%", ""))), event.name


def test_event_names_are_unique() -> None:
    assert [name.lower() for name in EVENTS] == [event.name for event in EVENTS.values()]
    assert list(EVENTS) == sorted(EVENTS)


def asked_for() -> Iterator[tuple[str, str]]:
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    yield from (("alerts", name) for name in re.findall(r"image_classifier_\w+", rules))
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield from ((panel["title"], name) for name in re.findall(r"image_classifier_\w+", target["expr"]))


def test_dashboard_and_alerts_use_existing_metrics() -> None:
    families = {family.name: family for family in [*metrics.REGISTRY.collect(), *metrics.SHARED.collect()]}
    ending = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    there = {f"{name}{end}" for name, family in families.items() for end in ending.get(family.type, ())}
    asked = set(asked_for())
    assert len(asked) > 20
    assert {one for one in asked if one[1] not in there} == set()


def test_documentation_lists_every_metric() -> None:
    text = (PROJECT_DIR / "docs" / "operations.md").read_text()
    families = [*metrics.REGISTRY.collect(), *metrics.SHARED.collect()]
    ours = [family for family in families if family.name.startswith("image_classifier_")]
    for family in ours:
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"`{name.removeprefix('image_classifier_')}`" in text, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
@pytest.mark.parametrize("check", [["rules", "alerts.yml"], ["config", "prometheus.yml"]])
def test_promtool_accepts_the_configuration(check: list[str]) -> None:
    done = subprocess.run(
        ["promtool", "check", *check], cwd=DEPLOY / "prometheus", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_accepts_the_metrics() -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics.exposition(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
