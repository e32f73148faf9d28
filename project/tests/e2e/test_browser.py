"""The pages in a real browser: with scripts and without, wide and narrow, light and dark."""

import asyncio
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FileChooser,
    FilePayload,
    Page,
    Request,
    Route,
    expect,
)

from app.config import PROJECT_DIR
from tests.conftest import FALLBACK
from tests.e2e.server import Server
from tests.pictures import encoded, jpeg, jpeg_with, scene

pytestmark = pytest.mark.slow

SCREENSHOTS = PROJECT_DIR.parent / "data" / "screenshots"
SCHEMES: list[Literal["light", "dark"]] = ["light", "dark"]
VIEWS = [(width, scheme) for width in (1280, 390) for scheme in SCHEMES]
PAGES = (
    *("/", "/history", "/history/1", "/history/1?why=tiger_cat", "/classifications", "/classifications/1"),
    *("/catalog", "/catalog/iris_random_forest", "/statistics"),
)
PATIENCE = 30_000
"""Milliseconds after which what does not come is taken for missing."""


@pytest.fixture
def service(server: Server) -> str:
    return server.start().url


async def opened(browser: Browser, url: str, complaints: list[str], **options: Any) -> BrowserContext:
    """A context whose pages complain in a list of ours."""
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


def upload(url: str, count: int = 1, name: str = "a.jpg") -> list[int]:
    found = []
    for number in range(count):
        image = {"file": (name, encoded(scene(300 + number, 200), "JPEG"))}
        answer = httpx.post(f"{url}/predictions/", files=image, headers={"Prefer": "wait=30"}, timeout=60)
        assert answer.json()["status"] == "succeeded"
        found.append(int(answer.json()["id"]))
    return found


def file(name: str, data: bytes) -> FilePayload:
    return FilePayload(name=name, mimeType="image/jpeg", buffer=data)


async def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
async def test_twenty_concurrent_uploads_get_twenty_results(
    browser: Browser, service: str, tmp_path: Path, labelled_images: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    complaints: list[str] = []
    context = await opened(browser, service, complaints, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = await context.new_page()
    await page.goto("/")
    await page.set_input_files("#files", sorted(labelled_images.glob("*.jpg"))[:20])
    await expect(page.locator(".result")).to_have_count(20)
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(20)
    assert await page.locator(".result .bars li").count() == 100
    await shoot(page, f"classify-{width}-{scheme}")
    # Nothing is wider than the screen.
    assert await page.locator("html").evaluate("page => page.scrollWidth") <= width

    (tmp_path / "notes.txt").write_text("no picture")
    await page.set_input_files("#files", tmp_path / "notes.txt")
    told = page.locator(".result", has_text="notes.txt").get_by_role("alert")
    await expect(told).to_have_text("Unsupported file. Use JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF.")
    # The browser itself notes an answer of 400.
    assert [one for one in complaints if "400 (Bad Request)" not in one] == []
    await context.close()


async def test_dropped_and_pasted_images_are_classified(browser: Browser, service: str) -> None:
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto("/")
    make = """([name, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
        return transfer;
    }"""
    dropped = await page.evaluate_handle(make, ["dropped.jpg", list(jpeg())])
    await page.dispatch_event("#upload", "drop", {"dataTransfer": dropped})
    pasted = await page.evaluate_handle(make, ["pasted.jpg", list(jpeg(300, 300))])
    await page.evaluate("data => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))", pasted)
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(2)
    assert {await name.inner_text() for name in await page.locator(".result h3").all()} == {"dropped.jpg", "pasted.jpg"}
    assert complaints == []
    await context.close()


async def test_page_polls_if_events_are_unavailable(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    await context.route("**/events", lambda route: route.abort())
    page = await context.new_page()
    await page.goto("/")
    await page.set_input_files("#files", [file("a.jpg", jpeg())])
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await context.close()


async def test_events_are_reconnected_after_a_failure(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    asked = 0

    async def answer(route: Route) -> None:
        nonlocal asked
        asked += 1
        await (route.fulfill(status=503, body="{}") if asked == 1 else route.continue_())

    await context.route("**/events", answer)
    page = await context.new_page()
    await page.goto("/")
    for count in (1, 2):
        await page.set_input_files("#files", [file(f"{count}.jpg", jpeg(300 + count))])
        await expect(page.locator(".result[data-status=succeeded]")).to_have_count(count)
    assert asked == 2
    await context.close()


async def test_failed_upload_shows_its_error_and_can_be_retried(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/")
    none = file("notes.jpg", b"no picture")
    large = file("large.jpg", bytes(21 * 2**20))
    await page.set_input_files("#files", [none, large])
    told = page.locator(".result", has_text="notes.jpg").get_by_role("alert")
    await expect(told).to_have_text("Unsupported file. Use JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF.")
    told = page.locator(".result", has_text="large.jpg").get_by_role("alert")
    await expect(told).to_have_text("This file has 21.0 MiB; the limit is 20 MiB.")
    await context.set_offline(True)
    await page.set_input_files("#files", [file("a.jpg", jpeg())])
    broken = page.locator(".result", has_text="a.jpg")
    await expect(broken.get_by_role("alert")).to_have_text("The connection was lost.")
    await context.set_offline(False)
    await broken.get_by_role("button", name="Try again").click()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await context.close()


async def test_large_upload_shows_its_progress(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/")
    network = await context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2**20}
    await network.send("Network.emulateNetworkConditions", slow)
    large = jpeg_with(b"\xff\xfe", bytes(60_000), 80)
    await page.set_input_files("#files", [file("large.jpg", large)])
    await expect(page.get_by_role("progressbar", name="Upload of large.jpg")).to_have_js_property("max", 1)
    await page.wait_for_selector("progress[value^='0.']")
    await network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await context.close()


async def test_phone_takes_photos(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [], has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    page = await context.new_page()
    await page.goto("/")
    async with page.expect_file_chooser() as choosing:
        await page.get_by_text("Take a photo").tap()
    await (await choosing.value).set_files([file("photo.jpg", jpeg())])
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await context.close()


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
    await expect(page.locator(".beside .bars")).to_have_count(2)
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
        await expect(page.locator(f'.card[data-id="{prediction_id}"]')).to_be_hidden()

    await delete(kept)
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".card")).to_have_count(2)
    await delete(gone)
    # Whoever leaves at once has deleted it all the same.
    await page.goto("/statistics")
    await page.goto("/history")
    await expect(page.locator(".card")).to_have_count(1)
    assert [row["id"] for row in httpx.get(f"{service}/predictions/").json()] == [kept]
    assert complaints == []
    await context.close()


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
    assert [told for told in complaints if not any(name in told for name in known)] == []
    await context.close()
