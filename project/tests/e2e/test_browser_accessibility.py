"""Pages for everybody in a real browser: accessible wide and narrow, light and dark, by keyboard, and Swagger UI."""

import asyncio
from pathlib import Path
from typing import Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, FileChooser, expect

from tests.e2e.browsing import PAGES, PATIENCE, opened, shoot, upload
from tests.e2e.server import Server
from tests.pictures import jpeg

pytestmark = [pytest.mark.slow, pytest.mark.all_models]


@pytest.fixture
def service(shared_server: Server) -> str:
    return shared_server.url


MAX_BYTES = 100_000
"""Of a page with its style sheet and scripts, before its images."""
MAX_SHIFT = 0.05
"""Layout shift (https://web.dev/articles/cls); 0.1 counts as good."""
SHIFT = """() => new Promise(done => {
    let sum = 0;
    const add = list => { for (const entry of list.getEntries()) sum += entry.value; };
    new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
})"""
SIZES = """() => performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"))
    .filter(entry => ["navigation", "link", "script"].includes(entry.initiatorType))
    .reduce((sum, entry) => sum + entry.decodedBodySize, 0)"""


@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [(1280, "light", "en"), (1280, "dark", "de"), (820, "light", "de"), (390, "light", "de"), (390, "dark", "en")],
)
async def test_pages_are_accessible(
    browser: Browser, service: str, width: int, scheme: Literal["light", "dark"], language: str
) -> None:
    reviewed = {"ids": upload(service, 3), "verdict": "corrected", "label": "my cat"}
    assert httpx.post(f"{service}/predictions/review", json=reviewed).status_code == 200
    complaints: list[str] = []
    context = await opened(
        *(browser, service, complaints),
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        locale=language,
        bypass_csp=True,
    )
    page = await context.new_page()
    for path in PAGES:
        await page.goto(path)
        await shoot(page, f"{path.strip('/').replace('/', '-').split('?')[0] or 'first'}-{width}-{scheme}")
        assert await page.locator("html").get_attribute("lang") == language
        assert await page.evaluate(SHIFT) < MAX_SHIFT, path
        assert await page.evaluate(SIZES) < MAX_BYTES, path
        found = (await Axe().run(page)).response["violations"]
        grave = [one for one in found if one["impact"] in {"serious", "critical"}]
        serious = [(one["id"], [node["html"] for node in one["nodes"]]) for one in grave]
        assert serious == [], path
        assert await page.locator("html").evaluate("page => page.scrollWidth") <= width, path
    # The browser itself notes the page that does not exist.
    assert [one for one in complaints if "/nothing" not in one] == []
    await context.close()


async def test_image_is_uploaded_with_the_keyboard(browser: Browser, service: str, tmp_path: Path) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    chosen: asyncio.Future[FileChooser] = asyncio.get_running_loop().create_future()
    # From the start, so that no dialog of the browser's own comes in between.
    page.on("filechooser", lambda chooser: chosen.set_result(chooser))  # noqa: PLW0108 - it is marked by them
    await page.goto("/")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.locator("#files")).to_be_focused()
    (tmp_path / "a.jpg").write_bytes(jpeg())
    await page.keyboard.press("Enter")
    async with asyncio.timeout(PATIENCE / 1000):
        await (await chosen).set_files(tmp_path / "a.jpg")
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await context.close()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_documentation_of_the_api_works_under_its_content_security_policy(
    browser: Browser, service: str, path: str
) -> None:
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto(path)
    # The last of them: a menu that is closed has them, too.
    await expect(page.get_by_text("Delete a prediction").last).to_be_visible()
    # ReDoc complains of a schema of its own making, and wants its maker's logo from elsewhere, which it does not get.
    known = ("OpenAPI Sampler", "logo-mini.svg")
    assert [message for message in complaints if not any(name in message for name in known)] == []
    await context.close()
