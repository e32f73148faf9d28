"""Every command and block of code in the documentation runs, and prints what the page shows."""

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

from app import PROJECT_DIR
from app.classifier.manifest import ImageManifest, TabularManifest
from tests.drawings import circles, examples
from tests.e2e.server import Server
from tests.pictures import jpeg

pytestmark = pytest.mark.all_models

ROOT = PROJECT_DIR.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    PROJECT_DIR / "client" / "README.md",
    ROOT / "examples" / "flask-app" / "README.md",
    *sorted((PROJECT_DIR / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_CODE = {""}
"""Languages of blocks that are not code: diagrams and headers."""
PROXIES = {"nginx", "caddy", "yaml"}
"""Configurations of proxies: tests/e2e/test_proxies.py starts nginx with them."""
ADDRESSES = re.compile(r"http://(?:localhost|images\.example):8004")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MODEL = "mobilenet_v2"

RUN_ELSEWHERE = {
    "git clone REPOSITORY image-classifier": "../.ci/run",
    "cd image-classifier": "../.ci/run",
    "make run": "tests/e2e/test_server.py",
    "make lint": "../.ci/run",
    "make quick": "../Makefile",
    "make test": "../.ci/run",
    "make openapi": "tests/integration/test_openapi_snapshot.py",
    "make lock": "../Makefile",
    "make bench": "benchmarks/__main__.py",
    "make accuracy": "benchmarks/accuracy.py",
    "docker build --build-arg PYTHON_IMAGE=": "tests/containers/verify.sh",
    "docker build --build-arg POSTGRES_IMAGE=": "tests/containers/verify.sh",
    "export NGINX_IMAGE=": "tests/containers/verify.sh",
    "make fuzz": "tests/e2e/test_fuzz.py",
    "make telemetry": "tests/resilience/test_observability.py",
    "TRACES_URL=http://localhost:4318 make run": "tests/resilience/test_observability.py",
    "make model MODEL=efficientnet_lite0": "tests/e2e/test_classifier_command.py",
    "curl -X POST 'http://localhost:8004/predictions/1/reclassify": "tests/integration/test_reclassify.py",
    "PORT=9000 LOG_LEVEL=WARNING make run": "tests/unit/test_config.py",
    "HOST=0.0.0.0 make run": "tests/e2e/test_api_keys.py",
    "MODEL_WEIGHTS=path/to/weights.h5 make run": "../.ci/run",
    "python3 -m venv venv": "tests/e2e/test_client.py",
    "venv/bin/pip install": "tests/e2e/test_client.py",
    "IMGCLASS_URL=http://localhost:8004 venv/bin/flask": "tests/e2e/test_flask_example.py",
    "export IMGCLASS_URL=": "tests/e2e/test_client.py",
    "imgclass holiday": "tests/e2e/test_client.py",
    "docker compose up --build --wait": "tests/containers/verify.sh",
    "curl -F file=@tiger.jpg http://localhost:8004/predictions/": "tests/containers/upload.py",
    "docker compose down": "tests/containers/verify.sh",
    "docker run -p 127.0.0.1:8004:8004": "tests/containers/verify.sh",
    "make verify-containers": "tests/containers/verify.sh",
    "export DATABASE_URL=": "tests/resilience/cluster.py",
    "OLD=": "tests/integration/test_embedded_postgres.py",
    "NEW=": "tests/integration/test_embedded_postgres.py",
    "mv data/postgres": "tests/integration/test_embedded_postgres.py",
    "$NEW/initdb": "tests/integration/test_embedded_postgres.py",
    "PGPASSWORD=": "tests/integration/test_embedded_postgres.py",
    "export QUEUE=pgqueuer": "tests/resilience/cluster.py",
    "export STORAGE_URL=": "tests/integration/test_storage.py",
    "./classifier migrate": "tests/resilience/cluster.py",
    "./classifier serve": "tests/resilience/cluster.py",
    "./classifier worker": "tests/resilience/cluster.py",
    "export POSTGRES_PASSWORD=": "tests/containers/verify.sh",
    "docker compose -f docker-compose.prod.yml": "tests/containers/verify.sh",
    "./classifier tune --images holiday": "tests/integration/test_tuning.py",
    "./classifier export-model": "tests/integration/test_model_export.py",
    "MODEL_PRECISION=int8 CALIBRATION_IMAGES=images make run": "tests/integration/test_int8_accuracy.py",
    "cd project": "tests/integration/test_migrations.py",
    "DATABASE_URL=postgres://… PYTHONPATH=. ../.venv/bin/aerich migrate": "tests/integration/test_migrations.py",
}
"""The beginnings of commands in ``sh`` blocks, which set up machines, and the file that runs or defines the same."""


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    text: str

    @property
    def name(self) -> str:
        return str(self.page.relative_to(ROOT))


def all_blocks() -> Iterator[Block]:
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            yield Block(page, language, text)


def blocks(language: str) -> list[Block]:
    return [block for block in all_blocks() if block.language == language]


def test_every_block_has_a_language_that_is_tested() -> None:
    languages = {block.language for block in all_blocks()}
    assert languages - NOT_CODE == {"console", "sh", "json", "toml", "js", "python", *PROXIES}


def test_commands_that_set_up_machines_are_run_by_a_named_file() -> None:
    commands = [line for block in blocks("sh") for line in block.text.splitlines() if line]
    assert [command for command in commands if not command.startswith(tuple(RUN_ELSEWHERE))] == []


def test_no_entry_for_commands_is_outdated() -> None:
    commands = [line for block in blocks("sh") for line in block.text.splitlines() if line]
    unused = [start for start in RUN_ELSEWHERE if not any(command.startswith(start) for command in commands)]
    assert unused == []
    assert [path for path in RUN_ELSEWHERE.values() if not (PROJECT_DIR / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_to_files_in_the_repository(page: Path) -> None:
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text()) if "://" not in target]
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    files = {str(ROOT / name) for name in tracked} or {str(path) for path in ROOT.rglob("*")}
    assert [target for target in targets if target and os.path.normpath(page.parent / target) not in files] == []


def test_the_readme_has_at_most_120_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a block, with the output that the page shows."""
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = step.splitlines()
        # A command continues on the next line after a pipe or a backslash.
        count = next(n for n, line in enumerate(lines, 1) if not line.rstrip().endswith(("|", "\\")))
        yield "\n".join(lines[:count]), "\n".join(lines[count:]).strip()


_VALUES = "|".join(
    rf'(?<="{name}":{space})"[^"]*"' for name in ("top_prediction", "label", "image_path") for space in ("", " ")
)
LEFT_OUT = re.compile(rf"ic_\w+…|…|{_VALUES}|(?<=\t)\w+(?=\t)|\w+(?= \(command line\))")
HEXADECIMAL = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
SPACE = re.compile(r"\s+")
REPLACEMENTS = [(LEFT_OUT, ".*"), (HEXADECIMAL, "[0-9a-f]+"), (NUMBER, NUMBER.pattern), (SPACE, r"\s+")]


def similar_to(shown: str) -> re.Pattern[str]:
    """Matches output with the same words and other numbers; anything matches where the page leaves out text."""
    return re.compile(_pattern(shown, REPLACEMENTS), re.DOTALL)


def _pattern(shown: str, replacements: list[tuple[re.Pattern[str], str]]) -> str:
    if not replacements:
        return re.escape(shown)
    (varying, pattern), *others = replacements
    return pattern.join(_pattern(part, others) for part in varying.split(shown))


EARLIER_COMMANDS = {
    "operations.md": [
        "curl -F file=@tiger.jpg -H 'Prefer: wait=10' http://localhost:8004/predictions/",
        "./classifier keys create anna",
        (
            "curl -X PUT -H 'X-API-Key: ic_0…' -H 'Content-Type: application/json' "
            """-d '{"top_prediction": "cat", "confidence": 1}' http://localhost:8004/predictions/1/"""
        ),
    ]
}
"""Commands that run before those of a page which describes a service in use."""


