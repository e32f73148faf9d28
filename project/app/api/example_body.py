"""Receives images with their labels, and makes them examples of a custom model."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Final

from fastapi import Request
from starlette.exceptions import HTTPException

from app.api.batch_body import NO_IMAGES, BatchBody, NamedFile
from app.api.batch_uploads import describe_rejection, receive_batch, status_of_rejection
from app.api.deps import AppState
from app.db.crud import custom_models, examples
from app.db.crud.examples import NewExample
from app.domain import MAX_LABELS, Caller, ServiceError, Use
from app.models.pydantic import BatchItem, PredictionError
from app.models.pydantic_custom import ExampleBatch, ExampleOutcome, ExampleRead, checked_label
from app.models.tortoise import CustomModel
from app.worker.custom_models import retrain_if_due

CHECK_FOLDERS: Final = frozenset({"check", "test", "val", "valid", "validation"})
"""Folders above the labels whose images a model never learns from, as data sets name them."""


async def receive_examples(model: CustomModel, request: Request, state: AppState, caller: Caller) -> ExampleBatch:
    """Receive a batch of images and make them examples. Raises what rejects the batch before its first image."""
    state.backlog.check()
    body = _LabelledBody(request, state)
    # Classified by the base: the custom model may have no version yet.
    await body.set_field("model", model.base)
    items, error = await receive_batch(body, state)
    if not items and not error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, NO_IMAGES)
    outcomes = await _make_examples(model, items, body.names, caller)
    await retrain_if_due(model, caller)
    accepted = sum(outcome.example is not None for outcome in outcomes)
    return ExampleBatch(accepted=accepted, refused=len(outcomes) - accepted, items=outcomes, error=error)


class _LabelledBody(BatchBody):
    """A batch whose form may name the label of files that are in no folder."""

    def __init__(self, request: Request, state: AppState) -> None:
        super().__init__(request, state)
        self._label = ""
        self.names: list[str] = []
        """Names of the files so far, with their folders."""

    async def set_field(self, name: str, value: str) -> None:
        """Set the label of the files that follow, or the model."""
        if name == "label":
            self._label = value.strip()
        elif name == "model":
            await super().set_field(name, value)

    async def __aiter__(self) -> AsyncIterator[NamedFile]:
        """As in BatchBody, with the label as the folder of files that have none."""
        async with aclosing(self._files()) as files:
            async for filename, data in files:
                name = (filename or "").replace("\\", "/")
                if self._label and "/" not in name:
                    name = f"{self._label.replace('/', ' ')}/{name}"
                self.names.append(name)
                yield name, data


async def _make_examples(
    model: CustomModel, items: list[BatchItem], names: list[str], caller: Caller
) -> list[ExampleOutcome]:
    """Make the accepted images of a batch examples; those that cannot be are described."""
    outcomes: dict[int, ExampleOutcome] = {}
    new: dict[int, NewExample] = {}
    labels = dict.fromkeys(model.labels)
    for item in items:
        outcome = ExampleOutcome(number=item.number, filename=item.filename, status=item.status, error=item.error)
        outcomes[item.number] = outcome
        if item.prediction is None:
            continue
        try:
            # The name of the prediction may be shortened.
            label, use = _label_of(names[item.number - 1])
            labels[label] = None
            if len(labels) > MAX_LABELS:
                del labels[label]
                raise ValueError(f"A model has at most {MAX_LABELS} labels.")
        except ValueError as error:
            outcome.status = HTTPStatus.UNPROCESSABLE_ENTITY
            outcome.error = PredictionError(code="label_invalid", message=str(error))
        else:
            new[item.number] = NewExample(item.prediction.id, label, use)
    results = await examples.put_all(model.id, list(new.values()), caller)
    for number, result in zip(new, results, strict=True):
        outcome = outcomes[number]
        if isinstance(result, ServiceError):
            outcome.status, outcome.error = status_of_rejection(result), describe_rejection(result)
        elif not isinstance(result, Exception):
            outcome.example = ExampleRead.from_row(result)
    # Afterwards, so that labels of refused files are not added.
    added = dict.fromkeys(outcome.example.label for outcome in outcomes.values() if outcome.example)
    await custom_models.add_labels(model.id, list(added))
    return list(outcomes.values())


def _label_of(filename: str) -> tuple[str, Use]:
    """The label of a file, which is its folder's name, and what it is used for. Raises ValueError."""
    *above, label = PurePosixPath(filename).parent.parts or ("",)
    if label in {"", ".", "..", "/"}:
        raise ValueError("The file is not in a folder. Name it label/file.jpg, such as ant/1.jpg.")
    use = Use.CHECK if any(folder.lower() in CHECK_FOLDERS for folder in above) else Use.LEARN
    return checked_label(label), use
