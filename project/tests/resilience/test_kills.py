"""Nothing is lost or written twice if a process is killed during 500 predictions."""

import asyncio
import itertools
import logging
import os
import signal
from typing import Literal

import pytest

from tests.resilience.cluster import QUICK, Cluster, all_right
from tests.resilience.conftest import NewCluster

log = logging.getLogger(__name__)

PREDICTIONS = 500
IN_THE_MIDDLE = 250

Victim = Literal["worker", "web", "postgres"]


def kill(cluster: Cluster, victim: Victim) -> None:
    if victim == "worker":
        cluster.workers.pop(0).kill()
        cluster.add_worker()
    elif victim == "web":
        cluster.webs.pop(0).kill()
        cluster.add_web()
    else:
        os.kill(cluster.postmaster(), signal.SIGKILL)


@pytest.mark.parametrize(("victim", "workers"), [("worker", 1), ("worker", 3), ("web", 1), ("postgres", 3)])
async def test_nothing_is_lost_after_kill_9_during_500_predictions(
    new_cluster: NewCluster, victim: Victim, workers: int
) -> None:
    cluster = await new_cluster().start(workers)
    await cluster.upload(PREDICTIONS, after=(IN_THE_MIDDLE, lambda: kill(cluster, victim)))
    await cluster.finished()
    books = await cluster.books()
    log.info("kill -9 of %s, %d workers: %s", victim, workers, books)
    all_right(books, PREDICTIONS)


async def test_nothing_is_lost_while_everything_is_killed_in_turn(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(**QUICK).start(2)
    uploading = asyncio.create_task(cluster.upload(PREDICTIONS))
    victims: itertools.cycle[Victim] = itertools.cycle(("worker", "web", "postgres"))
    kills = 0
    while not uploading.done():
        kill(cluster, next(victims))
        kills += 1
        await cluster.ready()
        await asyncio.wait([uploading], timeout=1)
    await uploading
    await cluster.finished()
    books = await cluster.books()
    log.info("%d kills: %s", kills, books)
    assert kills >= 3
    all_right(books, PREDICTIONS)
