"""Reviews as people make them: in a browser, with keys, clicks and without scripts."""

import asyncio
from typing import Any, Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, Route, expect

from tests.drawings import circles, examples, stripes, zipped
from tests.e2e.browsing import VIEWS, opened, shoot, upload_data
from tests.e2e.server import Server
from tests.pictures import encoded, scene
from tests.teaching import ZIP

pytestmark = pytest.mark.slow

MANY = 100
MAX_ACTIONS = 110


@pytest.fixture
def service(empty_server: Server) -> str:
    return empty_server.url


def reviewed(service: str) -> dict[int, dict[str, Any]]:
    rows = httpx.get(f"{service}/predictions/", params={"limit": 500}).json()
    return {row["id"]: row for row in rows if row["verdict"]}


class Actions:
    """Presses keys and clicks, and counts them."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.count = 0

    async def press(self, key: str) -> None:
        self.count += 1
        await self._page.keyboard.press(key)


async def test_hundred_images_take_hardly_more_actions(browser: Browser, service: str) -> None:
    upload_data(service, *(draw(number) for number in range(MANY // 2) for draw in (circles, stripes)))
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto("/review")
    await expect(page.locator(".review")).to_have_count(MANY)
    actions = Actions(page)
    while await page.locator(".review:not(.done)").count():
        await actions.press("012345"[actions.count % 6])
    assert actions.count <= MAX_ACTIONS
    await expect(page.locator("#remaining")).to_have_text("0")
    await expect(page.locator("#reviews")).to_have_attribute("aria-busy", "false")
    rows = reviewed(service)
    assert len(rows) == MANY
    assert {row["verdict"] for row in rows.values()} == {"confirmed", "corrected"}
    for row in rows.values():
        labels = [score["label"] for score in row["all_predictions"]]
        assert row["top_prediction"] in {*labels, "other"}
        assert (row["verdict"] == "confirmed") == (row["top_prediction"] == labels[0])
    # The next action leads to what is left.
    await expect(page.locator("#next")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Everything is reviewed")).to_be_visible()
    assert complaints == []
    await context.close()


async def test_near_duplicates_are_reviewed_together_and_undone(browser: Browser, service: str) -> None:
    copies = upload_data(service, *(encoded(scene(300, 200), "JPEG", quality=quality) for quality in (95, 85, 75)))
    (other,) = upload_data(service, circles(1))
    complaints: list[str] = []
    context = await opened(browser, service, complaints)
    page = await context.new_page()
    await page.goto("/review")
    await page.get_by_role("button", name="3 near-duplicates: select all").first.click()
    await expect(page.locator(".review.selected")).to_have_count(3)
    await shoot(page, "review-selected")
    await page.get_by_label("Label for all that are selected").fill("my view")
    await page.get_by_role("button", name="Apply to all 3").click()
    await expect(page.locator(".review.done")).to_have_count(3)
    await expect(page.locator("#reviews")).to_have_attribute("aria-busy", "false")
    assert {number: row["top_prediction"] for number, row in reviewed(service).items()} == dict.fromkeys(
        copies, "my_view"
    )
    await page.locator(f".review[data-id='{other}']").press("z")
    await expect(page.locator(".review.done")).to_have_count(0)
    assert reviewed(service) == {}
    assert complaints == []
    await context.close()


async def test_range_is_selected_with_shift_and_confirmed(browser: Browser, service: str) -> None:
    upload_data(service, *(circles(number) for number in range(5)))
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/review")
    images = page.locator(".review img")
    await images.nth(1).click()
    await images.nth(3).click(modifiers=["Shift"])
    await expect(page.locator(".review.selected")).to_have_count(3)
    await page.get_by_role("button", name="Confirm each").click()
    await expect(page.locator(".review.done")).to_have_count(3)
    await expect(page.locator("#reviews")).to_have_attribute("aria-busy", "false")
    assert [row["verdict"] for row in reviewed(service).values()] == ["confirmed"] * 3
    await context.close()


async def test_label_is_typed_with_the_keyboard_alone(browser: Browser, service: str) -> None:
    (number,) = upload_data(service, circles(1))
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/review")
    await page.keyboard.press("t")
    await page.keyboard.type("great white shark")
    await page.keyboard.press("Enter")
    await expect(page.locator(".review.done")).to_have_count(1)
    await expect(page.locator("#reviews")).to_have_attribute("aria-busy", "false")
    # As the model writes it.
    assert reviewed(service)[number]["top_prediction"] == "great_white_shark"
    await context.close()


async def test_review_of_a_deleted_prediction_is_given_back(browser: Browser, service: str) -> None:
    first, second = upload_data(service, circles(1), circles(2))
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/review")
    httpx.delete(f"{service}/predictions/{first}/").raise_for_status()
    card = page.locator(f"[data-id='{first}']")
    await card.focus()
    await page.keyboard.press("1")
    await expect(page.get_by_text("Not saved: Prediction not found")).to_be_visible()
    await expect(page.locator(".review.done")).to_have_count(0)
    assert reviewed(service).keys().isdisjoint({first, second})
    await context.close()


async def test_new_label_of_a_custom_model_is_added_when_asked_for(browser: Browser, service: str) -> None:
    httpx.post(f"{service}/models", json={"name": "shapes"}).raise_for_status()
    add = httpx.post(f"{service}/models/shapes/examples/batch", content=zipped(examples(3)), headers=ZIP)
    assert add.json()["accepted"] == 6
    training = httpx.post(f"{service}/models/shapes/train", headers={"Prefer": "wait=60"}, timeout=90).json()
    assert training["served"]
    data = {"model": "shapes"}
    for seed in (50, 51):
        httpx.post(f"{service}/predictions/", files={"file": circles(seed)}, data=data, headers={"Prefer": "wait=30"})
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.goto("/review?model=shapes")
    await page.keyboard.press("t")
    await page.keyboard.type("square")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("The model 'shapes' has no label 'square'")).to_be_visible()
    await page.keyboard.press("t")
    await page.keyboard.type("square")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await page.keyboard.press("Enter")
    await expect(page.locator(".review.done")).to_have_count(2)
    await expect(page.locator("#reviews")).to_have_attribute("aria-busy", "false")
    labels = httpx.get(f"{service}/models/shapes").json()["labels"]
    assert {one["label"]: one["learn"] for one in labels} == {"circle": 3, "stripe": 3, "square": 1}
    await context.close()


async def test_review_that_cannot_be_sent_is_reported_and_reopened(browser: Browser, service: str) -> None:
    upload_data(service, circles(1))
    context = await opened(browser, service, [])
    page = await context.new_page()
    await page.route("**/predictions/review", lambda route: route.abort())
    await page.goto("/review")
    await page.keyboard.press("1")
    await expect(page.get_by_text("Not saved: The service cannot be reached.")).to_be_visible()
    await expect(page.locator(".review.done")).to_have_count(0)
    await expect(page.locator("#remaining")).to_have_text("1")
    await context.close()


async def test_undo_arrives_after_its_review(browser: Browser, service: str) -> None:
    upload_data(service, circles(1))
    context = await opened(browser, service, [])
    page = await context.new_page()
    arrived, go_on = asyncio.Event(), asyncio.Event()
    bodies: list[Any] = []

    async def delay_the_first(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        arrived.set()
        if len(bodies) == 1:
            await go_on.wait()
        await route.continue_()

    await page.route("**/predictions/review", delay_the_first)
    await page.goto("/review")
    await page.keyboard.press("1")
    await page.keyboard.press("z")
    # The page has handled both keys, and sent only the review.
    await expect(page.locator(".review.done")).to_have_count(1)
    await arrived.wait()
    assert [body["verdict"] for body in bodies] == ["corrected"]
    go_on.set()
    await expect(page.locator(".review.done")).to_have_count(0)
    assert [body["verdict"] for body in bodies] == ["corrected", None]
    assert reviewed(service) == {}
    await context.close()


async def test_reviews_work_without_scripts(browser: Browser, service: str) -> None:
    first, second = upload_data(service, circles(1), stripes(1))
    context = await opened(browser, service, [], java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/review")
    await page.locator(f".review[data-id='{first}'] .choice").first.click()
    assert {number: row["verdict"] for number, row in reviewed(service).items()} == {first: "confirmed"}
    await page.get_by_role("button", name="Undo").click()
    assert reviewed(service) == {}
    await page.locator(f".review[data-id='{second}'] summary").click()
    await page.locator(f".review[data-id='{second}'] [name=text]").fill("my stripes")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Saved.")).to_be_visible()
    assert reviewed(service)[second]["top_prediction"] == "my_stripes"
    await context.close()


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
async def test_page_is_accessible(
    browser: Browser, shared_server: Server, width: int, scheme: Literal["light", "dark"]
) -> None:
    upload_data(shared_server.url, circles(width), stripes(width), circles(width))
    options: dict[str, Any] = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    context = await opened(browser, shared_server.url, [], **options)
    page = await context.new_page()
    await page.goto("/review")
    await page.locator(".review img").first.click()
    await shoot(page, f"review-{width}-{scheme}")
    found = (await Axe().run(page)).response["violations"]
    grave = [one for one in found if one["impact"] in {"serious", "critical"}]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in grave] == []
    assert await page.locator("html").evaluate("page => page.scrollWidth") <= width
    await context.close()
