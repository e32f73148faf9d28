"""Routes that compare a second model with the default one on a share of the uploads."""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter

from app.api.deps import AppState, CurrentCaller, State
from app.api.errors import problem_responses
from app.api.upload_body import image_model, validation_error
from app.classifier.heads.metrics import DIGITS
from app.classifier.intervals import difference, mcnemar
from app.db.crud import shadows
from app.db.crud.shadows import Paired
from app.domain import NoWorkerYet
from app.models.pydantic_shadow import DifferentLabels, PairedResults, ShadowRead, ShadowStart

router = APIRouter(prefix="/shadow", tags=["models"], strict_content_type=False)

_RESPONSES: Final = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


@router.get("", summary="Read how a second model compares", responses=_RESPONSES)
async def read_shadow(state: State) -> ShadowRead:
    """Returns the comparison that runs, or else the last one: how often both models say the same, and who is right."""
    report = await shadows.report()
    return ShadowRead(
        model=report.model,
        model_version=report.model_version,
        share=report.share,
        running=report.ended_at is None,
        paused=report.ended_at is None and await _is_default(report.model, state),
        started_at=report.started_at,
        ended_at=report.ended_at,
        started_by=report.who,
        default_model=report.default_model,
        default_version=report.default_version,
        compared=report.compared,
        same=report.same,
        failed=report.failed,
        all=_paired(report.all),
        sample=_paired(report.sample),
        different=[
            DifferentLabels(default_label=default, shadow_label=shadow, count=count)
            for default, shadow, count in report.different
        ],
    )


@router.put(
    "",
    summary="Compare a second model with the default one",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def start_shadow(wanted: ShadowStart, state: State, caller: CurrentCaller) -> ShadowRead:
    """Classifies a share of the uploads with a second model as well, from now on and in place of another comparison.

    That happens while nothing else wants the processor, and delays no upload. Predictions keep the default model's
    results. Promote the second model with `PUT /models/default`.
    """
    await _check_shadow(wanted.model, state)
    await shadows.start(wanted.model, wanted.share, caller)
    await state.model_settings.refresh()
    return await read_shadow(state)


@router.delete("", status_code=HTTPStatus.NO_CONTENT, summary="End the comparison", responses=_RESPONSES)
async def end_shadow(state: State, caller: CurrentCaller) -> None:
    """Ends the comparison; its results stay."""
    await shadows.end(caller)
    await state.model_settings.refresh()


async def _check_shadow(name: str, state: AppState) -> None:
    """Raise a validation error if a model cannot be compared with the default one."""
    await image_model(state.dispatch, name)
    if name == (await image_model(state.dispatch, "")).name:
        raise validation_error("model_is_default", "model", "The model is the default: choose another one", name)


async def _is_default(name: str, state: AppState) -> bool:
    with suppress(NoWorkerYet):
        return name == (await state.dispatch.image_model("")).name
    return False


def _paired(pairs: Paired) -> PairedResults:
    share, low, high = difference(pairs.reviewed, pairs.only_default, pairs.only_shadow)
    known = pairs.reviewed > 0
    return PairedResults(
        reviewed=pairs.reviewed,
        both_right=pairs.both,
        only_default_right=pairs.only_default,
        only_shadow_right=pairs.only_shadow,
        both_wrong=pairs.reviewed - pairs.both - pairs.only_default - pairs.only_shadow,
        difference=round(share, DIGITS) if known else None,
        interval=[round(low, DIGITS), round(high, DIGITS)] if known else None,
        p_value=float(f"{mcnemar(pairs.only_default, pairs.only_shadow):.{DIGITS}g}") if known else None,
    )
