"""A bare Starlette endpoint: reads the form that all contenders read, and classifies nothing."""

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def receive(request: Request) -> Response:
    """The number of bytes of the file."""
    async with request.form() as form:
        file = form["file"]
        assert isinstance(file, UploadFile)
        return JSONResponse({"top_prediction": f"{len(await file.read())} bytes"})


app = Starlette(routes=[Route("/predict", receive, methods=["POST"])])
