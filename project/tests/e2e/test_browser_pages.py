"""The other pages in a real browser: with and without scripts, by keyboard, wide and narrow, light and dark."""

import asyncio
from pathlib import Path
from typing import Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import (
    Browser,
    FileChooser,
    expect,
)

from tests.conftest import FALLBACK
from tests.e2e.browsing import PAGES, PATIENCE, VIEWS, opened, shoot, upload
from tests.e2e.server import Server
from tests.pictures import jpeg

pytestmark = pytest.mark.slow


@pytest.fixture
def service(server: Server) -> str:
    return server.start().url


async def test_gallery_loads_more_on_scroll_and_can_be_filtered(browser: Browser, service: str) -> None:
    upload(service, 70)
    (tiger,) = upload(service, 1, "tiger.jpg")
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto("/history")
    await shoot(page, "history")
    await page.mouse.wheel(0, 20_000)
    await expect(page.locator(".card")).to_have_count(71)
    await page.get_by_role("searchbox", name="Search").fill("tig")
    await page.keyboard.press("Enter")
    await expect(page.locator(".card")).to_have_count(1)
    await page.locator(".card a").click()
    await expect(page).to_have_url(f"{service}/history/{tiger}")
    assert complaints == []
    await context.close()


@pytest.mark.all_models
async def test_prediction_can_be_viewed_corrected_and_classified_again(browser: Browser, service: str) -> None:
    (first,) = upload(service)
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto(f"/history/{first}")
    await page.locator(".bars a").nth(1).click()
    picture = page.locator("figure img")
    second = httpx.get(f"{service}/predictions/{first}/").json()["all_predictions"][1]["label"]
    await expect(picture).to_have_attribute("src", f"/predictions/{first}/heatmap?label={second}")
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    await shoot(page, "why")

    await page.get_by_text("Correct the label").click()
    label = page.get_by_label("Correct label")
    await label.focus()
    await expect(page.locator("#labels option")).to_have_count(1000)
    await label.fill("tiger_cat")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="tiger cat")).to_contain_text("corrected")

    await page.locator("summary", has_text="Try another model").click()
    await page.get_by_label("Model", exact=True).select_option(FALLBACK)
    await page.get_by_role("button", name="Classify again").click()
    await expect(page.get_by_role("heading", name="Results")).to_be_visible()
    # Its own answer comes by itself, beside the one before.
    await expect(page.locator(".comparison .bars")).to_have_count(2)
    await shoot(page, "side-by-side")
    assert complaints == []
    await context.close()


async def test_deletion_can_be_undone(browser: Browser, service: str) -> None:
    kept, gone = upload(service, 2)
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()

    async def delete(prediction_id: int) -> None:
        await page.goto(f"/history/{prediction_id}")
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("Deleted.")).to_be_visible()
        await expect(page.locator(f'.card[data-id="{prediction_id}"]')).to_be_hidden()

    await delete(kept)
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".card")).to_have_count(2)
    await delete(gone)
    # Leaving the page at once does not undo the deletion, even if its request does not arrive.
    await page.evaluate("() => { window.fetch = () => new Promise(() => {}); }")
    await page.goto("/statistics")
    await page.goto("/history")
    await expect(page.locator(".card:visible")).to_have_count(1)
    await expect(page.locator(".card")).to_have_count(1)
    assert [row["id"] for row in httpx.get(f"{service}/predictions/").json()] == [kept]
    assert complaints == []
    await context.close()


@pytest.mark.all_models
async def test_everything_works_without_scripts(browser: Browser, service: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    context = await opened(browser, service, complaints, java_script_enabled=False)
    page = await context.new_page()
    (tmp_path / "tiger.jpg").write_bytes(jpeg())
    await page.goto("/")
    await page.set_input_files("#files", tmp_path / "tiger.jpg")
    await page.get_by_role("button", name="Classify").click()
    # The page is read again by itself.
    await expect(page.locator("tbody tr")).to_have_count(5)
    await page.locator("#main").get_by_role("link", name="Classify again").click()
    await page.get_by_label("Image").select_option(index=0)
    await page.get_by_label("Model").select_option(FALLBACK)
    await page.get_by_role("button", name="Classify").click()
    await expect(page.locator("tbody tr")).to_have_count(5)
    await page.get_by_role("link", name="Details").click()
    await expect(page.get_by_role("heading", name="Results")).to_be_visible()
    await page.get_by_text("Correct the label").click()
    await page.get_by_label("Correct label").fill("my cat")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="my cat")).to_be_visible()
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No predictions yet")).to_be_visible()
    await page.goto("/catalog/iris_random_forest")
    await page.get_by_label("petal length").fill("6")
    await page.get_by_label("petal width").fill("2.5")
    await page.get_by_role("button", name="Predict").click()
    await expect(page.get_by_role("heading", name="virginica")).to_be_visible()
    assert complaints == []
    await context.close()


@pytest.mark.all_models
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
async def test_pages_are_accessible(
    browser: Browser, service: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    upload(service, 3)
    complaints: list[str] = []
    context = await opened(
        browser, service, complaints, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = await context.new_page()
    for path in PAGES:
        await page.goto(path)
        await shoot(page, f"{path.strip('/').replace('/', '-').split('?')[0] or 'first'}-{width}-{scheme}")
        found = (await Axe().run(page)).response["violations"]
        grave = [one for one in found if one["impact"] in {"serious", "critical"}]
        serious = [(one["id"], [node["html"] for node in one["nodes"]]) for one in grave]
        assert serious == [], path
        assert await page.locator("html").evaluate("page => page.scrollWidth") <= width, path
    assert complaints == []
    await context.close()


async def test_everything_works_with_the_keyboard(browser: Browser, service: str, tmp_path: Path) -> None:
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
async def test_swagger_ui_works_under_its_content_security_policy(browser: Browser, service: str, path: str) -> None:
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
