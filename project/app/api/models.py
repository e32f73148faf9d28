"""Routes of the model registry."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from app.api.deps import CurrentCaller, State
from app.api.errors import problem_responses
from app.api.filters import catalog_of
from app.api.middleware.trailing_slash import refuse_other_methods
from app.api.params import CustomModelName
from app.api.upload_body import image_model, validation_error
from app.classifier.names.catalog import LabelNamesFile
from app.db.crud import custom_models, installation, predictions
from app.domain import LabelUnknown
from app.models.pydantic_system import CategoryRead, DefaultModel, DefaultModelRead, Info, LabelRead, ModelRead

router = APIRouter(tags=["models"], strict_content_type=False)

INFO_IMAGES: Final = 500
ModelName = Annotated[str, Path(description="Name of a model from /models.")]


@router.get("/models", summary="List models")
async def list_models(state: State) -> list[ModelRead]:
    """Lists name, version, labels and input of each model; broken model folders come last, with the reason."""
    return await state.dispatch.models()


@router.put(
    "/models/default",
    summary="Choose the default model",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def choose_default(wanted: DefaultModel, state: State, caller: CurrentCaller) -> DefaultModelRead:
    """Makes an image model, also a custom one, the default: for promotion, and with the previous name for rollback.

    The choice is kept in the database and in the audit log. Other processes follow within 2 s.
    """
    if wanted.name is not None:
        await image_model(state.dispatch, wanted.name)
    previous = await installation.choose_default_model(wanted.name, caller)
    await state.model_settings.refresh()
    return DefaultModelRead(name=(await image_model(state.dispatch, "")).name, previous=previous)


# Otherwise, GET and DELETE would look for a custom model of this name.
refuse_other_methods(router, "/models/default", "PUT")


@router.put(
    "/models/{name}/labels",
    summary="Name a custom model's labels",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def name_labels(name: CustomModelName, wanted: LabelNamesFile, state: State, caller: CurrentCaller) -> None:
    """Gives labels names by language, synonyms and categories, in place of all given before.

    Later results have `categories`; searches, filters and the page follow at once.
    """
    model = await custom_models.get(name)
    if len({entry.label for entry in wanted.labels}) < len(wanted.labels):
        raise validation_error("labels_invalid", "labels", "Labels must be unique.", name)
    for entry in wanted.labels:
        if entry.label not in model.labels:
            raise LabelUnknown(f"The model {name!r} has no label {entry.label!r}.")
    await custom_models.name_labels(model, wanted.model_dump_json(exclude_defaults=True), caller)
    await state.custom.refresh()


@router.get(
    "/models/{name}/labels",
    summary="List a model's labels",
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
async def list_labels(
    name: ModelName,
    state: State,
    *,
    details: Annotated[
        bool, Query(description="`true`: with names for people, synonyms and categories, instead of plain texts.")
    ] = False,
) -> list[str] | list[LabelRead]:
    """Labels as they appear in predictions. With `QUEUE=pgqueuer` the web process needs the model folder for this."""
    catalog = await catalog_of(name, state)
    if not details:
        return [entry.label for entry in catalog.labels]
    return [
        LabelRead(
            label=entry.label,
            id=entry.id,
            names=entry.names,
            synonyms=entry.synonyms,
            categories=list(catalog.chain(entry.category)),
        )
        for entry in catalog.labels
    ]


@router.get(
    "/models/{name}/categories",
    summary="List a model's categories",
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
async def list_categories(name: ModelName, state: State) -> list[CategoryRead]:
    """Categories of the model's labels, as they appear in predictions; empty if they have none."""
    catalog = await catalog_of(name, state)
    return [
        CategoryRead(name=name, parent=category.parent, names=category.names, labels=sorted(catalog.labels_in(name)))
        for name, category in catalog.categories.items()
    ]


@router.get(
    "/info", summary="List names of models and images", responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE)
)
async def info(state: State) -> Info:
    """The models, and the newest 500 images that can be classified again."""
    names = [model.name for model in await state.dispatch.models() if model.status == "ok"]
    return Info(models=names, images=await predictions.recent_image_paths(INFO_IMAGES))
