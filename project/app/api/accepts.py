"""What kind of answer a client prefers."""

from starlette.requests import Request


def wants_html(request: Request) -> bool:
    """Whether a client prefers HTML to JSON: browsers list HTML first, programs list neither."""
    accepted = request.headers.get("accept", "")
    html, json = accepted.find("text/html"), accepted.find("application/json")
    return html >= 0 and (json < 0 or html < json)
