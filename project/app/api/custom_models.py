"""Routes of custom models: create, add examples, train, and choose the version that is served."""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Body, Path, Query, Request, Response

from app.api.deps import AppState, CurrentCaller, State
from app.api.errors import problem_responses
from app.api.params import PREFER, CustomModelName, wait_seconds
from app.api.upload_body import check_webhook_url, validation_error
from app.api.upload_response import NOT_READABLE, no_content
from app.db.crud import custom_models, examples, predictions, trainings, webhook_deliveries
from app.db.crud.custom_models import version_name
from app.db.notifications import FINISHED
from app.domain import (
    MAX_ID,
    ModelExists,
    ModelUnknown,
    NoWorkerYet,
    Scope,
    TrainingNotFound,
    Use,
    VersionUnusable,
)
from app.models.pydantic_custom import (
    CustomModelCreate,
    CustomModelRead,
    LabelCount,
    TrainingRead,
    TrainingRequest,
    VersionChoice,
    WrongAnswer,
)
from app.models.pydantic_history import DeliveryRead
from app.models.tortoise import CustomModel, Training
from app.outbound.addresses import origin_of

router = APIRouter(prefix="/models", tags=["custom models"], strict_content_type=False)

PAGE: Final = 100
MAX_PAGE: Final = 1_000
TRAININGS: Final = 100

_RESPONSES: Final = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Create a custom model",
    response_model=CustomModelRead,
    responses={**problem_responses(HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE), **NOT_READABLE},
)
async def create_model(wanted: CustomModelCreate, state: State, caller: CurrentCaller) -> CustomModelRead | Response:
    """Creates a model that learns your own labels from examples. It answers once it has been trained."""
    if any(model.name == wanted.name for model in await state.dispatch.models()):
        raise ModelExists
    base = await _base(state, wanted.base)
    await custom_models.create(wanted.name, base, wanted.labels, wanted.retrain_after, caller)
    await state.custom.refresh()
    return await _read(wanted.name) if caller.may(Scope.READ) else no_content()


@router.get("/{name}", summary="Read a custom model", responses=_RESPONSES)
async def read_model(name: CustomModelName) -> CustomModelRead:
    """Returns the model's labels, the number of their examples, and the version that is served."""
    return await _read(name)


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT, summary="Delete a custom model", responses=_RESPONSES)
async def delete_model(name: CustomModelName, state: State, caller: CurrentCaller) -> None:
    """Deletes the model with its versions and its list of examples. Images and predictions stay as they are."""
    await custom_models.delete(name, caller)
    await state.custom.refresh()
    # A new model of this name must not become the default, nor get the old thresholds or comparison.
    await state.model_settings.refresh()


@router.post(
    "/{name}/train",
    status_code=HTTPStatus.ACCEPTED,
    summary="Train a custom model",
    response_model=TrainingRead,
    response_description="The training; with `Prefer: wait=N`, finished if it took no longer.",
    responses={**_RESPONSES, **NOT_READABLE},
    openapi_extra={"parameters": [PREFER]},
)
async def train_model(
    name: CustomModelName,
    request: Request,
    response: Response,
    state: State,
    caller: CurrentCaller,
    wanted: Annotated[TrainingRequest | None, Body()] = None,
) -> TrainingRead | Response:
    """Trains the model with its examples, or returns the training that is in progress.

    A training survives a crash. Its version is served unless it is worse than the one that is served now.
    """
    model = await custom_models.get(name)
    webhook_url = check_webhook_url(
        wanted.webhook_url if wanted else "", is_enabled=state.settings.webhook_secret is not None
    )
    training = await trainings.request(model.id, caller)
    if webhook_url:
        await webhook_deliveries.add_for_training(training.id, webhook_url)
    response.headers["Location"] = str(request.url_for("read_training", name=name, number=training.id).path)
    read = await _ended(training, name, request, response, state)
    return read if caller.may(Scope.READ) else no_content()


@router.get("/{name}/trainings", summary="List a model's trainings, newest first", responses=_RESPONSES)
async def list_trainings(name: CustomModelName) -> list[TrainingRead]:
    """Returns the newest 100 trainings, with the results of cross-validation."""
    model = await custom_models.get(name)
    rows = await trainings.list_for_model(model.id, TRAININGS)
    return [TrainingRead.from_row(row, name, model.training_id) for row in rows]


@router.get(
    "/{name}/trainings/{number}",
    summary="Read a training",
    responses=_RESPONSES,
    openapi_extra={"parameters": [PREFER]},
)
async def read_training(
    name: CustomModelName,
    number: Annotated[int, Path(gt=0, le=MAX_ID, description="ID of the training.")],
    request: Request,
    response: Response,
    state: State,
) -> TrainingRead:
    """Returns a training. With `Prefer: wait=N`, waits for its end."""
    _, training = await _training(name, number)
    return await _ended(training, name, request, response, state)


