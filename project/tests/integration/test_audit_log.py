"""The audit log: who changed what and when, also for deleted predictions."""

import httpx
import pytest

from app.api.middleware import refused_keys
from app.config import Settings
from app.db.connection import execute
from app.db.crud import api_keys, audit_log
from app.domain import ANYBODY, PredictionNotFound, Scope
from app.observability import metrics
from app.observability.log_events import KEY_REFUSED
from app.storage import make_storage
from app.storage.deletion import delete_prediction
from app.storage.renditions import Renditions
from app.worker.custom_models import CustomModels
from app.worker.reviewing import correct_and_learn
from tests.integration.conftest import Upload, serving
from tests.pictures import jpeg

pytestmark = pytest.mark.process


async def test_corrections_and_deletions_are_recorded(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
        _, key = await api_keys.create("anna", [Scope.READ, Scope.WRITE], None, "an operator")
        client.headers["X-API-Key"] = key
        uploaded = await client.post("/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"})
        said = uploaded.json()
        for label in ("my cat", "my other cat"):
            await client.put("/predictions/1/", json={"top_prediction": label, "confidence": 1.0})
        deletion = {"Sec-Fetch-Site": "same-origin"}
        assert (await client.delete("/predictions/1/", headers=deletion)).status_code == 200
        kept = (await client.get("/predictions/1/history")).json()
    assert [entry["action"] for entry in kept] == ["prediction.deleted", *["prediction.corrected"] * 2]
    assert {(entry["kind"], entry["who"], entry["key_id"], entry["subject_id"]) for entry in kept} == {
        ("change", "anna", 1, 1)
    }
    gone, second, first = kept
    assert first["before"] == {
        **{name: said[name] for name in ("top_prediction", "confidence")},
        "corrected_at": None,
        "verdict": None,
    }
    assert first["after"]["top_prediction"] == second["before"]["top_prediction"] == "my cat"
    assert first["changed_at"] < second["changed_at"] < gone["changed_at"]
    assert gone["after"] is None
    assert gone["before"]["top_prediction"] == "my other cat"
    assert gone["before"]["sha256"] == said["sha256"]


async def test_history_is_ordered(client: httpx.AsyncClient, upload: Upload) -> None:
    await upload(jpeg())
    await client.put("/predictions/1/", json={"top_prediction": "my cat", "confidence": 1.0})
    await client.post("/predictions/1/reclassify/", headers={"Prefer": "wait=30"})
    await client.put("/predictions/1/", json={"top_prediction": "my dog", "confidence": 1.0})
    kept = (await client.get("/predictions/1/history")).json()
    assert [entry["kind"] for entry in kept] == ["change", "answer", "change"]
    assert [entry.get("who") for entry in kept] == ["anonymous", None, "anonymous"]
    assert kept[1]["top_prediction"] == "my cat"
    assert kept[0]["after"]["top_prediction"] == "my dog"
    for missing in (2, 2**63 - 1, 2**63):
        assert (await client.get(f"/predictions/{missing}/history")).status_code == 404


@pytest.mark.usefixtures("connected")
async def test_unchanged_correction_is_not_recorded(settings: Settings) -> None:
    storage = make_storage(settings)
    with pytest.raises(PredictionNotFound):
        await correct_and_learn(1, "my cat", 1.0, ANYBODY, CustomModels(), new_label=False)
    with pytest.raises(PredictionNotFound):
        await delete_prediction(storage, Renditions(settings), 1, ANYBODY)
    assert not await api_keys.revoke(1, "an operator")
    assert await audit_log.page(10, None, None) == []


@pytest.mark.usefixtures("connected")
async def test_key_changes_are_recorded_without_secrets() -> None:
    key_id, key = await api_keys.create("anna", [Scope.READ], None, "an operator")
    await api_keys.revoke(key_id, "another")
    revoked, created = await audit_log.page(10, None, None)
    assert [(one.action, one.who, one.subject_id) for one in (created, revoked)] == [
        ("key.created", "an operator", key_id), ("key.revoked", "another", key_id),
    ]  # fmt: skip
    assert created.after == {"name": "anna", "scopes": "read", "expires_at": None}
    assert key.split("_", 2)[2] not in str(await execute("SELECT * FROM changes"))
    assert [one.id for one in await audit_log.page(1, revoked.id, None)] == [created.id]


async def test_every_action_is_recorded_with_its_actor_and_address(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
        # Two keys of one name.
        ids, keys = zip(
            *[await api_keys.create("anna", [Scope.ADMIN], None, "an operator") for _ in range(2)], strict=True
        )
        headers = {"X-API-Key": keys[1]}
        await client.post("/predictions/", files={"file": jpeg()}, headers={**headers, "Prefer": "wait=30"})
        for _ in range(2):
            await client.put("/predictions/1/", json={"top_prediction": "my cat", "confidence": 1.0}, headers=headers)
            # A person's label stays, so there is nothing to record.
            await client.post("/predictions/1/reclassify/", headers={**headers, "Prefer": "wait=30"})
        await client.get("/predictions/export?format=jsonl&label=cat", headers=headers)
        assert (await client.post("/sign-in", data={"key": keys[1]})).status_code == 303
        await client.delete("/predictions/1/", headers=headers)
        rows = await audit_log.page(100, None, None)
    found = [(row.action, row.who, row.key_id, row.address, row.subject_id) for row in reversed(rows)]
    by_key = ("anna", ids[1], "127.0.0.1")
    assert found == [
        ("key.created", "an operator", None, None, ids[0]),
        ("key.created", "an operator", None, None, ids[1]),
        ("prediction.corrected", *by_key, 1),
        ("prediction.corrected", *by_key, 1),
        ("predictions.exported", *by_key, 0),
        ("session.started", *by_key, ids[1]),
        ("prediction.deleted", *by_key, 1),
    ]
    by_action = {row.action: row for row in rows}
    assert by_action["predictions.exported"].after == {"format": "jsonl", "label": "cat"}


async def test_refused_keys_are_counted_and_logged_once_per_address(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def count() -> float:
        counted: float = metrics.KEYS_REFUSED._value.get()
        return counted

    refused_keys._logged.clear()
    before = count()
    async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
        for number in range(5):
            assert (await client.get("/predictions/", headers={"X-API-Key": f"guess-{number}"})).status_code == 401
            assert (await client.post("/sign-in", data={"key": f"guess-{number}"})).status_code == 401
    assert count() - before == 10
    (line,) = [record for record in caplog.records if record.msg == KEY_REFUSED]
    assert vars(line)["client"] == "127.0.0.1"
    assert "guess" not in caplog.text
