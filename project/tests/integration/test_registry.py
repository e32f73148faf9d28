"""The registry on real model folders, alone and through the API."""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from app.classifier.engine.frames import EngineConfig
from app.classifier.engine.model_check import MAX_DEATHS, ModelProbe
from app.classifier.engine.process import Engine
from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from app.classifier.registry import Registry, find_default
from app.config import Settings
from app.domain import EngineDied, ModelBroken, ModelUnknown, StartupError
from app.observability.log_format import log_config
from tests.conftest import FALLBACK
from tests.integration.conftest import AddModel, serving
from tests.pictures import jpeg
from tests.processes import suspend
from tests.uploading import upload

pytestmark = pytest.mark.process

PLENTY = 2**40


def damage(model: Path) -> None:
    """Damage a model so that its manifest is valid but it cannot be loaded."""
    network = model / f"{FALLBACK}.tflite"
    network.unlink()
    network.write_bytes(b"TFL3 no network")


def registry_of(folder: Path, *, memory_bytes: int = PLENTY) -> Registry:
    return Registry(folder, read_model(folder / FALLBACK), threads=1, memory_bytes=memory_bytes)


def test_auto_uses_the_fallback_only_if_mobilenet_is_missing(folder: Path, add_model: AddModel) -> None:
    add_model()
    model, note = find_default(folder, "auto", "fp32")
    assert model.name == FALLBACK
    assert note is not None
    assert find_default(folder, FALLBACK, "fp32")[1] is None
    with pytest.raises(StartupError, match=r"no model mobilenet_v2 in .*make model"):
        find_default(folder, "mobilenet_v2", "fp32")
    with pytest.raises(StartupError, match=rf"no model {FALLBACK}_int8 in "):
        find_default(folder, FALLBACK, "int8")
    add_model("mobilenet_v2")
    assert find_default(folder, "auto", "fp32")[0].name == "mobilenet_v2"


def test_added_model_is_found_without_a_restart(folder: Path, add_model: AddModel) -> None:
    add_model()
    registry = registry_of(folder)
    with pytest.raises(ModelUnknown, match=f"no model 'other'; available: {FALLBACK}"):
        registry.get("other")
    add_model("other")
    assert registry.get("other").name == "other"
    assert [model.name for model in registry.models] == [FALLBACK, "other"]


async def test_broken_folders_are_reported_and_others_load(
    folder: Path, add_model: AddModel, caplog: pytest.LogCaptureFixture
) -> None:
    add_model()
    add_model("good")
    add_model("unreadable", model_toml=b"name = ")
    add_model("twin", model_toml=(folder / "good" / "model.toml").read_bytes())
    damage(add_model("damaged"))
    labels = add_model("linked") / "labels.txt"
    labels.rename(folder.parent / "labels.txt")
    labels.symlink_to(folder.parent / "labels.txt")
    inside = add_model("linked_inside") / "labels.txt"
    inside.rename(inside.with_name("..data"))
    inside.symlink_to("..data")
    (folder / ".hidden").mkdir()
    (folder / "empty").mkdir()
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / "model.toml")
    registry = registry_of(folder)
    await checker_of(folder, registry).refresh()
    assert registry.unchecked == []
    assert {model.name for model in registry.models} == {FALLBACK, "good", "linked_inside"}
    assert registry.broken.keys() == {"unreadable", "twin", "damaged", "empty", "pipe", "linked"}
    # Clients read the reasons, and have no use for paths of this machine.
    assert str(folder.parent) not in " ".join(registry.broken.values())
    for name in registry.broken:
        named = re.compile(rf"\b{name}[/ ]")
        assert sum(bool(named.search(record.message)) for record in caplog.records) == 1, name
    registry.classifier("good").classify(jpeg())
    with pytest.raises(ModelUnknown):
        registry.classifier("nothing")
    with pytest.raises(
        ModelUnknown, match=rf"'damaged' is broken \(see /models\); available: {FALLBACK}, good, linked_inside\."
    ):
        registry.classifier("damaged")


