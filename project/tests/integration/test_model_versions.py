"""Versions of models: they cover all that results depend on, and each row names the version that classified it."""

import asyncio
import shutil
from pathlib import Path

import pytest

from app.classifier.heat_map import Explainer
from app.classifier.manifest import MAX_VERSION_LENGTH, read_model
from app.classifier.registry import Registry
from app.config import Settings
from app.domain import NotExplainable
from tests.conftest import FALLBACK
from tests.integration.conftest import AddModel, serving
from tests.integration.models_on_disk import FAVOURITE, edit, retrained
from tests.pictures import jpeg
from tests.uploading import upload

SECONDS = 20
"""Far longer than a process takes to notice a change."""


def replaced(model: Path, changes: Path) -> None:
    """Replace a model's folder at once, as the exporter does."""
    aside = model.with_name(f".{model.name}.aside")
    model.rename(aside)
    changes.rename(model)
    shutil.rmtree(aside)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("model.toml", "short_side = 256", "short_side = 240"),
        ("model.toml", 'channels = "rgb"', 'channels = "bgr"'),
        ("model.toml", 'activation = "none"', 'activation = "softmax"'),
        ("labels.txt", "goldfish", "golden fish"),
    ],
)
def test_version_changes_with_what_results_depend_on(add_model: AddModel, file: str, old: str, new: str) -> None:
    model = add_model()
    before = read_model(model)
    edit(model / file, old, new)
    after = read_model(model)
    assert after.version.startswith(f"{before.manifest.version}-")
    assert after.version != before.version
    edit(model / file, new, old)
    assert read_model(model) == before


def test_version_changes_with_the_weights(add_model: AddModel) -> None:
    model = add_model()
    before = read_model(model)
    network = model / f"{FALLBACK}.tflite"
    network.write_bytes(retrained(network.read_bytes()))
    assert read_model(model).version != before.version


def test_version_changes_with_weights_beside_the_model_file(add_model: AddModel) -> None:
    """OpenVINO and ONNX may keep them in a file of their own."""
    model = add_model()
    edit(model / "model.toml", 'runtime = "litert"', 'runtime = "openvino"')
    (model / "network.bin").write_bytes(b"first")
    before = read_model(model)
    (model / "network.bin").write_bytes(b"other")
    assert read_model(model).version != before.version


def test_version_does_not_depend_on_names_and_origin(add_model: AddModel) -> None:
    model = add_model()
    before = read_model(model)
    edit(model / "model.toml", "weights_source = ", "# A note.\nweights_source = ")
    (model / "README.md").write_text("A note.")
    assert read_model(model).version == before.version


def test_version_fits_into_its_column(add_model: AddModel) -> None:
    model = add_model()
    edit(model / "model.toml", f'version = "{read_model(model).manifest.version}"', f'version = "{"v" * 64}"')
    assert len(read_model(model).version) == MAX_VERSION_LENGTH


def test_version_on_disk_that_is_not_loaded_yet_is_neither_loaded_nor_checked(
    folder: Path, add_model: AddModel
) -> None:
    add_model()
    network = add_model("other") / f"{FALLBACK}.tflite"
    registry = Registry(folder, read_model(folder / FALLBACK), memory_bytes=2**40)
    registry.classifier("other")
    assert "other" in registry.loaded
    network.write_bytes(retrained(network.read_bytes()))
    registry.refresh()
    assert "other" not in registry.loaded
    assert "other" in [model.name for model in registry.unchecked]


