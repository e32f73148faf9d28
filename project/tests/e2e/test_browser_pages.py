"""What people do on the other pages in a real browser, with and without scripts."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Dialog, Route, expect

from tests.conftest import FALLBACK
from tests.drawings import circles, zipped
from tests.e2e.browsing import file, opened, shoot, upload, upload_data
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
    picture = page.locator("figure .overlay")
    second = httpx.get(f"{service}/predictions/{first}/").json()["all_predictions"][1]["label"]
    await expect(picture).to_have_attribute("src", f"/predictions/{first}/heatmap?label={second}&overlay=true")
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    await page.get_by_label("Strength of the heat map").fill("20")
    await expect(picture).to_have_css("opacity", "0.2")
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


async def test_selected_images_are_deleted_unless_that_is_undone(browser: Browser, service: str) -> None:
    ids = upload_data(service, *(circles(number) for number in range(5)))
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto("/history")
    boxes = page.locator(".select input")
    await boxes.first.check()
    await page.locator(".card a").nth(2).click(modifiers=["Shift"])
    await expect(page.get_by_text("3 selected")).to_be_visible()
    await shoot(page, "history-selected")
    await page.keyboard.press("Delete")
    await expect(page.locator(".card:visible")).to_have_count(2)
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".card:visible")).to_have_count(5)
    await boxes.last.check()
    await page.get_by_role("button", name="Delete", exact=True).click()
    # Leaving the page does not undo it.
    await page.goto("/statistics")
    await page.goto("/history")
    await expect(page.locator(".card")).to_have_count(4)
    assert {row["id"] for row in httpx.get(f"{service}/predictions/").json()} == set(ids[1:])
    # A thumbnail may be requested just before its image is gone.
    assert [one for one in complaints if "/image?size=" not in one] == []
    await context.close()


async def test_everything_that_matches_is_deleted_without_scripts(browser: Browser, service: str) -> None:
    upload_data(service, *(circles(number) for number in range(3)), name="circle.jpg")
    (kept,) = upload_data(service, circles(9), name="kept.jpg")
    context = await opened(browser, service, [], java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/history?q=circle")
    await page.get_by_label("all that match the filters").check()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="Delete 3 images?")).to_be_visible()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No results.")).to_be_visible()
    assert [row["id"] for row in httpx.get(f"{service}/predictions/").json()] == [kept]
    await context.close()


async def test_pages_are_operated_with_shortcuts(browser: Browser, service: str) -> None:
    first, second = upload(service, 2)
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto(f"/history/{second}")
    await page.keyboard.press("ArrowRight")
    await expect(page).to_have_url(f"{service}/history/{first}")
    await page.keyboard.press("ArrowLeft")
    await expect(page).to_have_url(f"{service}/history/{second}")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("/")
    await expect(page).to_have_url(f"{service}/history#search")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.press("Escape")
    await page.locator("h1").click()
    await page.keyboard.press("u")
    await expect(page).to_have_url(f"{service}/")
    await page.keyboard.press("g")
    await page.keyboard.press("r")
    await expect(page).to_have_url(f"{service}/review")
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


async def test_sample_is_classified_on_an_empty_service(browser: Browser, service: str) -> None:
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto("/")
    await page.get_by_role("link", name="a cup of coffee").click()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    # Results come back.
    await page.locator(".result a").first.click()
    await expect(page.locator("article.one")).to_be_visible()
    await page.go_back()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await page.get_by_role("button", name="Clear the results").click()
    await expect(page.locator(".result")).to_have_count(0)
    await page.reload()
    await expect(page.get_by_role("heading", name="Recent")).to_be_visible()
    assert complaints == []
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


async def test_folder_is_uploaded_in_order_with_its_progress(browser: Browser, service: str, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(circles(number))
    (tmp_path / "notes.txt").write_text("no picture")
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/")
    await page.locator("#folder").set_input_files(tmp_path)
    await expect(page.get_by_text("4 of 4")).to_be_visible()
    names = [await name.inner_text() for name in await page.locator(".result h3").all()]
    assert sorted(names) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    await context.close()


async def test_paused_uploads_wait_and_leaving_asks(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/")
    go_on = asyncio.Event()

    async def delay(route: Route) -> None:
        await go_on.wait()
        await route.continue_()

    await page.route("**/predictions/", delay)
    await page.set_input_files("#files", [file(f"{number}.jpg", circles(number)) for number in range(5)])
    await page.get_by_role("button", name="Pause").click()
    asked: list[str] = []

    async def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", stay)
    await page.evaluate("() => { setTimeout(() => { location.href = '/statistics'; }); }")
    go_on.set()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(3)
    await expect(page.get_by_text("3 of 5")).to_be_visible()
    assert asked == ["beforeunload"]
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(5)
    await context.close()


DROP = """([name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}"""


async def test_images_dropped_on_any_page_are_uploaded(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/statistics")
    await page.evaluate(DROP, ["dropped.jpg", list(circles(1))])
    await expect(page.get_by_text("Uploaded: 1")).to_be_visible()
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator(".card")).to_have_count(1)
    await expect(page.locator(".card")).to_contain_text("dropped.jpg")
    await context.close()


async def test_images_of_a_zip_file_are_classified_and_have_an_address(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/")
    archive = zipped({"a.jpg": circles(1), "b.jpg": circles(2), "notes.txt": b"no picture"})
    await page.set_input_files("#files", [file("images.zip", archive)])
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(2)
    await expect(page.locator(".result[data-status=refused]")).to_contain_text("notes.txt")
    await page.get_by_role("link", name="These images in History").click()
    await expect(page.locator(".card")).to_have_count(2)
    await expect(page.get_by_text("only some images")).to_be_visible()
    await context.close()


async def test_back_leads_to_the_same_position(browser: Browser, service: str) -> None:
    upload_data(service, *[circles(1)] * 130)
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/history")
    for count in (120, 130):
        await page.mouse.wheel(0, 20_000)
        await expect(page.locator(".card")).to_have_count(count)
    card = page.locator(".card").nth(100)
    number = await card.get_attribute("data-id")
    await card.locator("a").click()
    await expect(page).to_have_url(f"{service}/history/{number}")
    await page.go_back()
    await expect(page.locator(".card")).to_have_count(130)
    await expect(page.locator(f'.card[data-id="{number}"]')).to_be_in_viewport()
    await context.close()
