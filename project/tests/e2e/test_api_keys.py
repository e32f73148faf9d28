"""API keys: created on the command line, used over HTTP and in a browser."""

import httpx
import pytest
from playwright.async_api import Browser, FilePayload, expect

from tests.e2e.server import Server
from tests.pictures import jpeg


def made(server: Server, *options: str) -> str:
    done = server.command("keys", "create", "anna", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_keys_are_created_listed_and_revoked_while_the_service_runs(server: Server) -> None:
    server.environment["ALLOW_ANONYMOUS"] = "0"
    server.start()
    assert "There are no API keys" in server.log_text()
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/predictions/").status_code == 401
        client.headers["Authorization"] = f"Bearer {made(server, '--expires', '30d')}"
        assert client.get("/predictions/").status_code == 200
        listed = server.command("keys", "list").stdout.splitlines()
        assert listed[1].split()[:3] == ["1", "anna", "read,write"]
        assert listed[1].endswith("valid")
        assert client.headers["Authorization"].split("_", 2)[2] not in "".join(listed)
        assert server.command("keys", "revoke", "1").returncode == 0
        # A process asks the database again after a second.
        while client.get("/predictions/").status_code == 200:
            assert client.get("/ping").status_code == 200
        assert client.get("/predictions/").json()["code"] == "key_refused"
    again = server.command("keys", "revoke", "1")
    assert again.returncode == 1
    assert again.stderr == "error: There is no valid key 1: `./classifier keys list` shows all keys.\n"
    assert "expires" in listed[0]
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "x", "--scopes", "everything"], "scopes must be upload, read, write or admin"),
        (["create", "x", "--expires", "soon"], "12h, 30d, 52w"),
        (["create", ""], "1 to 64 printable characters"),
        (["create", "a\nb"], "1 to 64 printable characters"),
        ([], "COMMAND"),
    ],
)
def test_invalid_arguments_are_reported(server: Server, arguments: list[str], says: str) -> None:
    done = server.command("keys", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_service_on_other_addresses_needs_a_key(server: Server) -> None:
    server.environment["HOST"] = "0.0.0.0"
    done = server.command("serve")
    assert done.returncode != 0
    output = next(line for line in done.stderr.splitlines() if "[error" in line)
    assert "there are no API keys: create one with `./classifier keys create NAME`, or set ALLOW_ANONYMOUS=1" in output
    made(server)
    assert httpx.get(f"{server.start().url}/ping").status_code == 200


async def test_person_signs_in_with_a_key(browser: Browser, server: Server) -> None:
    server.environment["ALLOW_ANONYMOUS"] = "0"
    server.start()
    key = made(server)
    page = await (await browser.new_context(base_url=server.url)).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    await page.goto("/")
    await page.wait_for_url(f"{server.url}/sign-in")
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{server.url}/")
    await page.set_input_files("#files", FilePayload(name="a.jpg", mimeType="image/jpeg", buffer=jpeg()))
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1, timeout=30_000)
    # A thumbnail that is requested while signing out would be refused.
    await page.locator(".result img").evaluate("image => image.decode()")
    assert await page.evaluate("document.cookie") == ""
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{server.url}/sign-in")
    await page.goto("/history")
    await page.wait_for_url(f"{server.url}/sign-in?next=%2Fhistory")
    assert complaints == []