@pytest.mark.process
def test_model_that_is_replaced_while_it_is_loaded_is_loaded_again(
    folder: Path, add_model: AddModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = add_model()
    registry = Registry(folder, read_model(model), memory_bytes=2**40)
    old = registry.default.version
    load = Registry._read

    def replacing(self: Registry, *arguments: object, **options: object) -> object:
        monkeypatch.undo()
        network = model / f"{FALLBACK}.tflite"
        network.write_bytes(retrained(network.read_bytes()))
        return load(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "_read", replacing)
    loaded = registry.classifier(FALLBACK)
    assert loaded.model.version == read_model(model).version != old
    assert loaded.classify(jpeg())[0].label == loaded.model.labels[FAVOURITE]


@pytest.mark.process
@pytest.mark.parametrize("name", [FALLBACK, "other"], ids=["default", "other"])
async def test_each_row_names_the_version_that_classified_it(
    folder: Path, add_model: AddModel, settings: Settings, name: str
) -> None:
    """While a model is replaced in place, under load, with answers being reused."""
    add_model()
    add_model("other")
    model = folder / name
    settings = settings.model_copy(update={"models_dir": folder, "reuse_answers": True})
    async with serving(settings) as client:

        async def answer() -> tuple[str, str]:
            row = (await upload(client, wait=True, model=name)).json()
            assert row["status"] == "succeeded", row
            return row["model_version"], row["top_prediction"]

        async def listed() -> str:
            models = {one["name"]: one for one in (await client.get("/models")).json()}
            version: str = models[name]["version"]
            return version

        before, label = await answer()
        assert before == await listed()
        changes = folder / ".changes"
        shutil.copytree(model, changes)
        network = changes / f"{FALLBACK}.tflite"
        network.write_bytes(retrained(network.read_bytes()))
        after, favourite = read_model(changes).version, read_model(model).labels[FAVOURITE]
        replaced(model, changes)
        answers = {(before, label)}
        async with asyncio.timeout(SECONDS):
            while (after, favourite) not in answers:
                answers.add(await answer())
        assert answers == {(before, label), (after, favourite)}
        assert await listed() == after
        # It stays so.
        assert {await answer() for _ in range(5)} == {(after, favourite)}


@pytest.mark.process
@pytest.mark.parametrize("name", [FALLBACK, "other"], ids=["default", "other"])
async def test_new_version_that_cannot_be_loaded_leaves_the_old_one_in_use(
    folder: Path, add_model: AddModel, settings: Settings, name: str
) -> None:
    add_model()
    add_model("other")
    network = folder / name / f"{FALLBACK}.tflite"
    settings = settings.model_copy(update={"models_dir": folder})
    async with serving(settings) as client:
        before = (await upload(client, wait=True, model=name)).json()
        # A copy that is interrupted: the manifest fits, but the network does not load.
        complete = network.read_bytes()
        network.write_bytes(complete[: len(complete) // 2])
        async with asyncio.timeout(SECONDS):
            while not any(one["status"] == "broken" for one in (await client.get("/models")).json()):
                during = (await upload(client, wait=True, model=name)).json()
                assert during["top_prediction"] == before["top_prediction"], during
        for _ in range(3):
            during = (await upload(client, wait=True, model=name)).json()
            assert during["model_version"] == before["model_version"]
        network.write_bytes(retrained(complete))
        async with asyncio.timeout(SECONDS):
            while (await upload(client, wait=True, model=name)).json()["top_prediction"] == before["top_prediction"]:
                pass
        assert not any(one["status"] == "broken" for one in (await client.get("/models")).json())


def test_failure_of_a_file_that_changed_meanwhile_is_not_held_against_it(folder: Path, add_model: AddModel) -> None:
    model = add_model()
    registry = Registry(folder, read_model(model), memory_bytes=2**40)
    current = registry.default
    network = model / f"{FALLBACK}.tflite"
    complete = network.read_bytes()
    network.write_bytes(b"half")
    registry.note_checked({current: "it cannot be loaded"})
    network.write_bytes(complete)
    registry.scan()
    assert registry.broken == {}
    assert registry.default == current


def test_link_to_nothing_does_not_hide_changes(folder: Path, add_model: AddModel) -> None:
    model = add_model()
    (model / "link").symlink_to("nothing")
    registry = Registry(folder, read_model(model), memory_bytes=2**40)
    assert not registry.has_changed()
    (model / "labels.txt").write_bytes(b"# \n" + (model / "labels.txt").read_bytes())
    assert registry.has_changed()


def test_heat_map_is_not_drawn_for_another_version(all_models: Path, mobilenet_weights: Path) -> None:
    assert mobilenet_weights
    model = read_model(all_models / "mobilenet_v2")
    Explainer(model, model.version)
    # As the version was named before it covered everything.
    Explainer(model, model.manifest.weights_sha256[:12])
    with pytest.raises(NotExplainable, match="Another version of the model mobilenet_v2 classified this image"):
        Explainer(model, "000000000000")


@pytest.mark.process
async def test_default_model_goes_on_answering_while_its_files_are_incomplete(
    folder: Path, add_model: AddModel, settings: Settings
) -> None:
    model = add_model()
    settings = settings.model_copy(update={"models_dir": folder})
    async with serving(settings) as client:
        before = (await upload(client, wait=True)).json()
        network, manifest = (model / name for name in (f"{FALLBACK}.tflite", "model.toml"))
        complete = network.read_bytes()
        network.unlink()
        async with asyncio.timeout(SECONDS):
            while not any(one["status"] == "broken" for one in (await client.get("/models")).json()):
                await asyncio.sleep(0.1)
        network.write_bytes(complete[: len(complete) // 2])
        edit(manifest, "weights_source = ", f'file_sha256 = "{"0" * 64}"\nweights_source = ')
        during = (await upload(client, wait=True)).json()
        assert during["top_prediction"] == before["top_prediction"]
        assert during["model_version"] == before["model_version"]


@pytest.mark.process
@pytest.mark.all_models
async def test_replaced_tabular_model_answers_within_seconds(
    settings: Settings, tmp_path: Path, all_models: Path
) -> None:
    models = tmp_path / "models"
    for name in (FALLBACK, "iris_random_forest"):
        shutil.copytree(all_models / name, models / name)
    settings = settings.model_copy(update={"models_dir": models})
    async with serving(settings) as client:

        async def answer() -> dict[str, str]:
            found: dict[str, str] = (await client.get("/predict/iris_random_forest")).json()
            return found

        before = await answer()
        edit(models / "iris_random_forest" / "labels.txt", before["label"], "renamed")
        async with asyncio.timeout(SECONDS):
            while (after := await answer())["label"] == before["label"]:
                assert after["model_version"] == before["model_version"]
                await asyncio.sleep(0.05)
        assert after["label"] == "renamed"
        assert after["model_version"] != before["model_version"]
