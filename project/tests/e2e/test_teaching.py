"""Custom models as people teach them: on the page, with and without scripts, and on the command line."""

from pathlib import Path

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from image_classifier_client import Client, Refused
from image_classifier_client.teach import main
from playwright.async_api import Browser, FilePayload, expect

from tests.drawings import circles, enlarged, examples, noise
from tests.e2e.browsing import VIEWS, hold, opened, shoot
from tests.e2e.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a folder of six pictures for each of two labels."""
    folder = tmp_path / "shapes"
    for name, data in examples(6).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


async def test_folder_becomes_a_model_that_answers(browser: Browser, shared_server: Server, pictures: Path) -> None:
    complaints: list[str] = []
    context = await opened(browser, shared_server.url, complaints)
    page = await context.new_page()
    await page.goto("/")
    await page.get_by_role("link", name="Models").click()
    await page.get_by_role("link", name="Teach your own labels").click()
    await page.get_by_label("Name of the new model").fill("shapes")
    await page.get_by_role("button", name="Create").click()
    await page.wait_for_url("**/teach/shapes")
    await page.locator("#folder").set_input_files(pictures)
    await expect(page.get_by_role("heading", name="circle 6 images")).to_be_visible()
    await page.get_by_role("button", name="Train").click()
    await expect(page.get_by_text("Accuracy 92 %")).to_be_visible()
    await page.get_by_role("link", name="Classify an image").click()
    await page.locator("#files").set_input_files(
        FilePayload(name="new.jpg", mimeType="image/jpeg", buffer=circles(100))
    )
    await expect(page.locator(".result .bars .label").first).to_have_text("circle")
    # Images that are examples already are not added twice.
    await page.goto("/teach/shapes")
    await page.locator("#folder").set_input_files(pictures)
    await expect(page.get_by_role("heading", name="circle 6 images")).to_be_visible()
    await page.get_by_role("button", name="Train").click()
    await expect(page.get_by_role("rowheader", name="2", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Serve").click()
    await expect(page.get_by_text("cross-validation of version 1")).to_be_visible()
    assert complaints == []
    await context.close()


async def test_training_waits_until_all_images_are_added(
    browser: Browser, shared_server: Server, pictures: Path
) -> None:
    httpx.post(f"{shared_server.url}/models", json={"name": "waiting"})
    context = await opened(browser, shared_server.url, [])
    page = await context.new_page()
    go_on = await hold(page, "**/examples/batch")
    await page.goto("/teach/waiting")
    train = page.get_by_role("button", name="Train")
    await expect(train).to_be_enabled()
    await page.locator("#folder").set_input_files(pictures)
    await expect(train).to_be_disabled()
    go_on.set()
    await expect(page.get_by_role("heading", name="circle 6 images")).to_be_visible()
    await expect(train).to_be_enabled()
    await context.close()


async def test_files_that_are_refused_are_named(browser: Browser, shared_server: Server, tmp_path: Path) -> None:
    httpx.post(f"{shared_server.url}/models", json={"name": "refusing"})
    folder = tmp_path / "set"
    (folder / "circle").mkdir(parents=True)
    (folder / "circle" / "good.jpg").write_bytes(circles(1))
    (folder / "circle" / "bad.jpg").write_bytes(b"no image")
    (folder / "circle" / "notes.txt").write_bytes(b"ignored")
    context = await opened(browser, shared_server.url, [])
    page = await context.new_page()
    await page.goto("/teach/refusing")
    await page.locator("#folder").set_input_files(folder)
    await expect(page.get_by_text("circle/bad.jpg: File must be an image")).to_be_visible()
    await expect(page.get_by_text("notes.txt")).to_have_count(0)
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("heading", name="circle 1 image")).to_be_visible()
    await expect(page.get_by_text("2 more needed")).to_be_visible()
    await page.get_by_role("button", name="Train").click()
    await expect(page.get_by_role("alert")).to_contain_text("at least 2 labels; there are 1")
    await context.close()


async def test_image_beside_the_folders_has_no_label(browser: Browser, shared_server: Server, tmp_path: Path) -> None:
    httpx.post(f"{shared_server.url}/models", json={"name": "beside"})
    # The name of a folder for checks, if it were taken for one.
    folder = tmp_path / "test"
    for label in ("circle", 'a"b'):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.jpg").write_bytes(circles(ord(label[0])))
    (folder / "cover.jpg").write_bytes(circles(3))
    context = await opened(browser, shared_server.url, [])
    page = await context.new_page()
    await page.goto("/teach/beside")
    await page.locator("#folder").set_input_files(folder)
    await expect(page.get_by_text("cover.jpg: The file is not in a folder.")).to_be_visible()
    labels = httpx.get(f"{shared_server.url}/models/beside").json()["labels"]
    assert {one["label"]: one["learn"] for one in labels} == {"circle": 1, 'a"b': 1}
    await context.close()


async def test_model_is_taught_without_scripts(browser: Browser, shared_server: Server) -> None:
    context = await opened(browser, shared_server.url, [], java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/teach")
    await page.get_by_label("Name of the new model").fill("plain")
    await page.get_by_role("button", name="Create").click()
    for label in ("circle", "stripe"):
        await page.get_by_label("Label").fill(label)
        files = [
            FilePayload(name=name.split("/")[1], mimeType="image/jpeg", buffer=data)
            for name, data in examples(4).items()
            if name.startswith(label)
        ]
        # Forms of other pages are limited to 64 KiB.
        files.append(FilePayload(name="large.png", mimeType="image/png", buffer=enlarged(is_circles=label == "circle")))
        await page.locator("#images").set_input_files(files)
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_role("heading", name=f"{label} 5 images")).to_be_visible()
    await page.get_by_role("button", name="Train").click()
    # The page reloads by itself while a training is in progress.
    await expect(page.get_by_text("Accuracy 100 %")).to_be_visible()
    await page.get_by_role("button", name="Remove image").first.click()
    await expect(page.get_by_role("heading", name="circle 4 images")).to_be_visible()
    await page.get_by_text("Delete this model").click()
    await page.get_by_role("button", name="Delete plain").click()
    await expect(page.get_by_role("link", name="plain")).to_have_count(0)
    await context.close()


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
async def test_pages_of_custom_models_are_accessible(
    browser: Browser, shared_server: Server, pictures: Path, width: int, scheme: str
) -> None:
    with Client(shared_server.url) as client:
        name = f"seen-{width}-{scheme}"
        client.create_model(name)
        assert all(example.error is None for example in client.add_examples(name, pictures))
        client.train(name)
    context = await opened(
        browser, shared_server.url, [], viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = await context.new_page()
    for path in ("/teach", f"/teach/{name}"):
        await page.goto(path)
        await shoot(page, f"teach-{len(path) > 8}-{width}-{scheme}")
        found = (await Axe().run(page)).response["violations"]
        assert [one for one in found if one["impact"] in {"serious", "critical"}] == [], path
        assert await page.locator("html").evaluate("page => page.scrollWidth") <= width, path
    await context.close()


def test_command_teaches_from_a_folder(
    shared_server: Server, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "circle" / "broken.jpg").write_bytes(b"no image")
    status = main(["taught", str(pictures), "--url", shared_server.url])
    printed = capsys.readouterr()
    assert status == 1, "one file was refused"
    assert "circle/broken.jpg\terror: File must be an image" in printed.err
    assert printed.out.splitlines()[:2] == [
        "taught: version 1, trained with 12 examples",
        "accuracy\t91.7% (95 % interval 64.6% to 98.5%, in cross-validation)",
    ]
    assert "Served: First version." in printed.out
    (pictures / "circle" / "broken.jpg").unlink()
    assert main(["taught", str(pictures), "--url", shared_server.url]) == 0
    assert "taught: version 2, trained with 12 examples" in capsys.readouterr().out
    with Client(shared_server.url) as client:
        assert client.classify(circles(100), "taught").top_prediction == "circle"
        assert client.classify(noise(1), "taught").top_prediction == "other"
        assert client.serve_version("taught", 1).version == 1
        assert [training.version for training in client.trainings("taught")] == [2, 1]
        circle, *others = client.examples("taught", label="circle")
        assert len(others) == 5
        client.delete_example("taught", circle.prediction_id or 0)
        assert len(list(client.examples("taught"))) == 11
        with pytest.raises(Refused, match="no version 9"):
            client.serve_version("taught", 9)
        client.delete_model("taught")
        with pytest.raises(Refused, match="no custom model named 'taught'"):
            client.custom_model("taught")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no images found"),
        ({"loose.jpg": circles(1)}, "needs a folder for each label"),
        ({"circle/1.jpg": circles(1)}, "at least 2 labels; there are 1"),
    ],
)
def test_command_says_what_is_missing(
    shared_server: Server,
    tmp_path: Path,
    files: dict[str, bytes],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    with pytest.raises(SystemExit):
        main(["missing", str(folder), "--url", shared_server.url])
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
