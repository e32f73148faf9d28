"""Reviews, and what custom models learn from them."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from app.db.crud import custom_models, examples, reviews
from app.db.crud.examples import NewExample
from app.db.crud.reviews import Selection
from app.db.transactions import transaction
from app.domain import (
    OTHER,
    Caller,
    ExampleContradicts,
    LabelUnknown,
    ModelUnknown,
    PredictionNotFound,
    ServiceError,
    Use,
    Verdict,
)
from app.models.pydantic_custom import checked_label
from app.models.tortoise import CustomModel, Prediction
from app.observability import metrics
from app.worker.custom_models import CustomModels, retrain_if_due


@dataclass(frozen=True, slots=True)
class ReviewOutcome:
    """What was reviewed, and why some of it became no example of its custom model, by ID of the prediction."""

    predictions: list[Prediction]
    not_learned: dict[int, ServiceError]


async def correct_and_learn(
    prediction_id: int, label: str, confidence: float, actor: Caller, custom: CustomModels, *, new_label: bool
) -> Prediction:
    """Set a person's label and confidence for one prediction; custom models learn from it as in ``review_and_learn``.

    Raises PredictionNotFound, LabelUnknown or DatabaseUnavailable.
    """
    reviewed = await review_and_learn(
        Selection([prediction_id]), label, actor, custom, confidence=confidence, new_label=new_label
    )
    if not reviewed.predictions:
        raise PredictionNotFound
    return reviewed.predictions[0]


async def review_and_learn(
    selection: Selection,
    label: str | None,
    actor: Caller,
    custom: CustomModels,
    *,
    confidence: float | None = None,
    new_label: bool = False,
    is_sampled: bool = False,
) -> ReviewOutcome:
    """Set a person's label, or confirm the models' own, in one transaction.

    A prediction of a custom model becomes an example of it, if the model has that label. Examples of other models that
    it is already follow the label, if these have it. ``new_label``: the prediction's model gets the label if it lacks
    it. ``confidence`` and ``is_sampled``: as in ``reviews.review``.
    Raises LabelUnknown if a model has too many labels, or DatabaseUnavailable.
    """
    label = label and _checked(label, new_label=new_label)
    learned: list[CustomModel] = []
    not_learned: dict[int, ServiceError] = {}
    async with transaction():
        reviewed = await reviews.review(selection, label, actor, confidence=confidence, is_sampled=is_sampled)
        by_model = defaultdict(set)
        for prediction in reviewed:
            if custom.find(prediction.model):
                by_model[prediction.model].add(prediction.id)
        for name, number in await examples.models_of([prediction.id for prediction in reviewed]):
            by_model[name].add(number)
        # In the same order everywhere, because models are locked.
        for name, numbers in sorted(by_model.items()):
            try:
                model = await custom_models.get(name)
            except ModelUnknown:
                # Deleted since this process has heard of it.
                continue
            concerned = [prediction for prediction in reviewed if prediction.id in numbers]
            if new_label and label and label != OTHER and any(one.model == name for one in concerned):
                model.labels = await custom_models.add_labels(model.id, [label])
            not_learned |= await _learn(model, concerned, actor)
            learned.append(model)
    for prediction in reviewed:
        metrics.REVIEWS.labels(prediction.model, prediction.verdict).inc()
        if prediction.verdict == Verdict.CORRECTED:
            metrics.CORRECTIONS.labels(prediction.model).inc()
    for model in learned:
        await retrain_if_due(model, actor)
    return ReviewOutcome(reviewed, not_learned)


def _checked(label: str, *, new_label: bool) -> str:
    """The label as it is stored; a new one must be possible for a model. Raises LabelUnknown."""
    if unicodedata.normalize("NFKC", label).casefold() == OTHER:
        return OTHER
    if not new_label:
        return label
    try:
        return checked_label(label)
    except ValueError as error:
        raise LabelUnknown(str(error)) from error


async def _learn(model: CustomModel, reviewed: Sequence[Prediction], actor: Caller) -> dict[int, ServiceError]:
    """Make predictions examples; returns why some of them are none, by ID."""
    uses = await examples.uses_of(model.id, [prediction.id for prediction in reviewed])
    labels = set(model.labels)
    known = [prediction for prediction in reviewed if prediction.top_prediction in labels]
    # If the same image is an example of another label already, that one stays: a person has to decide.
    new = [
        NewExample(prediction.id, str(prediction.top_prediction), uses.get(prediction.id, Use.LEARN))
        for prediction in known
    ]
    results = await examples.put_all(model.id, new, actor, from_review=True)
    not_learned: dict[int, ServiceError] = {
        one.prediction_id: result
        for one, result in zip(new, results, strict=True)
        if isinstance(result, ExampleContradicts)
    }
    # Of other models, a label that they lack says nothing.
    unknown = [one for one in reviewed if one.model == model.name and one.top_prediction not in labels]
    # Their labels were wrong.
    await examples.delete_all(model.id, sorted(uses.keys() & {prediction.id for prediction in unknown}))
    for prediction in unknown:
        if prediction.top_prediction != OTHER:
            not_learned[prediction.id] = LabelUnknown(
                f"The model {model.name!r} has no label {prediction.top_prediction!r}: the image is no example of it."
            )
    return not_learned
