"""What a process that reads images can still do, although it might execute code of an image."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import landlockpy
import psutil
import pytest

from app import PROJECT_DIR
from app.accounts import Account, as_account
from app.classifier.engine.process import Engine
from app.classifier.engine.startup import engine_config
from app.config import Settings
from tests.conftest import FALLBACK
from tests.integration.conftest import limit, processes
from tests.pictures import jpeg

pytestmark = pytest.mark.process

ATTEMPTS = """
import json, os, socket, subprocess, sys
from pathlib import Path
from app.classifier.engine.sandbox import restrict

models, secret, folder, port, parent = sys.argv[1:]
attempts = {
    "read a model": lambda: next(Path(models).rglob("*.tflite")).read_bytes(),
    "import a module": lambda: __import__("colorsys"),
    "read another file": lambda: Path(secret).read_text(),
    "read accounts": lambda: Path("/etc/passwd").read_text(),
    "list a folder": lambda: os.listdir(folder),
    "write a file": lambda: Path(folder, "written").write_text("x"),
    "write a model": lambda: next(Path(models).rglob("*.tflite")).open("ab"),
    "read the service's environment": lambda: Path("/proc", parent, "environ").read_bytes(),
    "execute a program": lambda: subprocess.run(["/bin/true"]),
    "connect": lambda: socket.create_connection(("127.0.0.1", int(port))),
    "listen": lambda: socket.create_server(("127.0.0.1", 0)),
    "signal the service": lambda: os.kill(int(parent), 0),
}
restrict(Path(models), 0)
results = {}
for name, attempt in attempts.items():
    try:
        attempt()
        results[name] = "done"
    except PermissionError:
        results[name] = "refused"
print(json.dumps(results))
"""
ABI_OF_TCP = 4
ABI_OF_SIGNALS = 6


@pytest.mark.skipif(not landlockpy.supported(), reason="this kernel has no Landlock (Linux 5.13)")
def test_files_network_and_other_processes_are_out_of_reach(models_dir: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a password")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", ATTEMPTS, models_dir, secret, tmp_path, str(port), str(os.getpid())],
            cwd=PROJECT_DIR,
            env={**os.environ, "PYTHONPATH": str(PROJECT_DIR)},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    results: dict[str, str] = json.loads(done.stdout)
    abi = landlockpy.abi_version()
    for name, needed in (("connect", ABI_OF_TCP), ("listen", ABI_OF_TCP), ("signal the service", ABI_OF_SIGNALS)):
        if abi < needed:
            del results[name]
    assert results.pop("read a model") == results.pop("import a module") == "done"
    assert len(results) >= 6
    assert set(results.values()) == {"refused"}, results
    assert not (tmp_path / "written").exists()


def status(process: psutil.Process) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_process_has_no_privileges(settings: Settings) -> None:
    engine = Engine(engine_config(settings, None))
    async with engine.running():
        assert (await engine.classify(FALLBACK, jpeg())).scores
        (process,) = processes()
        shown = status(process)
        assert shown["NoNewPrivs"] == "1"
        assert set(shown["Uid"].split()).isdisjoint({"0"})
        assert set(shown["Gid"].split()).isdisjoint({"0"})
        assert shown["Groups"] == "" or os.geteuid() != 0
        # At most the one to read files below folders that are closed to others.
        assert int(shown["CapEff"], 16) & ~(1 << 2) == 0
        assert limit(process, "Max data size") == engine_config(settings, None).max_memory_bytes
        process.send_signal(signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_capability_is_kept_only_for_closed_folders(tmp_path: Path) -> None:
    account = Account(61_841, 61_841)

    def capabilities(needed: Path) -> int:
        prefix = as_account(account, [needed], "dac_read_search")
        assert prefix is not None
        shown = subprocess.run([*prefix, "--", "grep", "CapEff", "/proc/self/status"], capture_output=True, text=True)
        return int(shown.stdout.split()[1], 16)

    assert capabilities(Path("/usr")) == 0
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "model").write_text("x")
    assert capabilities(closed / "model") == 1 << 2


def test_service_without_setpriv_says_that_images_are_decoded_as_root(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from app.classifier.engine import sandbox

    def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr("app.accounts.setpriv", nothing)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert sandbox.unprivileged(tmp_path) == []
    assert "install the command setpriv" in caplog.text
