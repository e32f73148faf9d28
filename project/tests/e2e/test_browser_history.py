"""History in a real browser: search, selection, deletion, and the position after Back."""

import asyncio
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.async_api import Browser, Route, expect

from tests.drawings import circles, stripes
from tests.e2e.browsing import opened, shoot, upload, upload_data
from tests.e2e.server import Server

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
    await page.wait_for_url(f"{service}/history/{tiger}")
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


async def test_actions_on_a_selection_are_done_while_the_page_stays_open(browser: Browser, service: str) -> None:
    ids = upload_data(service, *(circles(number) for number in range(3)))
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto("/history")
    await page.locator(".select input").first.check()
    await page.keyboard.press("Delete")
    async with page.expect_response("**/history/selection") as deletion:
        await expect(page.get_by_text("Deleted.")).to_be_visible()
    assert await (await deletion.value).json() == {"changed": 1}
    assert {row["id"] for row in httpx.get(f"{service}/predictions/").json()} == set(ids[:-1])
    await page.locator(".select input").first.check()
    await page.get_by_text("Classify again").first.click()
    async with page.expect_response("**/history/selection") as again:
        await page.get_by_role("button", name="Classify again").click()
        # A message under the pointer waits.
        await page.mouse.move(0, 0)
    assert (await again.value).status == 200
    assert complaints == []
    await context.close()


async def test_everything_that_matches_is_deleted_although_the_page_is_left(browser: Browser, service: str) -> None:
    upload_data(service, *[circles(1)] * 62, name="circle.jpg")
    (kept,) = upload_data(service, circles(9), name="kept.jpg")
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/history?q=circle")
    await page.locator(".select input").first.check()
    await page.get_by_label("all that match the filters").check()
    await page.get_by_role("button", name="Delete", exact=True).click()
    # What would follow on the next page is deleted, too, so it is not shown.
    await expect(page.locator(".card:visible, #more:visible")).to_have_count(0)
    await page.goto("/statistics")
    await page.goto("/history")
    await expect(page.locator(f".card[data-id='{kept}']")).to_be_visible()
    async with asyncio.timeout(30):
        while len(rows := httpx.get(f"{service}/predictions/").json()) > 1:
            await page.reload()
    assert [row["id"] for row in rows] == [kept]
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
    await page.wait_for_url(f"{service}/history/{number}")
    await page.go_back()
    await expect(page.locator(".card")).to_have_count(130)
    await expect(page.locator(f'.card[data-id="{number}"]')).to_be_in_viewport()
    await context.close()


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
async def test_days_are_those_of_the_browser(browser: Browser, service: str, zone: str) -> None:
    (uploaded,) = upload_data(service, circles(1))
    created = datetime.fromisoformat(httpx.get(f"{service}/predictions/{uploaded}/").json()["created_at"])
    today = created.astimezone(ZoneInfo(zone)).date()
    context = await opened(browser, service, [], timezone_id=zone)
    page = await context.new_page()
    for since, until, count in [(0, 0, 1), (-1, -1, 0), (1, 1, 0), (-1, 1, 1), (0, None, 1), (None, -1, 0)]:
        await page.goto("/history")
        await page.get_by_text("Filters").click()
        for name, days in [("Uploaded from", since), ("to", until)]:
            if days is not None:
                await page.get_by_label(name, exact=True).fill(str(today + timedelta(days=days)))
        await page.get_by_role("button", name="Search").last.click()
        await expect(page.locator(".card")).to_have_count(count)
        if since is not None:
            day = str(today + timedelta(days=since))
            await expect(page.get_by_label("Uploaded from")).to_have_value(day)
            await expect(page.get_by_role("link", name=f"Remove the filter from {day}")).to_be_visible()
        # Filters that are not set stay out of the address.
        assert "model=" not in page.url
    await context.close()


async def test_days_are_in_utc_without_scripts(browser: Browser, service: str) -> None:
    (uploaded,) = upload_data(service, circles(1))
    today = httpx.get(f"{service}/predictions/{uploaded}/").json()["created_at"][:10]
    context = await opened(browser, service, [], java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"/history?since={today}&until={today}&sort=oldest&q=")
    await expect(page.locator(".card")).to_have_count(1)
    await expect(page.get_by_label("Uploaded from")).to_have_value(today)
    await page.goto("/history?since=2026-01-01&until=2026-01-01")
    await expect(page.get_by_text("No results.")).to_be_visible()
    await context.close()


async def test_history_is_sorted_and_labels_are_completed(browser: Browser, service: str) -> None:
    upload_data(service, circles(1), stripes(1), circles(5))
    rows = httpx.get(f"{service}/predictions/", params={"sort": "least_certain"}).json()
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/history")
    await page.get_by_role("searchbox").focus()
    await expect(page.locator("#labels option[value='tiger cat']")).to_have_count(1)
    await page.get_by_text("Filters").click()
    await page.get_by_label("Sort by").select_option("least certain first")
    await page.get_by_role("button", name="Search").last.click()
    await page.wait_for_url("**sort=least_certain*")
    ids = [int(await card.get_attribute("data-id") or 0) for card in await page.locator(".card").all()]
    assert ids == [row["id"] for row in rows]
    await context.close()
