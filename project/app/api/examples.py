"""Routes of the examples of custom models."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import CurrentCaller, State
from app.api.early_response import EarlyResponse
from app.api.errors import problem_responses
from app.api.example_body import receive_examples
from app.api.middleware.trailing_slash import refuse_other_methods
from app.api.params import CustomModelName, Id, decode_cursor, encode_cursor
from app.api.upload_response import NOT_READABLE, no_content
from app.db.crud import custom_models, examples
from app.db.crud.examples import NewExample
from app.db.transactions import transaction
from app.domain import ExampleNotFound, LabelUnknown, Scope, Use
from app.models.pydantic import StorableStr
from app.models.pydantic_custom import ExampleBatch, ExampleRead, ExampleWrite
from app.worker.custom_models import retrain_if_due

router = APIRouter(prefix="/models", tags=["custom models"], strict_content_type=False)
# Before the routes of an ID, which "batch" is not.
refuse_other_methods(router, "/{name}/examples/batch", "POST")

PAGE: Final = 100
MAX_PAGE: Final = 1_000
_RESPONSES: Final = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


@router.get("/{name}/examples", summary="List a model's examples, newest first", responses=_RESPONSES)
async def list_examples(
    name: CustomModelName,
    request: Request,
    response: Response,
    label: Annotated[StorableStr | None, Query(description="Only examples of this label.")] = None,
    use: Annotated[Use | None, Query(description="Only examples with this use.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Maximum number of examples.")] = PAGE,
    cursor: Annotated[str | None, Query(description="Cursor from the `Link` header of the previous page.")] = None,
) -> list[ExampleRead]:
    """Returns a page of examples. The `Link` header with `rel="next"` leads to the next page, if there is one."""
    model = await custom_models.get(name)
    rows = await examples.page(model.id, limit + 1, decode_cursor(cursor), label, use)
    if len(rows) > limit:
        rows.pop()
        following = request.url.include_query_params(cursor=encode_cursor((rows[-1].id,)))
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return [ExampleRead.from_row(row) for row in rows]


@router.put(
    "/{name}/examples/{id}",
    summary="Add or change an example",
    response_model=ExampleRead,
    responses={
        **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
        **NOT_READABLE,
    },
)
async def put_example(
    name: CustomModelName, id: Id, wanted: ExampleWrite, caller: CurrentCaller
) -> ExampleRead | Response:
    """Makes the image of a prediction an example. Each image, by its content, is one example of a model.

    With `new_label`, a label that the model does not have is added to it.
    """
    model = await custom_models.get(name)
    if wanted.label not in model.labels and not wanted.new_label:
        raise LabelUnknown(f"The model {name!r} has no label {wanted.label!r}. Send new_label=true to add it.")
    async with transaction():
        (result,) = await examples.put_all(model.id, [NewExample(id, wanted.label, wanted.use)], caller)
        if isinstance(result, Exception):
            raise result
        await custom_models.add_labels(model.id, [wanted.label])
    await retrain_if_due(model, caller)
    return ExampleRead.from_row(result) if caller.may(Scope.READ) else no_content()


@router.delete(
    "/{name}/examples/{id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Delete an example",
    responses=_RESPONSES,
)
async def delete_example(name: CustomModelName, id: Id) -> None:
    """Removes a prediction from the examples; the prediction and its image stay."""
    if not await examples.delete_all((await custom_models.get(name)).id, [id]):
        raise ExampleNotFound


@router.post(
    "/{name}/examples/batch",
    response_model=ExampleBatch,
    summary="Add many examples",
    response_description="The outcome for each file.",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    | NOT_READABLE,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/zip": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "title": "ExampleBatchUpload",
                        "properties": {
                            "file": {
                                "type": "array",
                                "items": {"type": "string", "format": "binary"},
                                "description": "Images named `label/file.jpg`, or ZIP files of such folders.",
                            },
                            "label": {
                                "type": "string",
                                "default": "",
                                "description": "Label of the files that follow this field and are in no folder.",
                            },
                        },
                    }
                },
            },
        }
    },
)
async def add_examples(name: CustomModelName, request: Request, state: State, caller: CurrentCaller) -> Response:
    """Uploads images in folders, whose names are their labels, and makes them examples. New labels are added.

    Below a folder named `check`, `test` or `val`, images are only for checks: `val/ant/1.jpg`.
    """
    batch = await receive_examples(await custom_models.get(name), request, state, caller)
    response = Response(batch.model_dump_json(), media_type="application/json")
    if not caller.may(Scope.READ):
        response = no_content()
    return EarlyResponse.of(response) if batch.error else response