class Reader:
    """Types the commands of a page, in a folder that has ``./classifier`` and pictures."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._key = ""
        (folder / "holiday").mkdir()
        for name in ("tiger.jpg", "cat.jpg", "holiday/tiger.jpg"):
            (folder / name).write_bytes(jpeg(300 + len(name), 280))
        with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
            archive.writestr("one.jpg", jpeg(310, 300))
        for name, data in examples(6).items():
            path = folder / "insects" / name.replace("circle", "ant").replace("stripe", "bee")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "picture.jpg").write_bytes(circles(100))
        # test_classifier_command.py tests the real one, which uses the repository's own environment and data.
        (folder / "classifier").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m app "$@"\n')
        (folder / "classifier").chmod(0o755)
        self._environment = {
            **server.environment,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{PROJECT_DIR}:{PROJECT_DIR / 'client' / 'src'}",
            "PORT": str(urlsplit(server.url).port),
            "IMGCLASS_URL": server.url,
        }

    def type_until(self, command: str, expected: re.Pattern[str]) -> str:
        """The output of a command. Commands that only read are repeated for up to ten seconds."""
        deadline = time.monotonic() + 10
        while True:
            output = self.type(command)
            only_reads = command.startswith(("curl http", "curl -i"))
            if expected.search(output) or not only_reads or time.monotonic() > deadline:
                return output

    def type(self, command: str) -> str:
        """The output of a command, which must succeed."""
        command = ADDRESSES.sub(self._server.url, command)
        command = command.replace("./classifier restore", "DATA_DIR=elsewhere ./classifier restore")
        command = re.sub(r"ic_\w+…", self._key, command)
        if re.match(r"curl\b", command):
            command = command.replace("curl", "curl -sS", 1)
        completed = self._run(["bash", "-euo", "pipefail", "-c", command])
        assert completed.returncode == 0, f"{command}\n{completed.stderr}"
        if key := re.search(r"ic_\w+-*\w*", completed.stdout):
            self._key = completed.stdout[key.start() :].split()[0]
        return completed.stdout

    def run_python(self, code: str) -> "subprocess.CompletedProcess[str]":
        return self._run([sys.executable, "-c", ADDRESSES.sub(self._server.url, code)])

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def reader(server: Server, tmp_path: Path, all_models: Path) -> Reader:
    if not (all_models / MODEL).is_dir():
        pytest.skip("The documentation shows MobileNetV2, which is not here: set MODEL_WEIGHTS and run `make test`.")
    server.environment.update(MODEL=MODEL, REUSE_ANSWERS="1")
    folder = tmp_path / "reader"
    folder.mkdir()
    return Reader(server.start(), folder)


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("console")}), ids=lambda page: page.name)
def test_commands_print_the_output_that_is_shown(page: Path, reader: Reader) -> None:
    for command in EARLIER_COMMANDS.get(page.name, []):
        reader.type(command)
    for block in blocks("console"):
        if block.page == page:
            for command, shown in steps(block):
                expected = similar_to(shown)
                output = reader.type_until(command, expected)
                assert expected.search(output), f"$ {command}\n{output}\nis not\n{shown}"


def test_python_examples_run(reader: Reader) -> None:
    for block in blocks("python"):
        completed = reader.run_python(block.text)
        assert completed.returncode == 0, block.name
        assert completed.stderr == "", block.name
        assert completed.stdout.count("\n") >= 1, block.name


def test_comparison_accepts_other_numbers_and_labels() -> None:
    shown = '{"id":1,"filename":"tiger.jpg",…,"status":"succeeded","top_prediction":"tiger","confidence":0.64}'
    same = '{"id":27,"filename":"tiger.jpg","width":3,"status":"succeeded","top_prediction":"cat","confidence":1e-06}'
    assert similar_to(shown).search(same)


@pytest.mark.parametrize(("text", "other"), [("succeeded", "failed"), ("confidence", "score"), ('"id"', '"i"')])
def test_comparison_rejects_other_words(text: str, other: str) -> None:
    shown = '{"id":1,"filename":"tiger.jpg",…,"status":"succeeded","confidence":0.64}'
    assert not similar_to(shown).search(shown.replace("…", '"width":3').replace(text, other))


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.page.name)
def test_json_is_valid(block: Block) -> None:
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.page.name)
def test_manifests_are_valid(block: Block) -> None:
    manifest = tomllib.loads(block.text)
    if "features" in manifest:
        required = {
            "name": "x",
            "kind": "tabular",
            "version": "1",
            "file": "x.onnx",
            "labels": "labels.txt",
            "runtime": "onnx",
        }
        assert TabularManifest.model_validate({**required, **manifest}).features
    else:
        assert ImageManifest.model_validate(manifest).name == MODEL


async def test_script_runs_in_a_browser(server: Server, browser: Browser) -> None:
    server.start()
    httpx.post(f"{server.url}/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"})
    (block,) = blocks("js")
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(server.url)
    async with page.expect_console_message() as message:
        await page.evaluate(block.text)
    assert (await message.value).text == "succeeded"
    await context.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation's site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    completed = subprocess.run(
        [*command, str(PROJECT_DIR / "docs"), str(folder)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT_DIR)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0
    assert completed.stderr == ""
    return folder


def test_site_lists_all_commands(site: Path) -> None:
    assert "classifier keys create" in (site / "reference" / "commands.html").read_text()


def test_site_lists_all_http_operations(site: Path) -> None:
    assert 'id="post-predictions-id-reclassify"' in (site / "reference" / "http.html").read_text()


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    for file in site.rglob("*.html"):
        assert re.findall(r'(?:src|href)="https?://(?!github\.com)[^"]*\.(?:js|css|woff2?)', file.read_text()) == []
