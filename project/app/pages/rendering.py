"""Renders templates and sets the headers of pages."""

from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app import __version__
from app.domain import ANYBODY

FOLDER: Final = Path(__file__).parent
# No external resources, no inline scripts, no embedding in other sites' frames.
POLICY: Final = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Pages show the current state.
    "Cache-Control": "no-store",
}
_KIB: Final = 1024


def local_path(path: str) -> str:
    """A path that a client names as a link target, only if it leads to this service; otherwise empty."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else ""


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.1f} %"  # noqa: PLR2004 - one digit more


def _words(label: str) -> str:
    """A label as people write it: ``tiger_cat`` becomes "tiger cat"."""
    return label.replace("_", " ")


def to_model_label(text: str) -> str:
    """The model's spelling of a label: ``tiger_cat`` for "tiger cat"."""
    return text.strip().replace(" ", "_")


def _size(count: int) -> str:
    if count < _KIB:
        return f"{count} bytes"
    return f"{count / _KIB:.0f} KiB" if count < _KIB**2 else f"{count / _KIB**2:.1f} MiB"


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, words=_words, size=_size, time=_time, seconds=_seconds)
    environment.globals["version"] = __version__
    return environment


def page(request: Request, template: str, *, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Response:
    """A rendered template as a response; ``root`` is the prefix of all the service's paths."""
    root = request.scope.get("root_path", "")
    caller = getattr(request.state, "caller", ANYBODY)
    signed_in = caller.name if caller.key_id is not None else ""
    text = _environment().get_template(template).render(root=root, path=request.url.path, signed_in=signed_in, **values)
    return Response(text, status, HEADERS, "text/html; charset=utf-8")


def redirect(request: Request, path: str) -> Response:
    """A redirection to another page after a form was handled."""
    return RedirectResponse(request.scope.get("root_path", "") + path, HTTPStatus.SEE_OTHER)


def add_static_files(app: FastAPI) -> None:
    """Serve the style sheet, the script and the icon."""
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
