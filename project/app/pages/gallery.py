"""The gallery and the page of one prediction."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import StringConstraints

from app import crud, search, statistics
from app.api.cursors import decode_cursor, encode_cursor
from app.api.deps import By, Running, Runtime
from app.api.predictions import Id
from app.domain import ModelUnknown, Status
from app.history import past_answers
from app.models.history import PastAnswerRead
from app.models.pydantic import PredictionRead, StorableStr
from app.notices import FINISHED
from app.pages.classify import image_models, reclassify
from app.pages.rendering import page
from app.pages.routing import PageRoute
from app.search import Filters

router = APIRouter(prefix="/history", include_in_schema=False, route_class=PageRoute)

PAGE: Final = 60
LabelText = Annotated[StorableStr, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
CORRECTED: Final = 1.0
"""Confidence of a person's correction."""


@router.get("/")
async def show_gallery(
    request: Request,
    runtime: Running,
    q: Annotated[StorableStr, Query()] = "",
    status: Annotated[Literal["", "pending", "processing", "succeeded", "failed"], Query()] = "",
    model: Annotated[StorableStr, Query()] = "",
    label: Annotated[StorableStr, Query()] = "",
    cursor: Annotated[str | None, Query()] = None,
) -> Response:
    """Thumbnails of all or filtered predictions, newest first."""
    # Forms submit their empty fields too.
    chosen = Status(status) if status else None
    filters = Filters(status=chosen, model=model, label=_as_models_write(label), words=q)
    rows = await search.page(PAGE + 1, decode_cursor(cursor), filters)
    following = ""
    if len(rows) > PAGE:
        rows.pop()
        asked = {"q": q, "status": status, "model": model, "label": label, "cursor": encode_cursor(rows[-1].id)}
        following = urlencode({name: value for name, value in asked.items() if value})
    return page(
        request,
        "history.html",
        predictions=[PredictionRead.of(row) for row in rows],
        filters=filters,
        filtered=filters != Filters(),
        statuses=[one.value for one in Status],
        models=[one.name for one in await image_models(runtime)],
        counts=[(one.value, count) for one, count in (await statistics.counts()).items()],
        following=following,
    )


@router.get("/{id}/")
async def show_one(id: Id, request: Request, runtime: Running, why: Annotated[StorableStr, Query()] = "") -> Response:
    """One prediction; with ``why``, the heat map of a label."""
    return await _shown(request, runtime, id, why)


async def _shown(request: Request, runtime: Runtime, prediction_id: int, why: str = "") -> Response:
    prediction = PredictionRead.of(await runtime.get(prediction_id))
    past = [PastAnswerRead.of(row) for row in await past_answers(prediction_id)]
    explained = await _explained_labels(runtime, prediction.model) if prediction.all_predictions else frozenset()
    return page(
        request,
        "prediction.html",
        prediction=prediction,
        history=past,
        finished=prediction.status in FINISHED,
        models=[one.name for one in await image_models(runtime)],
        explainable=bool(explained),
        why=why if why in explained else "",
    )


async def _explained_labels(runtime: Runtime, model: str) -> frozenset[str]:
    """Labels with heat maps; none if the model has none."""
    try:
        found = await asyncio.to_thread(runtime.registry.get, model)
    except ModelUnknown:
        return frozenset()
    is_explainable = found.manifest.kind == "image" and found.manifest.runtime == "litert"
    return frozenset(found.labels) if is_explainable else frozenset()


@router.post("/{id}/correction/")
async def correct(id: Id, request: Request, by: By, label: Annotated[LabelText, Form()]) -> Response:
    """Set a person's label."""
    await crud.correct(id, _as_models_write(label), CORRECTED, by)
    return _back(request, f"/history/{id}")


@router.post("/{id}/reclassification/")
async def ask_again(id: Id, request: Request, runtime: Running, model: Annotated[StorableStr, Form()] = "") -> Response:
    """Classify again with another model; the old result stays in the history."""
    return _back(request, f"/history/{await reclassify(id, model, runtime)}")


@router.post("/{id}/deletion/")
async def delete(id: Id, request: Request, runtime: Running, by: By, sure: Annotated[str, Form()] = "") -> Response:
    """Ask for confirmation, then delete."""
    if sure != "yes":
        return page(request, "deletion.html", prediction=PredictionRead.of(await runtime.get(id)))
    deleted = await crud.delete(id, by)
    await runtime.storage.delete([deleted.image_path])
    return _back(request, "/history")


def _as_models_write(label: str) -> str:
    """The model's spelling, ``tiger_cat``, of what people write as "tiger cat"."""
    return label.strip().replace(" ", "_")


def _back(request: Request, path: str) -> Response:
    return RedirectResponse(request.scope.get("root_path", "") + path, HTTPStatus.SEE_OTHER)
