"""Opens pages in a browser and records their errors; shared by the browser tests."""

import asyncio
from typing import Any, Literal

import httpx
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    FilePayload,
    Page,
    Request,
    Route,
    expect,
)

from app import PROJECT_DIR
from tests.conftest import FALLBACK
from tests.pictures import encoded, scene

SCREENSHOTS = PROJECT_DIR.parent / "data" / "screenshots"
SCHEMES: list[Literal["light", "dark"]] = ["light", "dark"]
VIEWS = [(width, scheme) for width in (1280, 390) for scheme in SCHEMES]
PAGES = (
    *("/", "/history", "/history/1", "/history/1?why=tiger_cat", "/classifications", "/classifications/1"),
    *("/catalog", "/catalog/iris_random_forest", "/statistics", f"/statistics/accuracy/{FALLBACK}"),
    *("/history?q=a&least=1&reviewed=corrected", "/history/1/similar", "/teach", "/nothing"),
)
PATIENCE = 30_000
"""Milliseconds to wait for an element."""


async def opened(browser: Browser, url: str, complaints: list[str], **options: Any) -> BrowserContext:
    """A browser context that records its pages' errors in ``complaints``."""
    context = await browser.new_context(base_url=url, **options)
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.text} ({message.location})")

    def on_failed(request: Request) -> None:
        # What was still loading when the page was left is no fault.
        if "ERR_ABORTED" not in str(request.failure):
            complaints.append(f"{request.url}: {request.failure}")

    context.on("console", on_console)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("requestfailed", on_failed)
    return context


async def hold(page: Page, pattern: str) -> asyncio.Event:
    """Hold the page's requests of addresses back until the event is set."""
    go_on = asyncio.Event()

    async def wait(route: Route) -> None:
        await go_on.wait()
        await route.continue_()

    await page.route(pattern, wait)
    return go_on


def stay(page: Page) -> list[str]:
    """Answer every question of the page by staying; returns their kinds, as they come."""
    asked: list[str] = []

    async def dismiss(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", dismiss)
    return asked


def upload(url: str, count: int = 1, name: str = "a.jpg") -> list[int]:
    """Upload images and wait for their results; returns the IDs of the predictions."""
    return upload_data(url, *(encoded(scene(300 + number, 200), "JPEG") for number in range(count)), name=name)


def upload_data(url: str, *images: bytes, name: str = "a.jpg") -> list[int]:
    """The same with images of the caller's."""
    found = []
    with httpx.Client(base_url=url, headers={"Prefer": "wait=60"}, timeout=60) as client:
        for data in images:
            answer = client.post("/predictions/", files={"file": (name, data)})
            assert answer.json()["status"] == "succeeded", answer.text
            found.append(int(answer.json()["id"]))
    return found


def file(name: str, data: bytes) -> FilePayload:
    return FilePayload(name=name, mimeType="image/jpeg", buffer=data)


async def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")
