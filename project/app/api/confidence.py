"""Routes for the confidences of models: how often these are right, and from which on results are sure."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from app.api.deps import AppState, CurrentCaller, State
from app.api.errors import problem_responses
from app.api.filters import catalog_of
from app.classifier.confidence import (
    Threshold,
    calibrate_all,
    calibration_error,
    fit_temperature,
    missing_reviews,
    reliability,
    threshold_for,
)
from app.classifier.heads.metrics import DIGITS
from app.classifier.intervals import wilson_interval
from app.classifier.manifest import ImageManifest
from app.db.crud import accuracy, calibrations, decision_thresholds
from app.db.crud.calibrations import ReviewedScores
from app.domain import LabelUnknown, ModelUnknown, ReviewsMissing, Thresholds, VersionUnknown
from app.models.pydantic import StorableStr
from app.models.pydantic_confidence import CalibrationRead, ConfidenceBin, DecisionChoice, DecisionRead, ThresholdRead
from app.worker.calibrating import read_reviewed

router = APIRouter(prefix="/models", tags=["reviews"], strict_content_type=False)

PRECISION: Final = 0.95
_RESPONSES: Final = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
ModelName = Annotated[StorableStr, Path(description="Name of an image model, also of a custom one.")]


@router.get("/{name}/calibration", summary="Read a model's calibration", responses=_RESPONSES)
async def read_calibration(
    name: ModelName,
    state: State,
    version: Annotated[StorableStr, Query(description="Its version; by default the one that answers now.")] = "",
    precision: Annotated[
        float, Query(gt=0, lt=1, allow_inf_nan=False, description="Share of sure results that are to be right.")
    ] = PRECISION,
) -> CalibrationRead:
    """Returns how often the model is right at each confidence, and the threshold that a share of right results needs.

    Reviews are weighted so that they represent all predictions, although people review uncertain ones first.
    """
    version = version or await _version(name, state)
    given = await calibrations.reviewed(name, version)
    labels = 0
    for model in await state.dispatch.models():
        if model.name == name and model.labels:
            # Custom models have the label ``other`` as well.
            labels = model.labels + (model.base is not None)
    return await asyncio.to_thread(_calibration, name, version, given, labels, precision)


@router.get("/{name}/decision", summary="Read the decision thresholds of a model", responses=_RESPONSES)
async def read_decision(name: ModelName, state: State) -> DecisionRead:
    """Returns the thresholds in use: those of the model's manifest, or those that people have chosen."""
    own = await _own_thresholds(name, state)
    row = await decision_thresholds.get(name)
    if row is None or row.sure_from is None:
        sure_from, labels = (own.sure_from, dict(own.labels)) if own else (None, {})
        return DecisionRead(sure_from=sure_from, labels=labels, precision=None, source="model", who=None)
    return DecisionRead(
        sure_from=row.sure_from, labels=row.labels, precision=row.precision, source="chosen", who=row.who
    )


@router.put(
    "/{name}/decision",
    summary="Choose the decision thresholds of a model",
    responses={**_RESPONSES, **problem_responses(HTTPStatus.CONFLICT)},
)
async def choose_decision(name: ModelName, choice: DecisionChoice, state: State, caller: CurrentCaller) -> DecisionRead:
    """Uses a threshold for the model's results from now on; earlier results stay as they are.

    With `precision`, the threshold is chosen from reviews of the version that answers now. The choice is kept in the
    database and in the audit log. Other processes follow within 2 s.
    """
    await _own_thresholds(name, state)
    if choice.labels:
        await _check_labels(name, choice.labels, state)
    sure_from = choice.sure_from
    if choice.precision is not None:
        sure_from = await _chosen_from_reviews(name, choice.precision, state)
    thresholds = Thresholds(sure_from, choice.labels) if sure_from is not None else None
    await decision_thresholds.choose(name, thresholds, choice.precision, caller)
    await state.model_settings.refresh()
    return await read_decision(name, state)


async def _chosen_from_reviews(name: str, precision: float, state: AppState) -> float:
    """Raises ReviewsMissing if there are too few, or none show such a confidence."""
    calibration = await read_calibration(name, state, precision=precision)
    if calibration.missing_reviews:
        raise ReviewsMissing(
            f"A choice from reviews needs at least {calibration.missing_reviews} more of {name!r} in its present "
            "version."
        )
    if calibration.threshold.sure_from is None:
        raise ReviewsMissing(f"Reviews show no confidence from which {precision:.1%} of the results are right.")
    return calibration.threshold.sure_from


async def _check_labels(name: str, labels: Iterable[str], state: AppState) -> None:
    """Raises LabelUnknown for one that the model does not have."""
    try:
        known = (await catalog_of(name, state)).by_label
    except ModelUnknown:
        # Only workers have the model's folder.
        return
    for label in labels:
        if label not in known:
            raise LabelUnknown(f"The model {name!r} has no label {label!r}.")


async def _version(name: str, state: AppState) -> str:
    """The version that answers now, or of a removed model the last one with reviews. Raises VersionUnknown."""
    try:
        return (await state.dispatch.image_model(name)).version
    except ModelUnknown as error:
        rows = await accuracy.by_version(name)
        if not rows:
            raise VersionUnknown(f"There is no model {name!r}, and there are no reviews of it.") from error
        return rows[0].model_version


async def _own_thresholds(name: str, state: AppState) -> Thresholds | None:
    """Those of the model's manifest; None for a custom model. Raises ModelUnknown.

    If only workers have the model's folder, without those of single labels.
    """
    await state.dispatch.image_model(name)
    try:
        manifest = (await asyncio.to_thread(state.registry.get, name)).manifest
    except ModelUnknown:
        models = await state.dispatch.models()
        sure_from = next((model.sure_from for model in models if model.name == name), None)
        return None if sure_from is None else Thresholds(sure_from, {})
    return manifest.decision.thresholds if isinstance(manifest, ImageManifest) else None


def _calibration(name: str, version: str, given: ReviewedScores, labels: int, precision: float) -> CalibrationRead:
    results = read_reviewed(given, labels)
    missing = missing_reviews(results.correct)
    temperature = calibrated = None
    if not missing and labels:
        temperature = fit_temperature(results)
        calibrated = calibrate_all(results.scores, labels, temperature)
    has_reviews = len(results.correct) > 0
    return CalibrationRead(
        model=name,
        model_version=version,
        reviews=len(results.correct),
        correct=int(results.correct.sum()),
        missing_reviews=missing,
        temperature=_rounded(temperature),
        error_before=_rounded(calibration_error(results, results.confidences)) if has_reviews else None,
        error_after=None if calibrated is None else _rounded(calibration_error(results, calibrated)),
        curve=[
            ConfidenceBin(
                low=one.low,
                high=one.high,
                reviews=one.reviews,
                confidence=_rounded(one.confidence),
                calibrated=_rounded(one.calibrated),
                accuracy=_rounded(one.accuracy),
            )
            for one in reliability(results, calibrated)
        ],
        threshold=_threshold(precision, threshold_for(results, precision)),
    )


def _threshold(wanted: float, found: Threshold | None) -> ThresholdRead:
    if found is None:
        return ThresholdRead(wanted=wanted, sure_from=None, precision=None, interval=None, reviews=0, unsure=None)
    interval = wilson_interval(found.precision * found.effective, found.effective)
    return ThresholdRead(
        wanted=wanted,
        sure_from=found.sure_from,
        precision=_rounded(found.precision),
        interval=[round(bound, DIGITS) for bound in interval],
        reviews=found.reviews,
        unsure=_rounded(1 - found.sure),
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, DIGITS)
