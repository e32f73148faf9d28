"""A model that is replaced in place while web processes and workers use it."""

import asyncio
import itertools
import logging
import shutil
import time
from pathlib import Path

import httpx

from app.classifier.manifest import read_model
from tests.conftest import FALLBACK
from tests.integration.models_on_disk import FAVOURITE, retrained
from tests.resilience.conftest import NewCluster
from tests.uploading import WAIT, upload

log = logging.getLogger(__name__)

SECONDS = 30
"""Far longer than it takes: workers announce their models every five seconds."""


async def test_every_process_uses_a_replaced_model_and_rows_name_the_version_that_classified(
    new_cluster: NewCluster, models_dir: Path, tmp_path: Path
) -> None:
    models = tmp_path / "replaced-models"
    shutil.copytree(models_dir, models)
    cluster = await new_cluster(MODELS_DIR=str(models)).start(2)
    webs = [cluster.web_urls[0], cluster.add_web()]
    await cluster.ready()
    before = read_model(models / FALLBACK)
    network = models / FALLBACK / f"{FALLBACK}.tflite"
    replacement = network.with_suffix(".new")
    replacement.write_bytes(retrained(network.read_bytes()))
    async with httpx.AsyncClient(base_url=webs[0]) as one, httpx.AsyncClient(base_url=webs[1]) as other:
        first = (await upload(one, headers=WAIT)).json()
        assert first["model_version"] == before.version
        replacement.replace(network)
        after, began = read_model(models / FALLBACK), time.monotonic()
        expected = {before.version: first["top_prediction"], after.version: after.labels[FAVOURITE]}
        # Each web process lists the new version, and both workers take part until then.
        listed: set[int] = set()
        async with asyncio.timeout(SECONDS):
            for number, client in itertools.cycle(enumerate((one, other))):
                answers = await asyncio.gather(*(upload(client, headers=WAIT) for _ in range(2)))
                rows = [answer.json() for answer in answers]
                for row in rows:
                    assert row["top_prediction"] == expected[row["model_version"]], row
                (default,) = [model for model in (await client.get("/models")).json() if model["default"]]
                if default["version"] == after.version and all(row["model_version"] == after.version for row in rows):
                    listed.add(number)
                if len(listed) == len(webs):
                    break
        log.info("used by every process %.1f s after it was replaced", time.monotonic() - began)
