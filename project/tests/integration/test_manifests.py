"""Folders of models: which manifests and label files are accepted, and how others are refused."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from app.classifier.manifest import read_model
from app.classifier.registry import Registry
from app.config import Settings
from app.domain import ModelBroken
from tests.conftest import FALLBACK
from tests.integration.conftest import AddModel, serving
from tests.integration.models_on_disk import edit, retrained


def test_pinned_file_is_accepted_and_any_other_refused(add_model: AddModel) -> None:
    model = add_model()
    network = model / f"{FALLBACK}.tflite"
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    edit(model / "model.toml", "weights_source = ", f'file_sha256 = "{digest}"\nweights_source = ')
    assert read_model(model).version
    network.write_bytes(retrained(network.read_bytes()))
    with pytest.raises(ModelBroken, match=rf"has the SHA-256 [0-9a-f]{{64}}, but its manifest says {digest}: restore"):
        read_model(model)


def test_manifest_may_have_a_byte_order_mark_and_windows_line_breaks(add_model: AddModel) -> None:
    model = add_model()
    before = read_model(model)
    text = (model / "model.toml").read_text(encoding="utf-8")
    (model / "model.toml").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_model(model) == before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"red\n\nblue\n", "line 2 is empty"),
        (b"red\nblue\nred\n", "line 3 repeats the label of line 1"),
        (b"red\ngr\xe4n\n", "line 2 is not UTF-8"),
        (b"re\0d\nblue\n", "line 1 contains the control character U+0000"),
    ],
)
def test_labels_of_a_folder_are_refused_with_line_and_reason(add_model: AddModel, labels: bytes, message: str) -> None:
    model = add_model()
    (model / "labels.txt").write_bytes(labels)
    with pytest.raises(ModelBroken, match=re.escape(message)):
        read_model(model)


@pytest.mark.parametrize("name", ["labels.txt", "model.toml"])
def test_manifest_names_three_files(folder: Path, add_model: AddModel, name: str) -> None:
    add_model()
    edit(add_model("other") / "model.toml", f'file = "{FALLBACK}.tflite"', f'file = "{name}"')
    registry = Registry(folder, read_model(folder / FALLBACK), memory_bytes=2**40)
    assert "must be different files" in registry.broken["other"]


@pytest.mark.parametrize(
    "manifest",
    [
        b'version = "a\\u0000b"\n',
        b'file = "a\\u0000b"\n',
        b"a = " + b"[" * 3_000,
        b"a = " + b"9" * 5_000 + b"\n",
        b"a = \xff\n",
        b"\xff\xfea\0",
    ],
    ids=["NUL in the version", "NUL in a file name", "nested", "huge number", "not UTF-8", "UTF-16"],
)
def test_manifest_that_no_reader_expects_breaks_its_own_model_alone(
    folder: Path, add_model: AddModel, manifest: bytes
) -> None:
    add_model()
    other = add_model("other") / "model.toml"
    name = manifest.partition(b" ")[0]
    kept = [line for line in other.read_bytes().splitlines(keepends=True) if not line.startswith(name + b" ")]
    other.write_bytes(manifest + b"".join(kept))
    registry = Registry(folder, read_model(folder / FALLBACK), memory_bytes=2**40)
    assert list(registry.broken) == ["other"]
    assert [model.name for model in registry.models] == [FALLBACK]


@pytest.mark.process
async def test_folder_whose_name_is_not_utf_8_is_listed(folder: Path, add_model: AddModel, settings: Settings) -> None:
    add_model()
    (folder / os.fsdecode(b"bad\xffname")).mkdir()
    async with serving(settings.model_copy(update={"models_dir": folder})) as client:
        (broken,) = [one for one in (await client.get("/models")).json() if one["status"] == "broken"]
    assert broken["name"] == "bad?name"


def test_pin_may_be_in_upper_case(add_model: AddModel) -> None:
    """As PowerShell prints it."""
    model = add_model()
    digest = hashlib.sha256((model / f"{FALLBACK}.tflite").read_bytes()).hexdigest().upper()
    edit(model / "model.toml", "weights_source = ", f'file_sha256 = "{digest}"\nweights_source = ')
    assert read_model(model).version
