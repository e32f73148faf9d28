"""Pages as rendered by the server, and their forms without scripts."""

import re
from html import unescape

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from tests.conftest import FALLBACK
from tests.integration.conftest import uploaded_files
from tests.integration.rows import ROW
from tests.pictures import jpeg
from tests.uploading import classify

pytestmark = pytest.mark.process

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def text_of(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await client.get(path, headers=BROWSER)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


async def test_programs_get_json_and_browsers_get_a_page(client: httpx.AsyncClient) -> None:
    for accepted in ("*/*", "application/json", "application/json, text/html", ""):
        answer = await client.get("/", headers={"Accept": accepted})
        assert answer.json() == {"message": "Image classifier", "docs": "/docs"}
        assert answer.headers["vary"] == "Accept"
    assert "Classify images" in await text_of(client, "/")


async def test_pages_load_nothing_from_other_hosts_and_have_no_inline_scripts(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    for path in ("/", "/history", f"/history/{row['id']}", "/classifications", "/catalog", "/statistics"):
        answer = await client.get(path, headers=BROWSER)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)
        assert not re.findall(
            r"<script(?![^>]* (?:src=|type=\"application/json\"))|<style|\sstyle=|\son\w+=", answer.text
        )
        for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
            assert (await client.get(asset)).status_code == 200


async def test_file_names_are_escaped(client: httpx.AsyncClient) -> None:
    name = "<script>alert(1)</script>\"'.jpg"
    row = await classify(client, name=name)
    for path in ("/", "/history", f"/history/{row['id']}", "/classifications", f"/classifications/{row['id']}"):
        text = await text_of(client, path)
        assert "<script>alert" not in text
        assert str(row["filename"]) in unescape(text)


async def test_form_upload_redirects_to_its_result(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/classifications", files={"file": ("a.jpg", jpeg())}, data={"model": FALLBACK}, headers=BROWSER
    )
    assert answer.status_code == 303
    await client.get(answer.headers["location"].replace("/classifications/", "/predictions/") + "?wait=30")
    text = await text_of(client, answer.headers["location"])
    assert text.count("<tr>") == 6
    assert 'http-equiv="refresh"' not in text
    refused = await client.post("/classifications", files={"file": ("a.txt", b"text")}, headers=BROWSER)
    assert refused.status_code == 400
    assert "File must be an image" in refused.text
    assert "content-security-policy" in refused.headers


async def test_stored_image_is_chosen_from_a_list(client: httpx.AsyncClient) -> None:
    row = await classify(client, name="tiger.jpg")
    text = await text_of(client, "/classifications")
    assert f'<option value="{row["id"]}" selected>tiger.jpg (#{row["id"]}' in text
    answer = await client.post("/classifications", data={"image": str(row["id"]), "model": FALLBACK})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/classifications/{row['id']}"
    assert len((await client.get(f"/predictions/{row['id']}/history")).json()) == 1
    for image, status in (("99", 404), ("x", 422), ("", 422), ("9" * 30, 422), ("-1", 422), ("²", 422)):
        message = await client.post("/classifications", data={"image": image}, headers=BROWSER)
        assert message.status_code == status
        assert message.headers["content-type"] == "text/html; charset=utf-8"
    message = await client.post("/classifications", data={"image": str(row["id"]), "model": "no such model"})
    assert message.status_code == 422


async def test_unfinished_result_page_reloads(client: httpx.AsyncClient) -> None:
    await execute(ROW, ["processing", 1])
    assert '<meta http-equiv="refresh" content="1">' in await text_of(client, "/classifications/1")
    assert "Classifying…" in await text_of(client, "/history/1")


async def test_gallery_is_filtered_and_paginated(client: httpx.AsyncClient) -> None:
    await execute(ROW, ["failed", 70])
    await execute("UPDATE predictions SET error_message = 'No good.', error_code = 'x', completed_at = now()")
    row = await classify(client, name="tiger.jpg")
    first = await text_of(client, "/history")
    assert first.count('class="card"') == 60
    assert "<span>70 failed</span>" in first
    found = re.search(r'id="more" class="button" href="([^"]+)"', first)
    assert found
    second = await text_of(client, unescape(found[1]))
    assert second.count('class="card"') == 11
    assert 'id="more"' not in second
    for query in ("q=tig&status=", "status=succeeded", f"model={FALLBACK}", f"label={row['top_prediction']}"):
        assert (await text_of(client, f"/history?{query}")).count('class="card"') == 1
    assert "No results" in await text_of(client, "/history?q=elephant")
    failed = await text_of(client, "/history?status=failed")
    assert "status=failed&cursor=" in unescape(failed)
    await text_of(client, "/history?cursor=forged", 422)
    await text_of(client, "/history/99", 404)


async def test_prediction_is_corrected_reclassified_and_deleted(client: httpx.AsyncClient, settings: Settings) -> None:
    row = await classify(client)
    path = f"/history/{row['id']}"
    text = await text_of(client, path)
    assert text.count("<meter") == 5
    assert "Select a label to see which areas support it" in text
    why = await text_of(client, f"{path}?why={row['top_prediction']}")
    assert f"/predictions/{row['id']}/heatmap?label={row['top_prediction']}" in why

    answer = await client.post(f"{path}/correction", data={"label": "my cat"})
    assert answer.status_code == 303
    assert answer.headers["location"] == path
    assert "corrected" in await text_of(client, path)
    assert (await client.get(f"/predictions/{row['id']}/")).json()["top_prediction"] == "my_cat"
    assert (await client.post(f"{path}/correction", data={"label": ""})).status_code == 422

    assert (await client.post(f"{path}/reclassification", data={"model": FALLBACK})).status_code == 303
    await client.get(f"/predictions/{row['id']}/?wait=30")
    text = await text_of(client, path)
    assert ">Results</h2>" in text
    assert "corrected to my cat" in text

    asked = await client.post(f"{path}/deletion")
    assert asked.status_code == 200
    assert 'name="sure"' in asked.text
    assert len(uploaded_files(settings)) == 1
    gone = await client.post(f"{path}/deletion", data={"sure": "yes"})
    assert gone.status_code == 303
    assert gone.headers["location"] == "/history"
    assert uploaded_files(settings) == []


async def test_requests_from_other_sites_are_rejected(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    answer = await client.post(
        f"/history/{row['id']}/deletion", data={"sure": "yes"}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
    assert (await client.get(f"/predictions/{row['id']}/")).status_code == 200


@pytest.mark.all_models
async def test_models_are_listed_and_tabular_models_have_forms(client: httpx.AsyncClient) -> None:
    await classify(client)
    text = await text_of(client, "/catalog")
    assert FALLBACK in text
    assert re.search(r"<dd>\d+ ms", text)
    form = await text_of(client, "/catalog/iris_random_forest")
    assert form.count('type="number"') == 4
    assert form.count("<meter") == 3
    answer = await text_of(client, "/catalog/iris_random_forest?petal_length=6.0&petal_width=2.5")
    assert '<h2 id="answer">virginica</h2>' in answer
    assert 'value="6.0"' in answer
    wrong = await text_of(client, "/catalog/iris_random_forest?petal_length=11&petal_width=x", 422)
    assert wrong.count('aria-invalid="true"') == 2
    assert "Correct the 2 marked values." in wrong
    await text_of(client, "/catalog/nothing", 404)
    await text_of(client, f"/catalog/{FALLBACK}", 404)


async def test_labels_of_a_model_are_suggested(client: httpx.AsyncClient) -> None:
    labels = (await client.get(f"/models/{FALLBACK}/labels")).json()
    assert len(labels) == 1000
    assert "tiger_cat" in labels
    assert (await client.get("/models/nothing/labels")).status_code == 404


async def test_statistics_count_predictions(client: httpx.AsyncClient) -> None:
    assert "No predictions yet" in await text_of(client, "/statistics")
    row = await classify(client)
    await classify(client)
    await client.put(f"/predictions/{row['id']}/", json={"top_prediction": "my cat", "confidence": 1.0})
    await execute(ROW, ["pending", 3])
    text = await text_of(client, "/statistics")
    assert "<dt>finished</dt><dd>2</dd>" in text
    assert re.search(r"<title>[\d-]+ \d\d:00 UTC: 5</title>", text)
    for period, bars in (("day", 24), ("week", 28), ("month", 30)):
        shown = await text_of(client, f"/statistics?period={period}")
        assert shown.count("data-value=") == 2 * bars
    assert "<td>2</td><td>1 (50 %)</td>" in text
    assert "my cat" in text


async def test_every_page_works_with_and_without_a_trailing_slash(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for path in ["/", "/history", "/classifications", "/catalog", "/statistics"]:
        with subtests.test(path=path):
            for one in {path, f"{path.rstrip('/')}/"}:
                await text_of(client, one)


async def test_page_is_in_the_language_that_the_browser_prefers(client: httpx.AsyncClient) -> None:
    for accepted, title in (
        ("de-DE,de;q=0.9,en;q=0.8", "Verlauf"),
        ("en-US,en;q=0.9,de;q=0.8", "History"),
        ("fr, de;q=0.5", "Verlauf"),
        ("de;q=0, fr", "History"),
        ("de;q=x", "History"),
        ("", "History"),
    ):
        answer = await client.get("/history", headers={**BROWSER, "Accept-Language": accepted})
        assert f"<h1>{title}</h1>" in answer.text, accepted


async def test_chosen_language_is_kept(client: httpx.AsyncClient) -> None:
    chosen = await client.get("/history?q=x&language=de", headers=BROWSER)
    assert '<html lang="de">' in chosen.text
    assert "q=x&amp;language=en" in chosen.text
    assert '<html lang="de">' in await text_of(client, "/statistics")
    assert '<html lang="en">' in await text_of(client, "/statistics?language=en")
    assert '<html lang="en">' in await text_of(client, "/statistics?language=tlh")


async def test_error_is_shown_in_the_language_of_the_page(client: httpx.AsyncClient) -> None:
    german = await client.get("/history/99", headers={**BROWSER, "Accept-Language": "de"})
    assert german.status_code == 404
    assert "Diese Klassifizierung gibt es nicht" in german.text


async def test_prediction_leads_to_its_neighbours(client: httpx.AsyncClient) -> None:
    first, second, third = [(await classify(client))["id"] for _ in range(3)]
    text = await text_of(client, f"/history/{second}")
    assert f'id="newer" rel="prev" href="/history/{third}"' in text
    assert f'id="older" rel="next" href="/history/{first}"' in text
    assert 'id="newer"' not in await text_of(client, f"/history/{third}")
    assert 'id="older"' not in await text_of(client, f"/history/{first}")


async def test_prediction_shows_who_changed_what(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    await client.put(f"/predictions/{row['id']}/", json={"top_prediction": "my cat", "confidence": 1.0})
    text = await text_of(client, f"/history/{row['id']}")
    assert "corrected to my cat" in text
    assert "anonymous" in text
