"""Lists of predictions: filters, pagination, and indexes for a million rows."""

import json
import unicodedata
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.db.crud.search import Filters, Sort, page_statement
from app.domain import Status
from tests.uploading import upload

pytestmark = pytest.mark.process

# A thousand labels, as ImageNet's; what is asked for below is common, rare, or not there at all.
ROWS = """
INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status, model,
                         model_version, attempts, created_at, top_prediction, confidence)
SELECT CASE WHEN n % 5000 = 0 THEN 'holiday in Norway ' ELSE 'IMG_' END || n || '.jpg', n::text, 'image/jpeg', 1, 1, 1,
       '0', CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'succeeded' END,
       CASE WHEN n % 10000 = 1 THEN 'rare_model' WHEN n % 3 = 0 THEN 'another' ELSE 'common_model' END, '1', 1,
       now() - ($1 - n) * interval '1 s',
       CASE WHEN n % 20 <> 0 THEN 'label_' || sqrt(n * 7919::bigint % 1000000)::int END,
       CASE WHEN n % 20 <> 0 THEN (n * 104729::bigint % 1000000) / 1e6 END
FROM generate_series(1, $1) AS n
"""
SECONDARY_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = 'predictions'::regclass AND NOT indisunique
"""
MILLION = 1_000_000
HOUR = timedelta(hours=1)
LABELS = tuple(f"label_{number}" for number in range(500, 1000))
"""Of 500 to 1000 rows each."""
PAGE = 50
MOST_VISITED = 30_000
"""Rows: far from the million, and on the machine of the benchmark less than 50 ms (docs/api.md)."""


async def fill(url: str, rows: int) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    # Nobody is told of so many changes.
    await connection.execute("ALTER TABLE predictions DISABLE TRIGGER USER")
    # Creating an index of all rows is several times faster than adding them one by one.
    indexes = await connection.fetch(SECONDARY_INDEXES)
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {name}")
    await connection.execute(ROWS, rows)
    await connection.execute("SET maintenance_work_mem = '256MB'")
    for _, definition in indexes:
        await connection.execute(definition)
    await connection.execute("ANALYZE predictions")
    return connection


async def listed(client: httpx.AsyncClient, **asked: Any) -> list[int]:
    answer = await client.get("/predictions/", params={"limit": 500, **asked})
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]


async def all_pages(client: httpx.AsyncClient, url: str | None) -> list[int]:
    found: list[int] = []
    while url:
        answer = await client.get(url)
        found += [row["id"] for row in answer.json()]
        url = answer.links.get("next", {}).get("url")
    return found


async def expected(connection: asyncpg.Connection, condition: str) -> list[int]:
    statement = f"SELECT id FROM predictions WHERE {condition} ORDER BY id DESC LIMIT 500"  # noqa: S608 - the test's own
    return [row["id"] for row in await connection.fetch(statement)]


async def test_filters_select_matching_predictions(client: httpx.AsyncClient, database_url: str) -> None:
    connection = await fill(database_url, 5000)
    for asked, condition in {
        ("status", "failed"): "status = 'failed'",
        ("model", "another"): "model = 'another'",
        ("label", "label_7"): "top_prediction = 'label_7'",
        ("label", "label 7"): "top_prediction = 'label_7'",
        ("min_confidence", "0.97"): "confidence >= 0.97",
        ("q", "holiday"): "filename LIKE 'holiday%'",
        ("q", "NORW jpg"): "filename LIKE 'holiday%'",
        ("q", "label 99"): r"top_prediction ~ '_99\d?$' OR (top_prediction <> '' AND filename ~ '\D99')",
        ("q", "img-4999.jpg"): "id = 4999",
        ("q", "orway"): "false",
        ("q", "..."): "false",
        ("q", "&|!:*"): "false",
        ("label", "nothing"): "false",
    }.items():
        assert await listed(client, **dict([asked])) == await expected(connection, condition), asked
    both = {"status": "succeeded", "model": "another", "min_confidence": 0.9, "q": "label"}
    condition = "status = 'succeeded' AND model = 'another' AND confidence >= 0.9"
    assert await listed(client, **both) == await expected(connection, condition)
    await connection.close()


SCRIPTS = (
    *("Katze 🐈 im Garten", "👩‍🚀 woman", "🇩🇪 flag", "❤️", "a🐈b", "🐈🐕", "I♥NY", "100€"),
    *(
        "हिन्दी",
        "தமிழ்",
        "ภาษาไทย",
        "日本語の写真",
        "한국어",
        "עִבְרִית",
        "العَرَبِيَّة",
        "ΑΒΓ",
        "Ёлка",
        "été",
        "Å",
        "½ cup",
        "①",
        "C++",
    ),
)


async def test_words_of_any_script_are_found_in_both_normal_forms(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    await upload(client, name="another.jpg")
    for name in SCRIPTS:
        with subtests.test(name):
            row = (await upload(client, name=f"{name}.jpg")).json()
            for form in ("NFC", "NFD"):
                text = unicodedata.normalize(form, name)
                for words in (text, text.upper(), text.lower(), *text.split()):
                    assert await listed(client, q=words) == [row["id"]], ascii(words)
            await client.delete(f"/predictions/{row['id']}/")


async def test_emoji_within_a_name_is_found(client: httpx.AsyncClient) -> None:
    row = (await upload(client, name="holiday🐈🐕.jpg")).json()
    assert await listed(client, q="🐕") == [row["id"]]
    assert await listed(client, q="🐈 holi") == [row["id"]]
    assert await listed(client, q="🐎") == []


async def test_label_is_found_in_both_normal_forms(client: httpx.AsyncClient) -> None:
    row = (await upload(client, wait=True)).json()
    for label in ("caf\u00e9", "cafe\u0301"):
        corrected = await client.put(f"/predictions/{row['id']}/", json={"top_prediction": label, "confidence": 1})
        assert corrected.status_code == 200
        assert await listed(client, label=label) == [row["id"]]
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, label)
            assert await listed(client, q=other) == await listed(client, label=other) == [row["id"]]


async def test_word_longer_than_any_finds_nothing(client: httpx.AsyncClient) -> None:
    await upload(client)
    for words in ("x" * 3_000, "é" * 300, "a " + "b" * 2_500):
        assert await listed(client, q=words) == []


ORDERS = [
    ({}, "id DESC"),
    ({"sort": "oldest"}, "id"),
    ({"sort": "least_certain"}, "confidence, id"),
    ({"sort": "most_certain"}, "confidence DESC, id DESC"),
    ({"period": "yes"}, "created_at DESC, id DESC"),
    ({"period": "yes", "sort": "oldest"}, "created_at, id"),
    ({"period": "yes", "sort": "least_certain"}, "confidence, id"),
]


async def test_pages_follow_the_order(client: httpx.AsyncClient, database_url: str, subtests: pytest.Subtests) -> None:
    connection = await fill(database_url, 200)
    # Equal times and confidences, which only the ID tells apart.
    await connection.execute(
        "UPDATE predictions SET created_at = date_bin('10 s', created_at, 'epoch') - id % 3 * interval '1 min', "
        "confidence = round(confidence::numeric, 1)"
    )
    for asked, order in ORDERS:
        with subtests.test(str(asked)):
            query, condition = dict(asked), "true"
            if query.pop("period", ""):
                ((first, last),) = await connection.fetch(
                    "SELECT min(created_at), max(created_at) FROM predictions WHERE id > 50"
                )
                query |= {"created_from": first.isoformat(), "created_before": last.isoformat()}
                condition = f"created_at >= '{first}' AND created_at < '{last}'"
            if "certain" in query.get("sort", ""):
                condition += " AND status = 'succeeded'"
            rows = await connection.fetch(f"SELECT id FROM predictions WHERE {condition} ORDER BY {order}")  # noqa: S608 - the test's own
            whole = [row["id"] for row in rows]
            assert len(whole) > 100
            url = str(httpx.URL("/predictions/", params={**query, "limit": "7"}))
            assert await all_pages(client, url) == whole
    await connection.close()


async def test_period_without_a_time_zone_is_in_utc(client: httpx.AsyncClient, database_url: str) -> None:
    connection = await fill(database_url, 20)
    time = await connection.fetchval("SELECT created_at FROM predictions WHERE id = 10")
    for text in (time.isoformat(), time.replace(tzinfo=None).isoformat(), (time + HOUR).isoformat()[:-6] + "+01:00"):
        assert await listed(client, created_from=text) == list(range(20, 9, -1)), text
        assert await listed(client, created_before=text) == list(range(9, 0, -1)), text
    await connection.close()


async def test_next_page_keeps_the_filters(client: httpx.AsyncClient, database_url: str) -> None:
    await (await fill(database_url, 400)).close()
    whole = await listed(client, model="another", min_confidence=0.2, q="img")
    url = "/predictions/?limit=7&model=another&min_confidence=0.2&q=img"
    assert await all_pages(client, url) == whole


async def test_invalid_filters_are_rejected(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    queries = ["min_confidence=1.1", "min_confidence=nan", "min_confidence=x", "q=%00", "label=%00", "model=%00"]
    queries += [
        "created_from=x",
        "created_from=0001-01-01T00:00:00%2B14:00",
        "created_before=9999-12-31T00:00:00Z",
        "sort=id",
    ]
    for query in queries:
        with subtests.test(query=query):
            assert (await client.get(f"/predictions/?{query}")).status_code == 422


def visited(plan: dict[str, Any]) -> int:
    """Rows that a query plan reads, including discarded ones; ten entries of an index alone cost as much as a row.

    How PostgreSQL combines two indexes depends on its random sample of the table.
    """
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    weight = 0.1 if plan["Node Type"] == "Bitmap Index Scan" else 1
    return int(own * plan["Actual Loops"] * weight) + sum(visited(part) for part in plan.get("Plans", []))


def scans(plan: dict[str, Any]) -> set[str]:
    return {plan["Node Type"]} | {name for part in plan.get("Plans", []) for name in scans(part)}


@pytest.mark.slow
async def test_every_page_among_a_million_uses_an_index(database_url: str) -> None:
    connection = await fill(database_url, MILLION)
    await connection.execute("SET plan_cache_mode = force_custom_plan")
    middle = await connection.fetchval("SELECT created_at FROM predictions WHERE id = $1", MILLION // 2)
    for filters in (
        Filters(),
        Filters(status=Status.FAILED),
        Filters(status=Status.PENDING),
        Filters(model="rare_model"),
        Filters(model="common_model"),
        Filters(model="nothing"),
        Filters(label="label_500"),
        Filters(label="nothing"),
        Filters(min_confidence=0.5),
        Filters(min_confidence=0.99),
        Filters(min_confidence=0.9999),
        Filters(words="norw"),
        Filters(words="img"),
        Filters(words="label 500"),
        Filters(words="nothing"),
        Filters(status=Status.SUCCEEDED, model="rare_model", words="img"),
        Filters(model="rare_model", min_confidence=0.9),
        Filters(label="label_500", min_confidence=0.9),
        Filters(words="img", meanings=(("img", LABELS[:118]),)),
        Filters(words="nothing 500", meanings=(("nothing", LABELS[:400]), ("500", ()))),
        Filters(words="nothing", meanings=(("nothing", LABELS[:1]),)),
        Filters(labels=LABELS[:118]),
        Filters(labels=LABELS[:1]),
        Filters(labels=()),
        Filters(created_before=middle),
        Filters(created_from=middle - HOUR, created_before=middle),
        Filters(created_before=middle, model="common_model"),
    ):
        for sort in Sort:
            order = sort.order(filters)
            columns = ", ".join(order.columns)
            positions = await connection.fetch(
                f"SELECT {columns} FROM predictions WHERE id = ANY($1)",  # noqa: S608 - the test's own
                [1001, MILLION // 2 + 1],
            )
            for after in (None, *(tuple(position) for position in positions)):
                statement, values = page_statement(PAGE, after, filters, order)
                (explained,) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values)
                plan = json.loads(explained[0])[0]["Plan"]
                message = f"{filters} {sort} after {after}: {json.dumps(plan, indent=1)}"
                assert visited(plan) < MOST_VISITED, message
                assert "Seq Scan" not in scans(plan), message
    await connection.close()
