"""Export of predictions: complete, filtered, with constant memory."""

import csv
import io
import json
import zipfile
from io import StringIO
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.db.crud import search
from app.models.tortoise import Prediction
from tests.drawings import circles
from tests.integration.conftest import serving
from tests.integration.test_search import fill
from tests.uploading import classify

pytestmark = pytest.mark.process


async def exported(client: httpx.AsyncClient, **asked: Any) -> str:
    answer = await client.get("/predictions/export/", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("asked", [{}, {"status": "failed"}, {"model": "another", "min_confidence": 0.5, "q": "img"}])
async def test_export_has_every_matching_row_once(
    client: httpx.AsyncClient, database_url: str, asked: dict[str, Any]
) -> None:
    await (await fill(database_url, 2_500)).close()
    whole: list[dict[str, Any]] = []
    url: str | None = str(httpx.URL("/predictions/", params={"limit": 500, **asked}))
    while url:
        answer = await client.get(url)
        whole += answer.json()
        url = answer.links.get("next", {}).get("url")
    lines = [json.loads(line) for line in (await exported(client, format="jsonl", **asked)).splitlines()]
    assert lines == whole
    rows = list(csv.DictReader(StringIO(await exported(client, **asked), newline="")))
    assert [row["id"] for row in rows] == [str(one["id"]) for one in whole]
    assert [row["top_prediction"] for row in rows] == [one["top_prediction"] or "" for one in whole]


async def test_empty_export_has_a_header(client: httpx.AsyncClient) -> None:
    assert (await exported(client)).startswith("id,filename,")
    assert await exported(client, format="jsonl") == ""
    assert (await client.get("/predictions/export?format=xml")).status_code == 422


async def test_formulas_are_escaped(client: httpx.AsyncClient, database_url: str) -> None:
    connection = await fill(database_url, 1)
    await connection.execute("""UPDATE predictions SET filename = '=HYPERLINK("http://x")', top_prediction = 'a,"b' """)
    await connection.close()
    (row,) = csv.DictReader(StringIO(await exported(client), newline=""))
    assert row["filename"] == '\'=HYPERLINK("http://x")'
    assert row["top_prediction"] == 'a,"b'


async def test_memory_is_independent_of_the_number_of_rows(settings: Settings, database_url: str) -> None:
    await (await fill(database_url, 30_000)).close()
    most = 0
    pages = search.page

    async def counted(*asked: Any) -> list[Prediction]:
        nonlocal most
        rows = await pages(*asked)
        most = max(most, len(rows))
        return rows

    async with serving(settings) as client:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "page", counted)
            assert (await exported(client, format="jsonl")).count("\n") == 30_000
    assert most == 1_000


async def test_zip_contains_the_images_and_their_table(client: httpx.AsyncClient) -> None:
    first, _, third = [(await classify(client, circles(number)))["id"] for number in range(3)]
    response = await client.get("/predictions/export", params={"format": "zip", "ids": [first, third, 99]})
    assert response.status_code == 200
    assert response.headers["content-disposition"] == 'attachment; filename="predictions.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {f"images/{first}.jpg", f"images/{third}.jpg", "predictions.csv"}
        lines = list(csv.DictReader(io.TextIOWrapper(archive.open("predictions.csv"), "utf-8")))
    assert [int(line["id"]) for line in lines] == [third, first]
    for ids in ("0", "x", "1.5"):
        assert (await client.get(f"/predictions/export?ids={ids}")).status_code == 422


async def test_zip_leaves_out_images_that_are_missing(client: httpx.AsyncClient, settings: Settings) -> None:
    first, second = [(await classify(client, circles(number))) for number in range(2)]
    (settings.uploads / first["image_path"]).unlink()
    response = await client.get("/predictions/export?format=zip")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == [f"images/{second['id']}.jpg", "predictions.csv"]
