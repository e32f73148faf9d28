"""Is it there, is it alive, is it ready?"""

import asyncio
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response

from app.api.deps import Running, Runtime
from app.db import pending_migrations
from app.domain import DatabaseUnavailable, StorageUnavailable
from app.models.service import Health, Ping, Ready

router = APIRouter(tags=["service"])

DATABASE_SECONDS: Final = 3
STORAGE_SECONDS: Final = 3


@router.get("/ping", summary="A sign of life, with the environment's name")
async def ping(runtime: Running) -> Ping:
    """Answers at once, whatever the service is doing."""
    return Ping(environment=runtime.settings.environment, testing=runtime.settings.testing)


@router.get("/health", summary="Is the process alive?")
async def health() -> Health:
    """Touches nothing else: use it to decide whether to restart the process."""
    return Health()


@router.get(
    "/ready",
    summary="Can predictions be taken and made?",
    responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Ready, "description": "Not ready: the failing part is named"}},
)
async def ready(runtime: Running, response: Response) -> Ready:
    """Checks database, tables, storage, model and worker: use it to decide whether to send requests here."""
    database = await _database_state()
    health = await runtime.dispatch.health(database_answers=database == "ok")
    storage = await _storage_state(runtime)
    is_ready = database == storage == health.model == health.worker == "ok"
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Ready(
        status="ready" if is_ready else "not ready",
        database=database,
        storage=storage,
        model=health.model,
        worker=health.worker,
        notes=health.notes,
    )


async def _storage_state(runtime: Runtime) -> str:
    try:
        async with asyncio.timeout(STORAGE_SECONDS):
            owner = await runtime.storage.owner()
    except StorageUnavailable as error:
        return error.message
    except TimeoutError:
        return f"The storage of the images does not answer within {STORAGE_SECONDS} s."
    return "ok" if owner else "The storage is not where images were stored: see that it is mounted."


async def _database_state() -> str:
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            missing = await pending_migrations()
    except DatabaseUnavailable as error:
        return error.message
    except TimeoutError:
        return f"The database does not answer within {DATABASE_SECONDS} s."
    if missing:
        return f"The tables are not up to date ({', '.join(missing)} is missing): run `python -m app migrate`."
    return "ok"
