"""Every command and block of code in the documentation is run, and does what is shown."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Browser

from app.classifier.manifest import ImageManifest, TabularManifest
from app.config import PROJECT_DIR, Settings
from tests.e2e.server import Server
from tests.pictures import jpeg

ROOT = PROJECT_DIR.parent
PAGES = [ROOT / "README.md", *sorted((PROJECT_DIR / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DRAWN = {"mermaid", ""}
"""Pictures made of text, and what is no code."""
ADDRESSES = re.compile(r"http://(?:localhost|images\.example):8004")
MODEL = "mobilenet_v2"

NEEDS_AN_INDEX = "pip install ./project/client"
"""What it builds is run there."""

UNMATCHED_ROUTE = {
    "make run": "tests/e2e/test_server.py",  # what it begins is started there; `.ci/run` makes all of its parts
    "make test": "../.ci/run",
    NEEDS_AN_INDEX: "tests/e2e/test_client.py",
    "docker compose up --build --wait": "tests/containers/verify.sh",
    "curl -F file=@tiger.jpg http://localhost:8004/predictions/": "tests/containers/upload.py",
    "docker compose down": "tests/containers/verify.sh",
    "export DATABASE_URL=": "tests/resilience/cluster.py",
    "export QUEUE=pgqueuer": "tests/resilience/cluster.py",
    "export STORAGE_URL=": "tests/integration/test_storage.py",
    "export PYTHONPATH=project": "tests/resilience/cluster.py",
    ".venv/bin/python -m app migrate": "tests/resilience/cluster.py",
    ".venv/bin/python -m app serve": "tests/resilience/cluster.py",
    ".venv/bin/python -m app worker": "tests/resilience/cluster.py",
    "export POSTGRES_PASSWORD=": "tests/containers/verify.sh",
    "docker compose -f docker-compose.prod.yml": "tests/containers/verify.sh",
    ".venv-export/bin/python -m app export-model": "tests/integration/test_export.py",
    "MODEL_PRECISION=int8 CALIBRATION_IMAGES=images make run": "tests/integration/test_int8.py",
    "cd project": "tests/integration/test_migrations.py",
    "DATABASE_URL=postgres://… PYTHONPATH=. ../.venv/bin/aerich migrate": "tests/integration/test_migrations.py",
}
"""Commands of ``sh`` blocks, which set up machines, by how they begin: what runs the same in their place."""


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            yield Block(page, language, text)


def of(*languages: str) -> list[Block]:
    return [block for block in blocks() if block.language in languages]


def test_there_is_no_block_that_nothing_runs() -> None:
    assert {block.language for block in blocks()} - DRAWN == {"console", "sh", "json", "toml", "js"}


def test_what_sets_machines_up_is_run_elsewhere() -> None:
    commands = [line for block in of("sh") for line in block.text.splitlines() if line]
    unknown = [line for line in commands if not line.startswith(tuple(UNMATCHED_ROUTE))]
    assert unknown == []
    assert [
        begin for begin in UNMATCHED_ROUTE if not any(line.startswith(begin) for line in [*commands, *shown_commands()])
    ] == []
    assert [path for path in UNMATCHED_ROUTE.values() if not (PROJECT_DIR / path).exists()] == []


def shown_commands() -> Iterator[str]:
    for block in of("console"):
        yield from (command for command, _ in steps(block))


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a block, with what is shown of its output."""
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = step.splitlines()
        # A command goes on where its line cannot be all of it.
        count = next(n for n, line in enumerate(lines, 1) if not line.rstrip().endswith(("|", "\\")))
        yield "\n".join(lines[:count]), "\n".join(lines[count:]).strip()


_VALUES = "|".join(
    rf'(?<="{name}":{space})"[^"]*"' for name in ("top_prediction", "label", "image_path") for space in ("", " ")
)
LEFT_OUT = re.compile(rf"ic_\w+…|…|{_VALUES}|(?<=\t)\w+(?=\t)|\w+(?= \(command line\))")
HEXADECIMAL = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
SPACE = re.compile(r"\s+")
INSTEAD = [(LEFT_OUT, ".*"), (HEXADECIMAL, "[0-9a-f]+"), (NUMBER, NUMBER.pattern), (SPACE, r"\s+")]


def looks_like(shown: str) -> re.Pattern[str]:
    """What an output has to look like: the same words, other numbers; anything where it is left out."""
    return re.compile(_pattern(shown, INSTEAD), re.DOTALL)


def _pattern(shown: str, instead: list[tuple[re.Pattern[str], str]]) -> str:
    if not instead:
        return re.escape(shown)
    (varying, pattern), *others = instead
    return pattern.join(_pattern(part, others) for part in varying.split(shown))


BEFORE = {
    "operations.md": [
        "python -m app keys create anna",
        "curl -F file=@tiger.jpg -H 'Prefer: wait=10' http://localhost:8004/predictions/",
        (
            "curl -X PUT -H 'X-API-Key: ic_0…' -H 'Content-Type: application/json' "
            """-d '{"top_prediction": "cat", "confidence": 1}' http://localhost:8004/predictions/1/"""
        ),
    ]
}
"""What has been done where a page tells of a service that has been used."""


