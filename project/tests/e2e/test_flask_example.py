"""The Flask example with a real service, also in a browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from app import PROJECT_DIR
from tests.e2e.server import START_SECONDS, Server
from tests.pictures import jpeg
from tests.processes import wait_while_running

pytestmark = pytest.mark.all_models

WEB = PROJECT_DIR.parent / "examples" / "flask-app" / "web.py"


@pytest.fixture(scope="module")
def example(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the example, which runs as its README says."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT_DIR / "client" / "src"),
        "IMGCLASS_URL": shared_server.url,
    }
    log = tmp_path_factory.mktemp("flask") / "flask.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "flask", "--app", str(WEB), "run", "--port", "0"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    address = re.compile(r"Running on (http://\S+)")
    found = wait_while_running(process, lambda: address.search(log.read_text()), log.read_text, START_SECONDS)
    assert found
    yield found[1]
    process.terminate()
    process.wait(START_SECONDS)


def test_uploads_and_tabular_rows_get_results(example: str) -> None:
    answer = httpx.post(example, files={"image": ("a.jpg", jpeg())}, timeout=60)
    assert answer.status_code == 200
    assert answer.text.count("<tr>") == 5
    refused = httpx.post(example, files={"image": ("a.txt", b"no image")}, timeout=60)
    assert refused.status_code == 400
    assert "File must be an image" in refused.text
    page = f"{example}/models/iris_random_forest"
    defaults = httpx.get(page)
    assert defaults.status_code == 200
    assert defaults.text.count("<tr>") == 3
    values = {"sepal_length": "6.3", "sepal_width": "3.3", "petal_length": "6.0", "petal_width": "2.5"}
    assert "<caption>virginica</caption>" in httpx.post(page, data=values).text
    wrong = httpx.post(page, data={**values, "petal_length": "11"})
    assert wrong.status_code == 422
    assert 'role="alert"' in wrong.text
    assert httpx.get(f"{example}/models/nothing").status_code == 404


@pytest.mark.parametrize("number", ["nan", "inf", "1e999", "six", ""])
def test_invalid_number_is_reported(example: str, number: str) -> None:
    answer = httpx.post(f"{example}/models/iris_random_forest", data={"petal_length": number, "petal_width": "2"})
    assert answer.status_code == 422
    assert "petal_length" in answer.text


async def test_pages_work_in_a_browser(browser: Browser, example: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    page = await browser.new_page()
    await page.goto(example)
    await page.get_by_label("Picture").set_input_files(tmp_path / "a.jpg")
    await page.get_by_role("button", name="Classify").click()
    await expect(page.locator("tr")).to_have_count(5)
    await page.get_by_role("link", name="iris random forest").click()
    await page.get_by_label("petal length").fill("6")
    await page.get_by_label("petal width").fill("2.5")
    await page.get_by_role("button", name="Predict").click()
    await expect(page.locator("caption")).to_have_text("virginica")
