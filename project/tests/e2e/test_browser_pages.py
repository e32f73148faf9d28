"""What people do on the other pages in a real browser, with and without scripts."""

import asyncio
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Route, expect

from tests.conftest import FALLBACK
from tests.drawings import circles
from tests.e2e.browsing import opened, shoot, upload, upload_data
from tests.e2e.server import Server
from tests.pictures import jpeg

pytestmark = pytest.mark.slow


@pytest.fixture
def service(empty_server: Server) -> str:
    return empty_server.url


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

    await page.get_by_text("Something else").click()
    label = page.get_by_label("Correct label")
    await label.focus()
    await expect(page.locator("#labels option")).to_have_count(1000)
    await label.fill("tiger_cat")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="tiger cat")).to_contain_text("corrected")
    await expect(page.get_by_role("heading", name=f"What {FALLBACK} says")).to_be_visible()

    await page.locator("summary", has_text="Try another model").click()
    await page.get_by_label("Model", exact=True).select_option(FALLBACK)
    await page.get_by_role("button", name="Classify again").click()
    await expect(page.get_by_role("heading", name="Results")).to_be_visible()
    # Its own answer comes by itself, beside the one before.
    await expect(page.locator(".comparison .bars")).to_have_count(2)
    await shoot(page, "side-by-side")
    assert complaints == []
    await context.close()


async def test_similar_images_are_shown_and_copies_can_be_hidden(browser: Browser, service: str) -> None:
    first, copy = upload(service, 2)
    (other,) = upload_data(service, circles(1))
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto(f"/history/{first}")
    strip = page.locator(".strip .card")
    await expect(strip).to_have_count(2)
    await expect(strip.first).to_contain_text("near-duplicate")
    assert [await card.get_attribute("data-id") for card in await strip.all()] == [str(copy), str(other)]
    await page.get_by_role("link", name="Similar images").click()
    await expect(page.locator(".card")).to_have_count(2)
    await shoot(page, "similar")
    await page.get_by_role("link", name="Hide near-duplicates").click()
    await expect(page.locator(".card")).to_have_count(1)
    await page.locator(f".card[data-id='{other}'] a").click()
    await expect(page).to_have_url(f"{service}/history/{other}")
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
    # The thumbnails of the next page are requested before its script runs, and arrive after its deletion.
    requested, deleted = asyncio.Event(), asyncio.Event()
    answered: asyncio.Queue[None] = asyncio.Queue()

    async def delay_script(route: Route) -> None:
        await requested.wait()
        await route.continue_()

    async def delay_thumbnail(route: Route) -> None:
        requested.set()
        await deleted.wait()
        await route.fulfill(response=await route.fetch())
        answered.put_nowait(None)

    await page.route("**/page.js*", delay_script)
    await page.route("**/image?size=*", delay_thumbnail)
    page.on("response", lambda response: deleted.set() if response.request.method == "DELETE" else None)
    await page.goto("/history", wait_until="domcontentloaded")
    await expect(page.locator(".card:visible")).to_have_count(1)
    await expect(page.locator(".card")).to_have_count(1)
    for _ in (kept, gone):
        await answered.get()
    await page.locator(".card img").evaluate("image => image.decode()")
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
    await page.goto("/classifications")
    await page.get_by_label("Image").select_option(index=0)
    await page.get_by_label("Model").select_option(FALLBACK)
    await page.get_by_role("button", name="Classify").click()
    await expect(page.locator("tbody tr")).to_have_count(5)
    await page.get_by_role("link", name="Details").click()
    await expect(page.get_by_role("heading", name="Results")).to_be_visible()
    await page.get_by_text("Something else").click()
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