@contextmanager
def killing(name: str, times: int) -> Iterator[None]:
    """Kill the process that checks models, ``times`` times, during a check."""
    real, left = Engine.check, times

    async def check(engine: Engine, model: str) -> None:
        nonlocal left
        if model == name and left:
            left -= 1
            engine._process.kill()
        await real(engine, model)

    with patch.object(Engine, "check", check), patch("app.classifier.engine.process.RESTART_SECONDS", 0):
        yield
    assert not left


def checker_of(folder: Path, registry: Registry) -> ModelProbe:
    return ModelProbe(EngineConfig(str(folder), FALLBACK, 1, PLENTY, 60, log_config(Settings()), PLENTY), registry)


async def test_model_that_kills_its_process_is_left_out(folder: Path, add_model: AddModel) -> None:
    for name in (FALLBACK, "killer", "other"):
        add_model(name)
    damage(add_model("damaged"))
    registry = registry_of(folder)
    with killing("killer", MAX_DEATHS):
        await checker_of(folder, registry).refresh()
    assert registry.broken["killer"] == "The model killer crashes the process that loads it."
    assert registry.broken.keys() == {"killer", "damaged"}
    assert registry.unchecked == []


async def test_model_is_not_blamed_for_other_deaths_of_the_process(folder: Path, add_model: AddModel) -> None:
    add_model()
    add_model("other")
    registry = registry_of(folder)
    with killing("other", 1):
        await checker_of(folder, registry).refresh()
    assert registry.broken == {}
    assert registry.unchecked == []


async def test_unchecked_model_is_checked_at_the_next_refresh(folder: Path, add_model: AddModel) -> None:
    add_model()
    add_model("other")
    registry = registry_of(folder)
    with patch.object(Engine, "loaded", side_effect=EngineDied):
        await checker_of(folder, registry).refresh()
    assert registry.broken == {}
    assert {model.name for model in registry.unchecked} == {FALLBACK, "other"}
    with patch.object(Engine, "check", side_effect=ModelUnknown("It is gone.")):
        await checker_of(folder, registry).refresh()
    assert registry.broken == {}
    await checker_of(folder, registry).refresh()
    assert registry.unchecked == []


async def test_model_that_never_finishes_loading_is_left_out(folder: Path, add_model: AddModel) -> None:
    add_model()
    add_model("slow")
    registry = registry_of(folder)
    real = Engine.check

    async def check(engine: Engine, model: str) -> None:
        if model == "slow":
            suspend(engine._process.pid)
        await real(engine, model)

    with patch("app.classifier.engine.model_check.CHECK_SECONDS", 5), patch.object(Engine, "check", check):
        await checker_of(folder, registry).refresh()
    assert registry.broken.keys() == {"slow"}
    assert "longer than" in registry.broken["slow"]


async def test_service_starts_without_a_model_that_kills_its_process(
    settings: Settings, folder: Path, add_model: AddModel
) -> None:
    add_model()
    add_model("killer")
    changed = settings.model_copy(update={"models_dir": folder, "models_loading": "start"})
    with killing("killer", MAX_DEATHS):
        async with serving(changed) as client:
            listed = {model["name"]: model["status"] for model in (await client.get("/models")).json()}
    assert listed == {FALLBACK: "ok", "killer": "broken"}


def test_repaired_model_is_available_again(folder: Path, add_model: AddModel, models_dir: Path) -> None:
    add_model()
    model = add_model("mended")
    damage(model)
    registry = registry_of(folder)
    with pytest.raises(ModelBroken, match="LiteRT cannot load"):
        registry.classifier("mended")
    (model / f"{FALLBACK}.tflite").write_bytes((models_dir / FALLBACK / f"{FALLBACK}.tflite").read_bytes())
    registry.scan()
    assert not registry.broken
    registry.classifier("mended").classify(jpeg())


