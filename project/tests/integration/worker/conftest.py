"""A worker on a real database and real files, with a fake model, which is not tested here."""

from typing import cast

import pytest

from app.classifier.engine.process import Engine
from app.config import Settings
from app.storage import Storage
from app.storage.folder import FolderStorage
from app.worker.custom_models import CustomModels
from app.worker.model_settings import ModelSettings
from app.worker.worker import Worker
from tests.integration.worker.rows import FakeEngine


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def storage(settings: Settings) -> Storage:
    made = FolderStorage(settings.uploads)
    await made.set_owner("the tests")
    return made


@pytest.fixture
def worker(settings: Settings, fake: FakeEngine, storage: Storage) -> Worker:
    return Worker(cast(Engine, fake), storage, settings.retry_policy, 2, CustomModels(), ModelSettings())
