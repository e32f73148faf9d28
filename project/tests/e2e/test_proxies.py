"""The configurations in docs/proxies.md, with a real nginx, a real browser and the client."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from image_classifier_client import Client
from playwright.async_api import Browser, FilePayload, expect

from app import PROJECT_DIR
from app.config import Settings
from tests.e2e.browsing import opened
from tests.e2e.nginx import Nginx
from tests.e2e.server import Server
from tests.pictures import jpeg
from tests.servers import free_port

pytestmark = pytest.mark.slow

PAGE = (PROJECT_DIR / "docs" / "proxies.md").read_text()
SERVICE = "http://127.0.0.1:8004"
PLAIN = "server { location / { proxy_pass http://127.0.0.1:8004; } }"
REMOVING = "server { location /classifier/ { proxy_pass http://127.0.0.1:8004/; proxy_set_header Host $http_host; } }"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def own_host() -> str:
    """The first nginx example, without TLS."""
    text = examples("nginx")[0]
    return re.sub(r"^ *(listen|server_name|ssl_\w+) .*\n", "", text, flags=re.MULTILINE)


def below_a_path() -> str:
    return f"server {{ {examples('nginx')[1]} }}"


@contextmanager
def nginx(folder: Path, servers: str) -> Iterator[str]:
    """Nginx with a configuration; yields its address."""
    port = free_port()
    servers = servers.replace("server {", f"server {{ listen 127.0.0.1:{port};", 1)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)

    def is_listening() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    server = Nginx(
        folder,
        f"pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} {servers} }}",
        is_listening,
    )
    try:
        yield f"http://localhost:{port}"
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("servers", "root"),
    [(own_host(), ""), (below_a_path(), "/classifier"), (REMOVING, "/classifier"), (PLAIN, "")],
    ids=["own host", "below a path", "prefix removed", "proxy_pass alone"],
)
async def test_everything_works_behind_nginx(
    browser: Browser, server: Server, tmp_path: Path, servers: str, root: str
) -> None:
    server.environment |= {"ALLOW_ANONYMOUS": "0", "ROOT_PATH": root}
    server.start()
    key = server.command("keys", "create", "anna").stdout.splitlines()[-1]
    with nginx(tmp_path, servers.replace(SERVICE, server.url)) as address:
        url = address + root
        complaints: list[str] = []
        context = await opened(browser, url, complaints)
        page = await context.new_page()
        await page.goto(f"{root}/")
        await page.wait_for_url(f"{url}/sign-in")
        await page.get_by_label("API key").fill(key)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{url}/")
        await page.set_input_files("#files", FilePayload(name="a.jpg", mimeType="image/jpeg", buffer=jpeg()))
        # By events, not by polling.
        await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
        await page.get_by_role("link", name="History").click()
        await expect(page.locator(".card")).to_have_count(1)
        await page.locator(".card a").click()
        await page.get_by_text("Something else").click()
        await page.get_by_label("Correct label").fill("my cat")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", name="my cat")).to_be_visible()
        await page.goto(f"{root}/docs")
        await expect(page.get_by_role("heading", name="Image classifier").first).to_be_visible()
        await page.goto(f"{root}/history/1")
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.locator(".card")).to_have_count(0, timeout=30_000)
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url(f"{url}/sign-in")
        assert complaints == []
        await context.close()
        with Client(url, key) as client:
            assert client.classify(jpeg()).status == "succeeded"


@pytest.fixture
def other_server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    """A server with a database of its own: those of the other tests are copies of one."""
    other = Server(settings.model_copy(update={"data_dir": tmp_path / "other"}), tmp_path / "other.log")
    assert other.command("migrate").returncode == 0
    yield other
    other.kill()


async def test_two_services_on_one_host_keep_their_own_sign_ins(
    browser: Browser, server: Server, other_server: Server
) -> None:
    for one in (server, other_server):
        one.environment["ALLOW_ANONYMOUS"] = "0"
        one.start()
    context = await browser.new_context()
    page = await context.new_page()
    for one in (server, other_server):
        key = one.command("keys", "create", "anna").stdout.splitlines()[-1]
        await page.goto(f"{one.url}/sign-in")
        await page.get_by_label("API key").fill(key)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{one.url}/")
    for one in (server, other_server):
        await page.goto(f"{one.url}/history")
        await page.wait_for_url(f"{one.url}/history")
        await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.goto(f"{server.url}/history")
    await page.wait_for_url(f"{server.url}/history")
    await context.close()


def test_example_for_traefik_is_valid_yaml() -> None:
    (text,) = examples("yaml")
    http = yaml.safe_load(text)["http"]
    assert http["routers"]["classifier"]["service"] in http["services"]