def test_models_are_loaded_on_first_use_and_shared_by_threads(folder: Path, add_model: AddModel) -> None:
    add_model()
    registry = registry_of(folder)
    assert registry.loaded == []
    found: list[Classifier] = []
    threads = [threading.Thread(target=lambda: found.append(registry.classifier(FALLBACK))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.loaded == [FALLBACK]
    assert len(found) == 8
    assert len({id(classifier) for classifier in found}) == 1


def test_least_recently_used_model_is_unloaded_above_the_memory_limit(folder: Path, add_model: AddModel) -> None:
    add_model()
    for name in ("a", "b"):
        add_model(name)
    takes = Classifier(read_model(folder / FALLBACK), threads=1).memory_bytes
    registry = registry_of(folder, memory_bytes=2 * takes + 1)
    in_use = registry.classifier("a")
    registry.classifier(FALLBACK)
    registry.classifier("a")
    registry.classifier("b")
    assert registry.loaded == ["a", "b"]
    registry.classifier(FALLBACK)
    assert registry.loaded == ["b", FALLBACK]
    # Who has it goes on with it.
    assert in_use.classify(jpeg())
    assert registry.classifier("a") is not in_use


def test_single_model_may_exceed_the_memory_limit(folder: Path, add_model: AddModel) -> None:
    add_model()
    registry = registry_of(folder, memory_bytes=1)
    assert registry.classifier(FALLBACK).classify(jpeg())
    assert registry.loaded == [FALLBACK]


def test_changed_model_is_loaded_again(folder: Path, add_model: AddModel) -> None:
    add_model()
    registry = registry_of(folder)
    before = registry.classifier(FALLBACK)
    manifest = folder / FALLBACK / "model.toml"
    manifest.write_text(manifest.read_text().replace('version = "', 'version = "next-', 1))
    registry.scan()
    after = registry.classifier(FALLBACK)
    assert after is not before
    assert after.model.version == f"next-{before.model.version}"


@pytest.mark.parametrize("loading", ["lazy", "start"])
async def test_list_has_all_models(
    settings: Settings, folder: Path, add_model: AddModel, loading: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_model()
    add_model("second")
    damage(add_model("damaged"))
    async with serving(settings.model_copy(update={"models_dir": folder, "models_loading": loading})) as client:
        listed = {model["name"]: model for model in (await client.get("/models")).json()}
        assert (await client.get("/info")).json()["models"] == [FALLBACK, "second"]
    assert list(listed) == [FALLBACK, "second", "damaged"]
    assert [listed[name]["default"] for name in listed] == [True, False, False]
    assert [listed[name]["status"] for name in listed] == ["ok", "ok", "broken"]
    assert "LiteRT cannot load" in listed["damaged"]["error"]
    assert listed[FALLBACK]["loaded"]
    if loading == "start":
        assert listed["second"]["loaded"]
    assert any("damaged" in record.message and record.levelno == logging.WARNING for record in caplog.records)


async def test_upload_selects_a_model(settings: Settings, folder: Path, add_model: AddModel) -> None:
    add_model()
    async with serving(settings.model_copy(update={"models_dir": folder})) as client:
        assert (await upload(client, model="", wait=True)).json()["model"] == FALLBACK
        refused = await upload(client, model="second", wait=True)
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["msg"] == f"There is no model 'second'; available: {FALLBACK}."
        add_model("second")
        accepted = (await upload(client, model="second", wait=True)).json()
        assert accepted["model"] == "second"
        assert accepted["status"] == "succeeded"


async def test_prediction_fails_if_its_model_is_gone(
    settings: Settings, folder: Path, add_model: AddModel, caplog: pytest.LogCaptureFixture
) -> None:
    add_model()
    damage(add_model("damaged"))
    async with serving(settings.model_copy(update={"models_dir": folder})) as client:
        files, chosen = {"file": ("a.jpg", jpeg())}, {"model": "damaged"}
        answer = await client.post("/predictions/", files=files, data=chosen, headers={"Prefer": "wait=30"})
        if answer.status_code == 201:
            assert answer.json()["status"] == "failed"
            assert answer.json()["error"]["code"] in {"model_broken", "model_unknown"}
        await client.get("/models")
        assert (await client.post("/predictions/", files=files, data=chosen)).status_code == 422
    assert caplog.records
