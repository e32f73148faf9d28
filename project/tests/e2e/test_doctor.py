"""``./classifier doctor`` reports problems and their fixes."""

import socket

import httpx
import pytest

from tests.conftest import FALLBACK
from tests.e2e.server import Server


@pytest.fixture
def port(server: Server) -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    server.environment["PORT"] = str(number)
    return number


def findings(server: Server, status: int) -> dict[str, tuple[str, str]]:
    """State and text of each check."""
    done = server.command("doctor")
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stdout + done.stderr
    found = {}
    for line in done.stdout.splitlines():
        state, rest = line.split(None, 1)
        what, message = rest.split(": ", 1)
        found[what] = (state, message)
    return found


def test_everything_is_ok_before_the_start_and_while_the_service_runs(server: Server, port: int) -> None:
    before = findings(server, 0)
    assert {state for state, _ in before.values()} == {"ok"}
    assert set(before) == {"version", "port", "disk", "model", "database", "tables", "storage", "keys"}
    assert before["port"] == ("ok", f"127.0.0.1:{port} is free")
    assert before["model"][1].startswith(FALLBACK)
    server.start()
    running = findings(server, 0)
    assert running["port"] == ("ok", f"127.0.0.1:{port} is in use by this service")
    assert server.stop() == 0


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_service_listens_on_both_families_if_told_so(server: Server, port: int) -> None:
    server.environment |= {"HOST": "::", "ALLOW_ANONYMOUS": "1", "LOG_ADDRESSES": "full"}
    server.start()
    for address in (f"http://127.0.0.1:{port}", f"http://[::1]:{port}"):
        assert httpx.get(f"{address}/ping").json()["ping"] == "pong"
    assert findings(server, 0)["port"] == ("ok", f":::{port} is in use by this service")
    assert server.stop() == 0
    # An IPv4 client keeps its address: limits and permissions depend on it.
    assert "127.0.0.1" in server.log_text()
    assert "::ffff:" not in server.log_text()


def test_problem_is_reported_with_its_fix(server: Server, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        server.environment |= {"MODEL": "nonsense", "ALLOW_ANONYMOUS": "0"}
        found = findings(server, 1)
    assert found["port"][0] == "wrong"
    assert "set PORT to another" in found["port"][1]
    assert found["model"][0] == "wrong"
    assert found["keys"] == ("wrong", "there are none: create one with `./classifier keys create NAME`.")


def test_risks_of_a_service_without_keys_are_reported(server: Server) -> None:
    server.environment |= {"ALLOW_ANONYMOUS": "1", "HOST": "0.0.0.0", "TRUSTED_PROXIES": "*", "ALLOWED_HOSTS": "*"}
    assert server.command("keys", "create", "anna").returncode == 0
    done = server.command("doctor")
    assert done.returncode == 0
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning  access: ")]
    for name in ("API keys", "HOST=0.0.0.0", "TRUSTED_PROXIES", "ALLOWED_HOSTS=*"):
        assert sum(name in line for line in warnings) == 1, done.stdout
    server.environment |= {"ALLOW_ANONYMOUS": "0"}
    assert findings(server, 0)["keys"] == ("ok", "required, and at least one is valid")


def test_unavailable_or_empty_database_is_reported(server: Server, postgres_url: str) -> None:
    server.environment["DATABASE_URL"] = "postgres://postgres@127.0.0.1:1/nothing"
    state, message = findings(server, 1)["database"]
    assert state == "wrong"
    assert "check DATABASE_URL" in message
    server.environment["DATABASE_URL"] = postgres_url
    found = findings(server, 1)
    assert found["database"][0] == "ok"
    assert found["tables"][0] == "wrong"
    assert found["tables"][1].endswith("migrations are missing: run `./classifier migrate`.")


def test_storage_of_another_database_is_reported(server: Server) -> None:
    server.start()
    server.stop()
    marks = list((server.log.parent).rglob(".owner"))
    assert marks
    for mark in marks:
        mark.write_text("another")
    state, message = findings(server, 1)["storage"]
    assert state == "wrong"
    assert "belongs to another database" in message
