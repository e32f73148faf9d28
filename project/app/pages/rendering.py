"""Renders templates and sets the headers of pages."""

from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app import __version__
from app.api.deps import AppState
from app.api.filters import catalogs_of
from app.classifier.names.catalog import LabelCatalog
from app.domain import ANYBODY, Decision, Scope
from app.models.pydantic import CategoryConfidence, PredictionRead
from app.pages.translation import PARAMETER, language_names, language_of, script_texts, translated_message, translations

FOLDER: Final = Path(__file__).parent
# No external resources, no inline scripts, no embedding in other sites' frames.
POLICY: Final = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Pages show the current state.
    "Cache-Control": "no-store",
}
THEME: Final = "theme"
"""Cookie with the theme that a person chose; without it, the system's."""
THEMES: Final = ("light", "dark")
COOKIE_SECONDS: Final = 365 * 86_400
_KIB: Final = 1024
CATEGORY_CERTAIN: Final = 0.8
"""Confidence from which pages show a category where the label is unsure. page.js has the same."""


def local_path(path: str) -> str:
    """A path that a client names as a link target, only if it leads to this service; otherwise empty."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else ""


def _percent(value: float) -> str:
    if 0 < value < 0.001:  # noqa: PLR2004 - less than a digit
        return f"{100 * value:.2g} %"
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.1f} %"  # noqa: PLR2004 - one digit more


_CATALOGS: ContextVar[Sequence[LabelCatalog]] = ContextVar("catalogs", default=())
"""Those of the service that renders a page."""


def name_of(label: str, language: str, catalogs: Sequence[LabelCatalog]) -> str:
    """What people call a label: its name, or else "tiger cat" for ``tiger_cat``."""
    names = (catalog.name_of(label, language) for catalog in catalogs)
    return next((name for name in names if name), label.replace("_", " "))


def category_name(category: str, language: str, catalogs: Sequence[LabelCatalog]) -> str:
    """What people call a category."""
    names = (one.category_name(category, language) for one in catalogs if category in one.categories)
    return next(names, category)


def _answer(prediction: PredictionRead) -> CategoryConfidence | None:
    """The narrowest category that is certain, where the label is not; None for other results."""
    if prediction.verdict or prediction.corrected_at or prediction.decision is not Decision.UNSURE:
        return None
    certain = [one for one in prediction.categories or () if one.confidence >= CATEGORY_CERTAIN]
    # Categories within each other have falling confidences, and two others cannot both be certain.
    return min(certain, key=lambda one: one.confidence, default=None)


def _size(count: int) -> str:
    if count < _KIB:
        return f"{count} bytes"
    return f"{count / _KIB:.0f} KiB" if count < _KIB**2 else f"{count / _KIB**2:.1f} MiB"


def _time(value: datetime) -> Markup:
    """A time in UTC; scripts show the local one."""
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S} UTC</time>').format(utc.isoformat(), utc)


def format_number(value: int) -> str:
    """With thin spaces between thousands, which is right in every language (ISO 80000-1)."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _stem(name: str) -> str:
    return Path(name).stem


def format_seconds(value: float) -> str:
    """A duration for people."""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= 2 * seconds:
            return f"{value / seconds:.0f} {unit}"
    return f"{value:.1f} s"


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        answer=_answer,
        category=lambda category: category_name(category, language, _CATALOGS.get()),
        words=lambda label: name_of(label, language, _CATALOGS.get()),
        message=lambda text: translated_message(text, language),
        percent=_percent,
        size=_size,
        time=_time,
        seconds=format_seconds,
        number=format_number,
        stem=_stem,
    )
    environment.globals.update(
        version=__version__, language=language, languages=language_names(), script_texts=dict(script_texts(language))
    )
    texts = translations(language)
    environment.install_gettext_callables(texts.gettext, texts.ngettext, newstyle=True)  # type: ignore[attr-defined]
    return environment


def page(
    request: Request, template: str, *, status: HTTPStatus = HTTPStatus.OK, navigation: bool = True, **values: Any
) -> Response:
    """A rendered template as a response, in the language of the request.

    Templates get ``root``, the prefix of all the service's paths; ``here``, the path without it; and what the caller
    ``may`` do.
    """
    root = request.scope.get("root_path", "")
    caller = getattr(request.state, "caller", ANYBODY)
    language, theme = language_of(request), request.cookies.get(THEME, "")
    common: dict[str, Any] = {
        "root": root,
        "here": request.url.path.removeprefix(root).rstrip("/") or "/",
        "navigation": navigation,
        "signed_in": caller.name if caller.key_id is not None else "",
        "may": {
            "upload": caller.may(Scope.UPLOAD) or caller.may(Scope.WRITE),
            "write": caller.may(Scope.WRITE),
            "admin": caller.may(Scope.ADMIN),
        },
        "theme": theme if theme in THEMES else "",
        "with_language": lambda code: urlencode(
            [
                *((name, value) for name, value in request.query_params.multi_items() if name != PARAMETER),
                (PARAMETER, code),
            ]
        ),
    }
    state = getattr(request.state, "app_state", None)
    _CATALOGS.set(catalogs_of(state) if isinstance(state, AppState) else ())
    text = _environment(language).get_template(template).render(common | values)
    response = Response(text, status, HEADERS, "text/html; charset=utf-8")
    if PARAMETER in request.query_params and request.cookies.get(PARAMETER) != language:
        response.set_cookie(PARAMETER, language, max_age=COOKIE_SECONDS, path=root or "/", samesite="lax")
    return response


def redirect(request: Request, path: str) -> Response:
    """A redirection to another page after a form was handled."""
    return RedirectResponse(request.scope.get("root_path", "") + path, HTTPStatus.SEE_OTHER)


def add_static_files(app: FastAPI) -> None:
    """Serve the style sheet, the script and the icon."""
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
