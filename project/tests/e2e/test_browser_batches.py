"""Many uploads in a real browser: folders, ZIP files, drops on any page, and samples."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, Route, expect

from tests.drawings import circles, zipped
from tests.e2e.browsing import file, hold, opened, stay
from tests.e2e.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def service(empty_server: Server) -> str:
    return empty_server.url


DROP = """([name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}"""


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


async def test_folder_is_uploaded_in_order_with_its_progress(browser: Browser, service: str, tmp_path: Path) -> None:
    for number in range(8, 12):
        (tmp_path / f"{number}.jpg").write_bytes(circles(number))
    (tmp_path / "notes.txt").write_text("no picture")
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/")
    await page.locator("#folder").set_input_files(tmp_path)
    await expect(page.get_by_text("4 of 4")).to_be_visible()
    names = [await name.inner_text() for name in await page.locator(".result h3").all()]
    assert names == ["8.jpg", "9.jpg", "10.jpg", "11.jpg"]
    await context.close()


async def test_paused_uploads_wait_and_leaving_asks(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    go_on = await hold(page, "**/predictions/")
    await page.goto("/")
    await page.set_input_files("#files", [file(f"{number}.jpg", circles(number)) for number in range(5)])
    await page.get_by_role("button", name="Pause").click()
    asked = stay(page)
    await page.evaluate("() => { setTimeout(() => { location.href = '/statistics'; }); }")
    go_on.set()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(3)
    await expect(page.get_by_text("3 of 5")).to_be_visible()
    assert asked == ["beforeunload"]
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(5)
    await context.close()


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


async def test_file_that_is_gone_is_reported_and_not_sent_forever(
    browser: Browser, service: str, tmp_path: Path
) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    go_on = asyncio.Event()
    sent: list[str] = []

    async def delay(route: Route) -> None:
        sent.append(route.request.url)
        await go_on.wait()
        await route.continue_()

    await page.route("**/predictions/", delay)
    await page.goto("/")
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(circles(number))
    await page.set_input_files("#files", paths)
    await page.get_by_role("button", name="Pause").click()
    paths[-1].unlink()
    go_on.set()
    await page.get_by_role("button", name="Resume").click()
    gone = page.locator(".result", has_text="4.jpg").get_by_role("alert")
    await expect(gone).to_contain_text("This file has been changed or removed")
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(4)
    await expect(page.get_by_text("5 of 5")).to_be_visible()
    assert len(sent) <= 5
    await context.close()


async def test_uploads_go_on_after_a_pause_that_was_left(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    go_on = await hold(page, "**/predictions/")
    await page.goto("/")
    await page.set_input_files("#files", [file("a.jpg", circles(1)), file("b.jpg", circles(2))])
    await page.get_by_role("button", name="Pause").click()
    go_on.set()
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(2)
    await page.get_by_role("button", name="Clear the results").click()
    await page.set_input_files("#files", [file("c.jpg", circles(3))])
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(1)
    await context.close()


async def test_leaving_asks_while_uploads_wait_for_the_service(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    asked = stay(page)
    await page.goto("/")
    await context.set_offline(True)
    await page.set_input_files("#files", [file("a.jpg", circles(1)), file("images.zip", zipped({"b.jpg": circles(2)}))])
    await expect(page.get_by_text("The upload continues by itself.")).to_be_visible()
    await page.evaluate("() => { location.href = '/statistics'; }")
    await context.set_offline(False)
    await expect(page.locator(".result[data-status=succeeded]")).to_have_count(2)
    assert asked == ["beforeunload"]
    await context.close()


async def test_drop_without_images_says_so(browser: Browser, service: str) -> None:
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/history")
    await page.evaluate(DROP, ["notes.txt", [1, 2, 3]])
    await expect(page.get_by_text("No images found.")).to_be_visible()
    await page.evaluate(DROP, ["images.zip", [1, 2, 3]])
    await expect(page.get_by_text("Drop ZIP files on the page Classify.")).to_be_visible()
    await context.close()