@router.get("/{name}/trainings/{number}/wrong", summary="List wrong answers of a version", responses=_RESPONSES)
async def list_wrong_answers(
    name: CustomModelName,
    number: Annotated[int, Path(gt=0, le=MAX_ID, description="ID of the training.")],
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Maximum number of examples.")] = PAGE,
) -> list[WrongAnswer]:
    """Returns the examples that cross-validation answered with another label, the most confident ones first."""
    _, training = await _training(name, number)
    return (await wrong_answers_of(training.id))[:limit]


@router.get("/{name}/trainings/{number}/deliveries", summary="List a training's webhooks", responses=_RESPONSES)
async def list_training_deliveries(
    name: CustomModelName,
    number: Annotated[int, Path(gt=0, le=MAX_ID, description="ID of the training.")],
    caller: CurrentCaller,
) -> list[DeliveryRead]:
    """Lists the training's webhooks and the state of their delivery.

    Only the key that requested the training sees their full URLs, which may contain secrets.
    """
    _, training = await _training(name, number)
    deliveries = [DeliveryRead.model_validate(row) for row in await webhook_deliveries.list_for_training(training.id)]
    if training.key_id != caller.key_id:
        for delivery in deliveries:
            delivery.url = origin_of(delivery.url)
    return deliveries


@router.put(
    "/{name}/version",
    summary="Choose the version that is served",
    response_model=CustomModelRead,
    responses={**_RESPONSES, **problem_responses(HTTPStatus.CONFLICT), **NOT_READABLE},
)
async def serve_version(
    name: CustomModelName, choice: VersionChoice, state: State, caller: CurrentCaller
) -> CustomModelRead | Response:
    """Serves another version, such as an earlier one. Earlier predictions keep their answers."""
    await check_base(name, choice.version, state)
    await custom_models.serve(name, choice.version, caller)
    await state.custom.refresh()
    return await _read(name) if caller.may(Scope.READ) else no_content()


async def _ended(training: Training, name: str, request: Request, response: Response, state: AppState) -> TrainingRead:
    """The training after its end, or after the client's wait."""
    wait = wait_seconds(request, state.settings.max_wait_seconds)
    if wait is not None:
        training = await state.notifications.wait_until_trained(training.id, wait)
        response.headers["Preference-Applied"] = f"wait={wait}"
    if training.status in FINISHED:
        # A worker may have trained it; its version is used from now on.
        await state.custom.refresh()
    return TrainingRead.from_row(training, name, (await custom_models.get(name)).training_id)


async def check_base(name: str, number: int, state: AppState) -> None:
    """Raises VersionUnusable if a version was trained on another version of the base model than the present one."""
    model = await custom_models.get(name)
    trained_on = await trainings.base_version_of(model.id, number)
    with suppress(ModelUnknown, NoWorkerYet):
        if trained_on not in {None, (await state.dispatch.image_model(model.base)).version}:
            raise VersionUnusable(
                f"Version {number} was trained on another version of {model.base}: train the model again."
            )


async def wrong_answers_of(training_id: int) -> list[WrongAnswer]:
    """Examples that cross-validation answered with another label, the most confident ones first.

    Those whose predictions were deleted are left out. Raises TrainingNotFound.
    """
    answers = await trainings.answers_of(training_id)
    wrong = [WrongAnswer(**answer) for answer in answers if answer["answer"] != answer["label"]]
    deleted = await predictions.missing([answer.prediction_id for answer in wrong])
    wrong = [answer for answer in wrong if answer.prediction_id not in deleted]
    return sorted(wrong, key=lambda answer: -answer.confidence)


async def _base(state: AppState, name: str) -> str:
    if name and await state.custom.look_up(name):
        raise validation_error("base_invalid", "base", "A custom model cannot be the base of another one", name)
    try:
        return (await state.dispatch.image_model(name)).name
    except ModelUnknown as error:
        raise validation_error(error.code, "base", error.message, name) from error


async def _read(name: str) -> CustomModelRead:
    model = await custom_models.get(name)
    counts, active, new = await asyncio.gather(
        examples.counts(model.id), trainings.active(model.id), examples.count_since_training(model.id)
    )
    served = await trainings.get(model.training_id) if model.training_id else None
    numbers = {(count["label"], count["use"]): count["count"] for count in counts}
    return CustomModelRead(
        name=model.name,
        base=model.base,
        labels=[
            LabelCount(label=label, learn=numbers.get((label, Use.LEARN), 0), check=numbers.get((label, Use.CHECK), 0))
            for label in model.labels
        ],
        version=served.number if served else None,
        model_version=version_name(served.number or 0, served.head_sha256 or "") if served else None,
        retrain_after=model.retrain_after,
        new_examples=new,
        training=active.id if active else None,
        created_at=model.created_at,
        created_by=model.who,
    )


async def _training(name: str, number: int) -> tuple[CustomModel, Training]:
    # One after the other, so that an unknown model is always reported as that.
    model, training = await custom_models.get(name), await trainings.get(number)
    if training.model_id != model.id:  # type: ignore[attr-defined]
        raise TrainingNotFound
    return model, training
