"""Clusters that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.resilience.cluster import Cluster

NewCluster = Callable[..., Cluster]


@pytest.fixture
def new_cluster(tmp_path: Path, models_dir: Path, migrated_queue_data_dir: Path) -> Iterator[NewCluster]:
    """Creates clusters that are not started yet."""
    made: list[Cluster] = []

    def make(**settings: str) -> Cluster:
        made.append(Cluster(tmp_path, models_dir, migrated_queue_data_dir, **settings))
        return made[-1]

    yield make
    for cluster in made:
        cluster.end()
