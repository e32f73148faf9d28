"""Uploads on the page, in a real browser: wide and narrow, light and dark."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import (
    Browser,
    Route,
    expect,
)

from tests.e2e.browsing import VIEWS, file, hold, opened, shoot
from tests.e2e.server import Server
from tests.pictures import jpeg, jpeg_with

pytestmark = pytest.mark.slow


@pytest.fixture
def service(shared_server: Server) -> str:
    return shared_server.url


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
    message = page.locator(".result", has_text="notes.txt").get_by_role("alert")
    await expect(message).to_have_text(
        "This is a text file. Accepted are JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF."
    )
    # The browser itself notes an answer of 400.
    assert [one for one in complaints if "400 (Bad Request)" not in one] == []
    await context.close()


async def test_images_chosen_while_the_page_loads_are_uploaded(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    chosen = await hold(page, "**/classify.js*")
    await page.goto("/", wait_until="commit")
    await page.set_input_files("#files", [file("early.jpg", jpeg())])
    chosen.set()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
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


async def test_refused_upload_shows_its_error_and_an_interrupted_one_continues(
    browser: Browser, service: str, tmp_path: Path
) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/")
    # From the disk: Playwright would send their bytes as text.
    none, large = tmp_path / "notes.jpg", tmp_path / "large.jpg"
    none.write_bytes(b"no picture")
    large.write_bytes(bytes(21 * 2**20))
    await page.set_input_files("#files", [none, large])
    message = page.locator(".result", has_text="notes.jpg").get_by_role("alert")
    await expect(message).to_have_text(
        "This is a text file. Accepted are JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF."
    )
    message = page.locator(".result", has_text="large.jpg").get_by_role("alert")
    await expect(message).to_have_text("This file has 21.0 MiB; the limit is 20 MiB.")
    await context.set_offline(True)
    await page.set_input_files("#files", [file("a.jpg", jpeg())])
    broken = page.locator(".result", has_text="a.jpg")
    await expect(broken).to_contain_text("The upload continues by itself.")
    await expect(page.get_by_text("This page reconnects by itself.")).to_be_visible()
    await context.set_offline(False)
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await context.close()


async def test_refusal_is_shown_in_the_language_of_the_page(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/?language=de")
    await page.set_input_files("#files", [file("notes.jpg", b"no picture"), file("a.pdf", b"%PDF-1.7")])
    await expect(page.get_by_text("Das ist eine Textdatei. Erlaubt sind JPEG, PNG")).to_be_visible()
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