class Reader:
    """Somebody who reads a page from its beginning and types what it says."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._key = ""
        (folder / "holiday").mkdir()
        for name in ("tiger.jpg", "cat.jpg", "holiday/tiger.jpg"):
            (folder / name).write_bytes(jpeg(300 + len(name), 280))
        with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
            archive.writestr("one.jpg", jpeg(310, 300))
        programs = folder / "bin"
        programs.mkdir()
        (programs / "imgclass").write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m image_classifier_client.cli --url {server.url} "$@"\n'
        )
        (programs / "imgclass").chmod(0o755)
        self._environment = {
            **server.environment,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{PROJECT_DIR}:{PROJECT_DIR / 'client' / 'src'}",
            "PORT": str(urlsplit(server.url).port),
        }

    def types_until(self, command: str, shown: re.Pattern[str]) -> str:
        """What a command prints; one that only reads is typed again for a moment, as people do."""
        deadline = time.monotonic() + 10
        while True:
            printed = self.types(command)
            only_reads = command.startswith(("curl http", "curl -i"))
            if shown.search(printed) or not only_reads or time.monotonic() > deadline:
                return printed

    def types(self, command: str) -> str:
        """What a command prints."""
        command = ADDRESSES.sub(self._server.url, command)
        command = command.replace("cd project && ../.venv/bin/python", "python")
        # A backup is restored elsewhere.
        command = command.replace("python -m app restore", "DATA_DIR=elsewhere python -m app restore")
        command = re.sub(r"ic_\w+…", self._key, command)
        if re.match(r"curl\b", command):
            command = command.replace("curl", "curl -sS", 1)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if found := re.search(r"ic_\w+-*\w*", done.stdout):
            self._key = done.stdout[found.start() :].split()[0]
        return done.stdout


@pytest.mark.parametrize("page", sorted({block.page for block in of("console")}), ids=lambda page: page.name)
def test_commands_print_what_is_shown(page: Path, server: Server, tmp_path: Path, models_dir: Path) -> None:
    if not (models_dir / MODEL).is_dir():
        pytest.skip("MobileNetV2, of which the documentation tells, is not here: set MODEL_WEIGHTS and run `make test`")
    server.environment.update(MODEL=MODEL, REUSE_ANSWERS="1")
    reader = Reader(server.start(), tmp_path)
    for command in BEFORE.get(page.name, []):
        reader.types(command)
    for block in of("console"):
        if block.page == page:
            for command, shown in steps(block):
                if command != NEEDS_AN_INDEX:
                    printed = reader.types_until(command, looks_like(shown))
                    assert looks_like(shown).search(printed), f"$ {command}\n{printed}\nis not\n{shown}"


def test_the_comparison_finds_what_is_not_as_shown() -> None:
    shown = '{"id":1,"filename":"tiger.jpg",…,"status":"succeeded","top_prediction":"tiger","confidence":0.64}'
    same = '{"id":27,"filename":"tiger.jpg","width":3,"status":"succeeded","top_prediction":"cat","confidence":1e-06}'
    assert looks_like(shown).search(same)
    for other in (
        same.replace("succeeded", "failed"),
        same.replace("confidence", "score"),
        same.replace('"id"', '"i"'),
    ):
        assert not looks_like(shown).search(other)


@pytest.mark.parametrize("block", of("json"), ids=lambda block: block.page.name)
def test_json_is_json(block: Block) -> None:
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", of("toml"), ids=lambda block: block.page.name)
def test_manifests_are_manifests(block: Block) -> None:
    read = tomllib.loads(block.text)
    if "features" in read:
        whole = {
            "name": "x",
            "kind": "tabular",
            "version": "1",
            "file": "x.onnx",
            "labels": "labels.txt",
            "runtime": "onnx",
        }
        assert TabularManifest.model_validate({**whole, **read}).features
    else:
        assert ImageManifest.model_validate(read).name == MODEL


async def test_the_script_runs_in_a_browser(server: Server, browser: Browser) -> None:
    server.start()
    httpx.post(f"{server.url}/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"})
    (block,) = of("js")
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(server.url)
    async with page.expect_console_message() as told:
        await page.evaluate(block.text)
    assert (await told.value).text == "succeeded"
    await context.close()


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    done = subprocess.run(
        [*command, str(PROJECT_DIR / "docs"), str(site)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT_DIR)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    settings = (site / "reference" / "settings.html").read_text()
    assert all(f">{name.upper()}<" in settings for name in Settings.model_fields)
    commands = (site / "reference" / "commands.html").read_text()
    assert "python -m app keys create" in commands
    assert 'id="post-predictions-id-reclassify"' in (site / "reference" / "http.html").read_text()
    # Nothing is asked of others.
    for file in site.rglob("*.html"):
        assert re.findall(r'(?:src|href)="https?://(?!github\.com)[^"]*\.(?:js|css|woff2?)', file.read_text()) == []
