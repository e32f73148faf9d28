"""Filters of lists, which routes share: their parameters, and what words and categories mean."""

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Query

from app.api.deps import AppState, State
from app.api.params import Time
from app.classifier.names.catalog import LabelCatalog
from app.classifier.names.imagenet import imagenet_catalog
from app.db.crud.search import Filters, Reviewed, words_of
from app.domain import Decision, Status
from app.models.pydantic import StorableStr


async def _filters(
    state: State,
    status: Annotated[Status | None, Query(description="Only predictions with this status.")] = None,
    model: Annotated[StorableStr, Query(description="Only predictions of this model.")] = "",
    label: Annotated[
        StorableStr, Query(description="Only predictions with exactly this top label; a space also stands for `_`.")
    ] = "",
    min_confidence: Annotated[
        float | None, Query(ge=0, le=1, description="Only predictions with at least this confidence.")
    ] = None,
    max_confidence: Annotated[
        float | None, Query(ge=0, le=1, description="Only predictions with at most this confidence.")
    ] = None,
    q: Annotated[
        StorableStr,
        Query(
            description="Only predictions that match all of these words: each as a word, or the beginning of one, of "
            "the label or file name, or as a name, synonym or category of the label in any language."
        ),
    ] = "",
    reviewed: Annotated[
        Reviewed | None,
        Query(description="Only predictions that people have reviewed, or not, or confirmed or corrected."),
    ] = None,
    created_from: Annotated[
        Time | None, Query(description="Only predictions of this time or later, such as `2026-11-27T08:00:00Z`.")
    ] = None,
    created_before: Annotated[Time | None, Query(description="Only predictions earlier than this time.")] = None,
    decision: Annotated[
        Decision | None, Query(description="Only predictions that the model is sure of, or not.")
    ] = None,
    category: Annotated[
        StorableStr,
        Query(
            description="Only predictions whose top label belongs to this category, such as `dog`, by its name in any "
            "language."
        ),
    ] = "",
) -> Filters:
    plain = Filters(status, model, label, min_confidence, max_confidence, q, reviewed=reviewed)
    return with_meanings(
        replace(plain, created_from=created_from, created_before=created_before, decision=decision), state, category
    )


Filtered = Annotated[Filters, Depends(_filters)]


def with_meanings(filters: Filters, state: AppState, category: str = "") -> Filters:
    """The filters with the labels that their words mean, and those of a category."""
    catalogs = catalogs_of(state)
    if category:
        concerned = _catalogs_of_model(filters.model, state) or catalogs
        named = ((catalog, catalog.category_named(category)) for catalog in concerned)
        members = {label for catalog, name in named if name for label in catalog.labels_in(name)}
        filters = replace(filters, labels=tuple(sorted(members)))
    if synonyms := {label for catalog in catalogs if (label := catalog.label_named(filters.label))} - {filters.label}:
        filters = replace(filters, label="").within((filters.label, *sorted(synonyms)))
    # The whole name of a category, or else each word by itself.
    for parts in ([filters.words], words_of(filters.words)):
        meanings = [(part, _labels_for(part, catalogs)) for part in parts]
        if any(labels for _, labels in meanings):
            return replace(filters, meanings=tuple(meanings))
    return filters


def _labels_for(text: str, catalogs: list[LabelCatalog]) -> tuple[str, ...]:
    return tuple(sorted({label for catalog in catalogs for label in catalog.labels_for(text)}))


def _catalogs_of_model(name: str, state: AppState) -> list[LabelCatalog]:
    """That of a model; empty if it is unknown, or elsewhere."""
    if custom := state.custom.find(name):
        return [state.custom.catalog(custom)]
    return [model.catalog for model in state.registry.models if model.name == name]


def catalogs_of(state: AppState) -> list[LabelCatalog]:
    """Those of all models, each once; ImageNet's if the models are elsewhere."""
    found = list({id(model.catalog): model.catalog for model in state.registry.models}.values())
    return (found or [imagenet_catalog()]) + state.custom.catalogs()


async def catalog_of(name: str, state: AppState) -> LabelCatalog:
    """Names and categories of a model's labels, also of a custom model. Raises ModelUnknown."""
    if state.custom.find(name) and (custom := await state.custom.look_up(name)):
        return state.custom.catalog(custom)
    return (await asyncio.to_thread(state.registry.get, name)).catalog
