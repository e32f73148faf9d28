"""The cookie of people who signed in on the pages."""

from typing import Final

from starlette.requests import Request

from app.db.crud import installation

PREFIX: Final = "image_classifier_"
ID_CHARACTERS: Final = 12


class SessionCookie:
    """The session cookie. Its name has the installation's ID, because browsers send cookies to all ports of a host."""

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
    # Starlette's parser skips the unusual cookies of other services; that of the standard library gives up.
    return {name: value for name, value in request.cookies.items() if name.startswith(PREFIX)}
