"""Health checks: ping, health, ready."""

import asyncio
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response

from app.api.deps import AppState, State
from app.db.crud import installation
from app.db.migrations import pending_migrations
from app.domain import DatabaseUnavailable, StorageUnavailable
from app.models.pydantic_system import Health, Pong, Ready

router = APIRouter(tags=["service"])

READY: Final = "ready"
DATABASE_SECONDS: Final = 3
STORAGE_SECONDS: Final = 3


@router.get("/ping", summary="Ping the service")
async def ping(state: State) -> Pong:
    """Responds immediately, also under load."""
    return Pong(environment=state.settings.environment, testing=state.settings.testing)


@router.get("/health", summary="Check whether the process is alive")
async def health() -> Health:
    """Depends on nothing else: use it to decide whether to restart the process."""
    return Health()


@router.get(
    "/ready",
    summary="Check whether the service is ready",
    responses={
        HTTPStatus.SERVICE_UNAVAILABLE: {
            "model": Ready,
            "description": "Not ready; the response names the failing part",
        }
    },
)
async def ready(state: State, response: Response) -> Ready:
    """Checks database, tables, storage, model and worker: use it to decide whether to send requests here."""
    # Probes need no key, and must not keep the database busy.
    readiness = state.readiness.get(READY)
    if readiness is None:
        readiness = state.readiness[READY] = await _readiness(state)
    if readiness.status != READY:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return readiness


async def _readiness(state: AppState) -> Ready:
    database = await _database_state()
    health = await state.dispatch.health(database_answers=database == "ok")
    storage = await _storage_state(state)
    is_ready = database == storage == health.model == health.worker == "ok"
    return Ready(
        status=READY if is_ready else "not ready",
        database=database,
        storage=storage,
        model=health.model,
        worker=health.worker,
        notes=health.notes,
    )


async def _storage_state(state: AppState) -> str:
    try:
        async with asyncio.timeout(STORAGE_SECONDS):
            owner = await state.storage.owner()
            if owner:
                await state.storage.check_room()
    except StorageUnavailable as error:
        return error.message
    except TimeoutError:
        return f"The image storage did not respond within {STORAGE_SECONDS} s."
    return "ok" if owner else "The image storage has no owner mark: check that it is mounted."


async def _database_state() -> str:
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            missing = await pending_migrations()
            if not missing:
                await installation.check_writable()
    except DatabaseUnavailable as error:
        return error.message
    except TimeoutError:
        return f"The database did not respond within {DATABASE_SECONDS} s."
    if missing:
        return f"The tables are not up to date (missing: {', '.join(missing)}): run `./classifier migrate`."
    return "ok"
