"""Rendered images and heat maps."""

import asyncio
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import httpx
import numpy as np
import pytest
from PIL import Image

from app.classifier.engine.renderer import Renderer
from app.classifier.heat_map import Explainer
from app.classifier.image_classifier import Classifier
from app.classifier.manifest import ImageManifest, read_model
from app.config import Settings
from app.domain import NotExplainable
from app.images.preprocessing import to_tensor
from tests.conftest import FALLBACK
from tests.integration.conftest import processes, serving, uploaded_files
from tests.pictures import encoded, jpeg, scene, turned
from tests.processes import suspend
from tests.uploading import WAIT, classify

pytestmark = pytest.mark.process


def opened(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content))


async def test_every_image_is_rendered_as_a_jpeg(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for kind in ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"]:
        with subtests.test(kind=kind):
            prediction_id = (await classify(client, encoded(scene(900, 600), kind)))["id"]
            for size, shown in ((320, (320, 213)), (2048, (900, 600))):
                answer = await client.get(f"/predictions/{prediction_id}/image/", params={"size": size})
                assert answer.headers["content-type"] == "image/jpeg"
                image = opened(answer)
                assert image.format == "JPEG"
                assert image.size == shown
                expected = np.asarray(scene(*shown), dtype=float)
                assert np.abs(np.asarray(image, dtype=float) - expected).mean() < 4
            assert opened(await client.get(f"/predictions/{prediction_id}/image")).size == (900, 600)


async def test_rendered_image_is_upright_and_has_no_metadata(client: httpx.AsyncClient) -> None:
    exif = turned(6)
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x0110] = "A camera"
    data = encoded(scene(600, 400), "JPEG", exif=exif, comment=b"a secret")
    assert b"A camera" in data
    answer = await client.get(f"/predictions/{(await classify(client, data))['id']}/image/")
    image = opened(answer)
    assert image.size == (400, 600)
    assert not image.getexif()
    assert b"secret" not in answer.content
    # Turned clockwise, the lower left quarter, which is blue, is the upper left one.
    assert np.asarray(image)[:50, :50].mean(axis=(0, 1)).argmax() == 2


