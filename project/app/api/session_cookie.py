"""The cookie of people who signed in on the pages."""

from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.requests import Request

from app.db.crud import installation

PREFIX: Final = "image_classifier_"
ID_CHARACTERS: Final = 12


class SessionCookie:
    """The cookie of one installation: browsers send cookies to all ports of a host, and each may be another service."""

    def __init__(self) -> None:
        self._name = ""

    async def name(self) -> str:
        """The cookie's name. Raises DatabaseUnavailable."""
        if not self._name:
            self._name = PREFIX + (await installation.database_id()).replace("-", "")[:ID_CHARACTERS]
        return self._name

    async def token(self, request: Request) -> str:
        """The token that a request sends, or an empty string. Raises DatabaseUnavailable."""
        cookies = _cookies(request)
        return cookies.get(await self.name(), "") if cookies else ""

    def may_be_signed_in(self, request: Request) -> bool:
        """Whether a request sends a session's token, of this installation or another; needs no database."""
        return bool(_cookies(request))


def _cookies(request: Request) -> dict[str, str]:
    try:
        cookies = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: cookie.value for name, cookie in cookies.items() if name.startswith(PREFIX)}
