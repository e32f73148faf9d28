"""What people do on the other pages in a real browser, with and without scripts."""

import json
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.conftest import FALLBACK
from tests.drawings import circles
from tests.e2e.browsing import opened, shoot, upload, upload_data
from tests.e2e.server import Server
from tests.pictures import encoded, jpeg, scene

pytestmark = pytest.mark.slow


@pytest.fixture
def service(empty_server: Server) -> str:
    return empty_server.url


@pytest.mark.all_models
async def test_prediction_can_be_viewed_corrected_and_classified_again(browser: Browser, service: str) -> None:
    (first,) = upload(service)
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto(f"/history/{first}")
    await page.locator(".bars a").nth(1).click()
    picture = page.locator("figure .overlay")
    second = httpx.get(f"{service}/predictions/{first}/").json()["all_predictions"][1]["label"]
    await expect(picture).to_have_attribute("src", f"/predictions/{first}/heatmap?label={second}&overlay=true")
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    await page.wait_for_load_state()
    await page.get_by_label("Strength of the heat map").fill("20")
    await expect(picture).to_have_css("opacity", "0.2")
    await shoot(page, "why")

    await page.get_by_text("Something else").click()
    label = page.get_by_label("Correct label")
    await label.focus()
    await expect(page.locator("#labels option[value='Siberian Husky']")).to_have_count(1)
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


async def test_image_is_zoomed_and_moved(browser: Browser, service: str) -> None:
    (one,) = upload_data(service, encoded(scene(2000, 1500), "JPEG"))
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto(f"/history/{one}")
    await page.get_by_role("link", name="Zoom").click()
    picture = page.get_by_role("dialog").get_by_role("img")
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 2000
    whole = await picture.bounding_box()
    assert whole
    await picture.click(position={"x": 10, "y": 10})
    zoomed = await picture.bounding_box()
    assert zoomed
    assert zoomed["width"] == pytest.approx(2.5 * whole["width"])
    # What was clicked stays where it was.
    assert zoomed["x"] + 2.5 * 10 == pytest.approx(10, abs=1)
    await page.mouse.move(600, 400)
    await page.mouse.down()
    await page.mouse.move(500, 350)
    await page.mouse.up()
    moved = await picture.bounding_box()
    assert moved
    assert moved == pytest.approx(zoomed | {"x": zoomed["x"] - 100, "y": zoomed["y"] - 50})
    for _ in range(10):
        await page.keyboard.press("-")
    assert await picture.bounding_box() == pytest.approx(whole)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.wait_for_url(f"{service}/history/{one}")
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
    await page.wait_for_url(f"{service}/history/{other}")
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


async def test_pages_are_operated_with_shortcuts(browser: Browser, service: str) -> None:
    first, second = upload(service, 2)
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto(f"/history/{second}")
    await page.keyboard.press("ArrowRight")
    await page.wait_for_url(f"{service}/history/{first}")
    await page.keyboard.press("ArrowLeft")
    await page.wait_for_url(f"{service}/history/{second}")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("/")
    await page.wait_for_url(f"{service}/history#search")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.press("Escape")
    await page.locator("h1").click()
    await page.keyboard.press("u")
    await page.wait_for_url(f"{service}/")
    await page.keyboard.press("g")
    await page.keyboard.press("r")
    await page.wait_for_url(f"{service}/review")
    await context.close()


async def test_theme_and_language_are_chosen_and_kept(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [], color_scheme="light", locale="en-US")
    page = await context.new_page()
    await page.goto("/history")
    background = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    await page.get_by_role("button", name="Theme: automatic").click()
    await page.get_by_role("button", name="Theme: light").click()
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert await page.evaluate(background) != light
    await page.get_by_role("link", name="Deutsch").click()
    await expect(page.get_by_role("heading", name="Verlauf")).to_be_visible()
    await page.goto("/statistics")
    await expect(page.get_by_role("heading", name="Statistik")).to_be_visible()
    await expect(page.get_by_role("button", name="Design: dunkel")).to_be_visible()
    await context.close()


async def test_page_can_be_installed(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/history")
    session = await context.new_cdp_session(page)
    found = await session.send("Page.getAppManifest")
    assert found["errors"] == []
    assert found["url"] == f"{service}/static/manifest.webmanifest"
    errors = (await session.send("Page.getInstallabilityErrors"))["installabilityErrors"]
    assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []
    manifest = json.loads(found["data"])
    for icon in manifest["icons"]:
        assert httpx.get(f"{service}/static/{icon['src']}").status_code == 200
    await context.close()
