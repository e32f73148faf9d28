"""What people choose for models, and what reviews say, in all processes of a service with workers."""

import itertools
import shutil
from pathlib import Path

import httpx

from tests.conftest import FALLBACK
from tests.pictures import jpeg
from tests.polling import until
from tests.resilience.conftest import NewCluster
from tests.uploading import classify

OTHER = "other"
TIGER = "n02129604_tiger.jpg"


async def test_workers_follow_thresholds_and_web_processes_need_no_model_folder(
    new_cluster: NewCluster, tmp_path: Path, labelled_images: Path
) -> None:
    cluster = await new_cluster().start(1)
    (tmp_path / "empty").mkdir()
    web = cluster.add_web(MODELS_DIR=str(tmp_path / "empty"))
    await cluster.ready()
    async with httpx.AsyncClient(base_url=web, timeout=30) as client:
        path = f"/models/{FALLBACK}/decision"
        read = (await until(lambda: client.get(path), lambda answer: answer.status_code == 200)).json()
        assert (read["sure_from"], read["source"]) == (0.4, "model")
        data = (labelled_images / TIGER).read_bytes()
        numbers = itertools.count()

        async def decision() -> str:
            return str((await classify(client, data + b"%d" % next(numbers)))["decision"])

        await client.put(path, json={"sure_from": 0.0})
        await until(decision, lambda found: found == "sure")
        await client.put(path, json={"sure_from": 1.0})
        await until(decision, lambda found: found == "unsure")
        assert (await client.get(f"/models/{FALLBACK}/calibration")).json()["missing_reviews"] == 100


async def test_workers_compare_a_second_model(new_cluster: NewCluster, models_dir: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(models_dir / FALLBACK, models / FALLBACK)
    shutil.copytree(models_dir / FALLBACK, models / OTHER)
    manifest = models / OTHER / "model.toml"
    manifest.write_text(manifest.read_text().replace(f'name = "{FALLBACK}"', f'name = "{OTHER}"'))
    cluster = await new_cluster(MODELS_DIR=str(models)).start(2)
    await cluster.ready()
    async with httpx.AsyncClient(base_url=cluster.web_urls[0], timeout=30) as client:

        async def start() -> httpx.Response:
            return await client.put("/shadow", json={"model": OTHER, "share": 1})

        await until(start, lambda answer: answer.status_code == 200)
        for number in range(6):
            await classify(client, jpeg(300 + number))
        read = (await until(lambda: client.get("/shadow"), lambda answer: answer.json()["compared"] == 6)).json()
        assert (read["same"], read["failed"]) == (6, 0)
        assert (await client.delete("/shadow")).status_code == 204