async def test_unchanged_image_is_304(client: httpx.AsyncClient) -> None:
    path = f"/predictions/{(await classify(client, jpeg()))['id']}"
    for asked, kept in ((f"{path}/heatmap", "no-cache"), (f"{path}/image?size=100", "no-cache")):
        first = await client.get(asked)
        etag = first.headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await client.get(asked, headers={"If-None-Match": known})
            assert again.status_code == 304
            assert again.content == b""
        assert kept in first.headers["cache-control"]
    other = await client.get(f"{path}/image?size=101", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


async def test_rendering_survives_its_process_and_leaves_classification_alone(settings: Settings) -> None:
    async with serving(settings, own_processes=True) as client:
        path = f"/predictions/{(await classify(client, jpeg()))['id']}/image/"
        (engine,) = processes()
        assert opened(await client.get(path)).size == (400, 300)
        (renderer,) = set(processes()) - {engine}
        suspend(renderer.pid)
        viewing = asyncio.create_task(client.get(path, params={"size": 100}))
        assert (await classify(client, jpeg(50)))["status"] == "succeeded"
        renderer.kill()
        assert opened(await viewing).size == (100, 75)
        assert engine.is_running()


async def test_image_is_rendered_once_until_it_is_deleted(client: httpx.AsyncClient, settings: Settings) -> None:
    def cached() -> list[Path]:
        return [path for path in settings.renditions.rglob("*") if path.is_file()]

    prediction_id = (await classify(client, jpeg()))["id"]
    path = f"/predictions/{prediction_id}/image/"
    with patch.object(Renderer, "render", autospec=True, side_effect=Renderer.render) as render:
        answers = await asyncio.gather(*(client.get(path) for _ in range(12)))
        again = await client.get(path)
        assert render.call_count == 1
        assert {answer.content for answer in answers} == {again.content}
        assert (await client.get(path, params={"size": 99})).content != again.content
        assert render.call_count == 2
    await client.get(f"/predictions/{prediction_id}/heatmap/")
    assert len(cached()) == 3
    assert (await client.delete(f"/predictions/{prediction_id}/")).status_code == 200
    assert cached() == []
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("size", [(3, 2000), (2000, 1), (1, 1)])
async def test_heat_map_works_for_extreme_shapes(client: httpx.AsyncClient, size: tuple[int, int]) -> None:
    prediction_id = (await classify(client, encoded(scene(*size), "PNG")))["id"]
    assert opened(await client.get(f"/predictions/{prediction_id}/heatmap/")).format == "PNG"
    assert opened(await client.get(f"/predictions/{prediction_id}/image/")).format == "JPEG"


async def test_unavailable_image_is_reported(client: httpx.AsyncClient, settings: Settings) -> None:
    assert (await client.get("/predictions/99/image/")).status_code == 404
    assert (await client.get("/predictions/99/heatmap/")).status_code == 404
    prediction_id = (await classify(client, jpeg()))["id"]
    for size in ("15", "2049", "x", "1e3"):
        assert (await client.get(f"/predictions/{prediction_id}/image/", params={"size": size})).status_code == 422
    answer = await client.get(f"/predictions/{prediction_id}/heatmap/", params={"label": "no such label"})
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_explainable"
    failed = await client.post("/predictions/", files={"file": ("a", jpeg()[:3000])}, headers=WAIT)
    answer = await client.get(f"/predictions/{failed.json()['id']}/heatmap/")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_explainable"
    for path in uploaded_files(settings):
        path.unlink()
    answer = await client.get(f"/predictions/{prediction_id}/image/")
    assert answer.status_code == 404
    assert answer.json()["code"] == "image_missing"


def test_shares_of_all_places_add_up_to_the_logit(models_dir: Path) -> None:
    model = read_model(models_dir / FALLBACK)
    assert isinstance(model.manifest, ImageManifest)
    explainer, classifier = Explainer(model, model.version), Classifier(model, threads=1)
    tensors = [to_tensor(data, model.manifest.input.spec) for data in (jpeg(), encoded(scene().rotate(90), "PNG"))]
    labels = [model.labels[n] for n in range(0, 1000, 97)]
    means = np.array([[explainer.shares(tensor, label).mean() for label in labels] for tensor in tensors])
    logs = np.log([[classifier.scores(tensor)[model.labels.index(label)] for label in labels] for tensor in tensors])
    # The logarithm of a score is its logit less what all labels have in common; biases are the same for both images.
    difference = (logs[0] - logs[1]) - (means[0] - means[1])
    assert explainer.shares(tensors[0], labels[0]).shape == (7, 7)
    np.testing.assert_allclose(difference, difference[0], atol=2e-3)
    assert np.ptp(means[0] - means[1]) > 0.5


def test_overlay_covers_only_the_model_input(models_dir: Path) -> None:
    model = read_model(models_dir / FALLBACK)
    explainer = Explainer(model, model.version)
    picture = encoded(scene(700, 300), "PNG")
    best = Classifier(model, threads=1).classify(picture)[0].label
    shown = np.asarray(Image.open(BytesIO(explainer.heat_map(picture, best))), dtype=int)
    changed = np.abs(shown - np.asarray(scene(700, 300), dtype=int)).max(axis=2) > 2
    rows, columns = np.nonzero(changed)
    left, right = 350 - 131, 350 + 131
    assert left - 1 <= columns.min() < columns.max() <= right + 1
    assert changed[:, left + 5 : right - 5].mean() > 0.2
    assert rows.max() - rows.min() > 100


def test_heat_map_is_drawn_alone_for_any_opacity(models_dir: Path) -> None:
    model = read_model(models_dir / FALLBACK)
    assert isinstance(model.manifest, ImageManifest)
    explainer = Explainer(model, model.version)
    picture = encoded(scene(700, 300), "PNG")
    best = Classifier(model, threads=1).classify(picture)[0].label
    alone = Image.open(BytesIO(explainer.heat_map(picture, best, overlay=True)))
    assert (alone.mode, alone.size) == ("RGBA", (700, 300))
    alpha = np.asarray(alone)[..., 3]
    # The strongest position covers the image, and what the model does not see is untouched.
    assert alpha[2:-2, 350 - 125 : 350 + 125].max() == 255
    assert alpha[:, : 350 - 132].max() == alpha[:, 350 + 132 :].max() == 0
    # The line around what it sees.
    assert (alpha[20:-20, 350 - 131 : 350 - 129] == 255).any()
    strength = explainer.shares(to_tensor(picture, model.manifest.input.spec), best).clip(min=0)

    def alpha_at(place: int) -> int:
        """In the middle of a position of the feature map; the model sees 262 pixels in the middle."""
        row, column = divmod(place, strength.shape[1])
        cell = 262 / len(strength)
        return int(alpha[19 + int((row + 0.5) * cell), 219 + int((column + 0.5) * cell)])

    assert alpha_at(int(strength.argmax())) > 200
    assert alpha_at(int(strength.argmin())) < 60


async def test_overlay_is_served_apart_from_the_composite(client: httpx.AsyncClient) -> None:
    prediction_id = (await classify(client, encoded(scene(700, 300), "PNG")))["id"]
    path = f"/predictions/{prediction_id}/heatmap/"
    whole, alone = await client.get(path), await client.get(path, params={"overlay": True})
    assert (opened(whole).mode, opened(alone).mode) == ("RGB", "RGBA")
    assert whole.headers["etag"] != alone.headers["etag"]
    assert (await client.get(path, params={"overlay": True})).content == alone.content


def test_other_networks_have_no_heat_map(all_models: Path, mobilenet_weights: Path) -> None:
    assert mobilenet_weights
    int8 = read_model(all_models / "mobilenet_v2_int8")
    with pytest.raises(NotExplainable, match="only fp32 LiteRT models"):
        Explainer(int8, int8.version)
