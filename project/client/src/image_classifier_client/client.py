"""The client; methods with the prefix ``a`` are asynchronous."""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from image_classifier_client.attempts import Attempts
from image_classifier_client.errors import ClassifierError, PredictionFailed, Unreachable
from image_classifier_client.results import CustomModel, Example, Model, Prediction, Training

Image = str | Path | bytes
"""An image file's path, or its bytes."""

SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
)
BETWEEN_STREAMS: Final = 0.5
"""Pause before an event stream that ended too early is reopened."""
WAIT_SECONDS: Final = 10
"""How long an upload waits for the result before the client follows the prediction's events."""
WAIT: Final = {"Prefer": f"wait={WAIT_SECONDS}"}
MAX_TRAINING_SECONDS: Final = 3600.0
MAX_EXAMPLES_AT_ONCE: Final = 50
MAX_BYTES_AT_ONCE: Final = 16 * 2**20
"""Of the examples in one request."""


class Client:
    """A client of one service. Thread-safe; use it in a ``with`` or ``async with`` block."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = 60,
        retries: int = 5,
        on_delay: Callable[[str], None] | None = None,
    ) -> None:
        """``timeout``: seconds to wait for a result. ``retries``: attempts after the first.

        ``on_delay``: called with the reason, from any thread, if a request still fails after three seconds.

        Raises ValueError if ``url`` is invalid, or a variable of the environment that names proxies or certificates.
        """
        if not url.lower().startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not the address of a service: it must start with http:// or https://")
        self._timeout = timeout
        self._retries = retries
        self._on_delay = on_delay or (lambda _reason: None)
        headers = {"User-Agent": "image-classifier-client", **({"X-API-Key": api_key} if api_key else {})}
        options: dict[str, Any] = {
            "base_url": url.rstrip("/"),
            "headers": headers,
            "timeout": httpx.Timeout(30, read=90),
        }
        self._sync = _opened(options)
        self._options = options
        self._async: httpx.AsyncClient | None = None

    def close(self) -> None:
        """Close the connections of synchronous calls."""
        self._sync.close()

    async def aclose(self) -> None:
        """Close all connections."""
        self._sync.close()
        if self._async is not None:
            await self._async.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- Classifying ---

    def classify(self, image: Image, model: str = "") -> Prediction:
        """Upload an image and wait for its labels; retries do not classify it twice.

        Raises Refused, PredictionFailed, Unreachable, or OSError if the file cannot be read.
        """
        response = self._request("POST", "/predictions/", **_upload(image, model))
        return _succeeded(self.wait(Prediction.of(response.json())))

    async def aclassify(self, image: Image, model: str = "") -> Prediction:
        """Asynchronous ``classify``."""
        upload = await asyncio.to_thread(_upload, image, model)
        response = await self._arequest("POST", "/predictions/", **upload)
        return _succeeded(await self.await_finished(Prediction.of(response.json())))

    def classify_all(
        self, images: Iterable[Path], model: str = "", *, at_once: int = 4
    ) -> Generator[tuple[Path, Prediction | ClassifierError | OSError]]:
        """Classify files, ``at_once`` at a time; yields each with its prediction or its error."""
        pool = ThreadPoolExecutor(at_once)
        try:
            images_by_future = {pool.submit(self.classify, image, model): image for image in images}
            for done in as_completed(images_by_future):
                error = done.exception()
                if error is not None and not isinstance(error, ClassifierError | OSError):
                    raise error
                yield images_by_future[done], error if error is not None else done.result()
        finally:
            # A caller that stops early only waits for active uploads.
            pool.shutdown(cancel_futures=True)

    def classify_folder(
        self, folder: str | Path, model: str = "", *, at_once: int = 4
    ) -> Generator[tuple[Path, Prediction | ClassifierError | OSError]]:
        """Classify all images in a folder and its subfolders."""
        return self.classify_all(images_in(Path(folder)), model, at_once=at_once)

    def wait(self, prediction: Prediction) -> Prediction:
        """Wait for a prediction by its events. Raises Unreachable if that takes too long."""
        deadline = time.monotonic() + self._timeout
        while not prediction.is_finished:
            timeout = httpx.Timeout(30, read=max(0.1, deadline - time.monotonic()))
            # An interrupted stream is reopened, unless the service is down for longer.
            with (
                suppress(httpx.TransportError),
                self._sync.stream("GET", f"/predictions/{prediction.id}/events", timeout=timeout) as events,
            ):
                for line in events.iter_lines() if events.status_code == httpx.codes.OK else ():
                    prediction = _resource(line) or prediction
                    if prediction.is_finished or time.monotonic() > deadline:
                        break
            if not prediction.is_finished:
                prediction = self.get(prediction.id)
            if not prediction.is_finished:
                if time.monotonic() > deadline:
                    raise Unreachable(f"Prediction {prediction.id} was not finished within {self._timeout:g} s")
                time.sleep(BETWEEN_STREAMS)
        return prediction

    async def await_finished(self, prediction: Prediction) -> Prediction:
        """Asynchronous ``wait``."""
        try:
            async with asyncio.timeout(self._timeout):
                while not prediction.is_finished:
                    with suppress(httpx.TransportError):
                        async with self._client().stream("GET", f"/predictions/{prediction.id}/events") as events:
                            if events.status_code == httpx.codes.OK:
                                async for line in events.aiter_lines():
                                    prediction = _resource(line) or prediction
                                    if prediction.is_finished:
                                        break
                    if not prediction.is_finished:
                        prediction = await self.aget(prediction.id)
                    if not prediction.is_finished:
                        await asyncio.sleep(BETWEEN_STREAMS)
        except TimeoutError as error:
            raise Unreachable(f"Prediction {prediction.id} was not finished within {self._timeout:g} s") from error
        return prediction

    # --- Existing predictions ---

    def get(self, prediction_id: int) -> Prediction:
        """One prediction. Raises Refused (404) or Unreachable."""
        return Prediction.of(_json(self._request("GET", f"/predictions/{prediction_id}/")))

    async def aget(self, prediction_id: int) -> Prediction:
        """Asynchronous ``get``."""
        return Prediction.of((await self._arequest("GET", f"/predictions/{prediction_id}/")).json())

    def predictions(self, **filters: str | float) -> Iterator[Prediction]:
        """All predictions, page by page, newest first; the filters and `sort` of the API change that."""
        return map(Prediction.of, self._pages("/predictions/", filters))

    def _pages(self, path: str, parameters: Mapping[str, str | float]) -> Iterator[dict[str, Any]]:
        while path:
            response = self._request("GET", path, params=dict(parameters) or None)
            yield from response.json()
            next_page = response.links.get("next", {}).get("url")
            # The link includes a proxy's path prefix, as the client's own address does.
            path, parameters = str(self._sync.base_url.join(next_page)) if next_page else "", {}

    def correct(self, prediction_id: int, label: str, confidence: float = 1.0) -> Prediction:
        """Set a person's label. Raises Refused or Unreachable."""
        body = {"top_prediction": label, "confidence": confidence}
        return Prediction.of(_json(self._request("PUT", f"/predictions/{prediction_id}/", json=body)))

    def confirm(self, prediction_ids: Iterable[int]) -> None:
        """Confirm the models' own labels, in one request. Raises Refused or Unreachable."""
        self._request("POST", "/predictions/review", json={"ids": list(prediction_ids), "verdict": "confirmed"})

    def correct_all(self, prediction_ids: Iterable[int], label: str) -> None:
        """Set a person's label of many, in one request. Raises Refused or Unreachable."""
        body = {"ids": list(prediction_ids), "verdict": "corrected", "label": label}
        self._request("POST", "/predictions/review", json=body)

    def undo_reviews(self, prediction_ids: Iterable[int]) -> None:
        """Make the models' own labels the top labels again, in one request. Raises Refused or Unreachable."""
        self._request("POST", "/predictions/review", json={"ids": list(prediction_ids), "verdict": None})

    def delete(self, prediction_id: int) -> None:
        """Delete a prediction and its image. Raises Refused or Unreachable."""
        self._request("DELETE", f"/predictions/{prediction_id}/")

    # --- Models ---

    def models(self) -> list[Model]:
        """The usable models."""
        return [Model.of(model) for model in self.model_resources()]

    def model_resources(self) -> list[dict[str, Any]]:
        """The models as the service describes them, with the features of tabular ones."""
        return [model for model in self._request("GET", "/models").json() if model["status"] == "ok"]

    # --- Custom models ---

    def create_model(self, name: str, base: str = "", labels: Iterable[str] = ()) -> CustomModel:
        """Create a model that learns your own labels. Raises Refused (409 if the name is taken) or Unreachable."""
        body = {"name": name, "base": base, "labels": list(labels)}
        return CustomModel.of(_json(self._request("POST", "/models", json=body)))

    def custom_model(self, name: str) -> CustomModel:
        """A custom model. Raises Refused (404) or Unreachable."""
        return CustomModel.of(_json(self._request("GET", f"/models/{quote(name, safe='')}")))

    def delete_model(self, name: str) -> None:
        """Delete a custom model; predictions keep their results. Raises Refused or Unreachable."""
        self._request("DELETE", f"/models/{quote(name, safe='')}")

    def examples(self, name: str, **filters: str) -> Iterator[Example]:
        """A custom model's examples, page by page, newest first; filters: `label` and `use`."""
        for one in self._pages(f"/models/{quote(name, safe='')}/examples", filters):
            yield Example("", one["label"], one["prediction_id"], None)

    def delete_example(self, name: str, prediction_id: int) -> None:
        """Remove a prediction from a custom model's examples. Raises Refused (404) or Unreachable."""
        self._request("DELETE", f"/models/{quote(name, safe='')}/examples/{prediction_id}")

    def trainings(self, name: str) -> list[Training]:
        """The newest 100 trainings of a custom model. Raises Refused (404) or Unreachable."""
        return [Training.of(one) for one in self._request("GET", f"/models/{quote(name, safe='')}/trainings").json()]

    def add_example(self, name: str, prediction_id: int, label: str, *, new_label: bool = False) -> None:
        """Make the image of a prediction an example. ``new_label``: add the label if the model does not have it."""
        body = {"label": label, "new_label": new_label}
        self._request("PUT", f"/models/{quote(name, safe='')}/examples/{prediction_id}", json=body)

    def add_examples(self, name: str, folder: str | Path) -> Generator[Example]:
        """Upload the images below a folder, whose own folders are their labels; yields what became of each.

        Raises Refused, Unreachable, or OSError if a file cannot be read.
        """
        for part in _parts(images_in(Path(folder)), Path(folder)):
            path = f"/models/{quote(name, safe='')}/examples/batch"
            response = self._request("POST", path, files=[("file", file) for file in part])
            body = _json(response)
            for item in body["items"]:
                yield Example.of(item)
            if error := body["error"]:
                raise ClassifierError(f"{error['message']} The other images were not added.")

    def train(self, name: str) -> Training:
        """Train a custom model with its examples, and wait for the end. Raises Refused or Unreachable."""
        training = Training.of(_json(self._request("POST", f"/models/{quote(name, safe='')}/train", headers=WAIT)))
        deadline = time.monotonic() + MAX_TRAINING_SECONDS
        while not training.is_finished:
            # The service may not let clients wait (MAX_WAIT_SECONDS=0).
            time.sleep(BETWEEN_STREAMS)
            if time.monotonic() > deadline:
                raise Unreachable(f"Training {training.id} was not finished within {MAX_TRAINING_SECONDS:g} s")
            path = f"/models/{quote(name, safe='')}/trainings/{training.id}"
            training = Training.of(_json(self._request("GET", path, headers=WAIT)))
        return training

    def serve_version(self, name: str, version: int) -> CustomModel:
        """Serve another version of a custom model. Raises Refused or Unreachable."""
        path = f"/models/{quote(name, safe='')}/version"
        return CustomModel.of(_json(self._request("PUT", path, json={"version": version})))

    def predict(self, model: str, features: dict[str, float] | None = None) -> dict[str, Any]:
        """A tabular model's result for a row of features, or for its defaults."""
        call = ("POST", {"json": features}) if features is not None else ("GET", {})
        result: dict[str, Any] = self._request(call[0], f"/predict/{model}", **call[1]).json()
        return result

    def _client(self) -> httpx.AsyncClient:
        self._async = self._async or httpx.AsyncClient(**self._options)
        return self._async

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        attempts = Attempts(self._retries)
        while True:
            try:
                response = self._sync.request(method, path, **options)
                pause = attempts.after_response(response)
            except httpx.TransportError as error:
                pause = attempts.after_error(error)
            if pause is None:
                return response
            if (seconds := attempts.report_in(pause)) is not None:
                time.sleep(seconds)
                self._on_delay(attempts.reason)
                pause -= seconds
            time.sleep(pause)

    async def _arequest(self, method: str, path: str, **options: Any) -> httpx.Response:
        attempts = Attempts(self._retries)
        while True:
            try:
                response = await self._client().request(method, path, **options)
                pause = attempts.after_response(response)
            except httpx.TransportError as error:
                pause = attempts.after_error(error)
            if pause is None:
                return response
            if (seconds := attempts.report_in(pause)) is not None:
                await asyncio.sleep(seconds)
                self._on_delay(attempts.reason)
                pause -= seconds
            await asyncio.sleep(pause)


def _opened(options: dict[str, Any]) -> httpx.Client:
    try:
        return httpx.Client(**options)
    except ImportError as error:
        raise ValueError(
            "a variable such as ALL_PROXY names a SOCKS proxy: install httpx[socks], or unset it"
        ) from error
    except OSError as error:
        file = os.environ.get("SSL_CERT_FILE", "")
        raise ValueError(f"SSL_CERT_FILE is {file}, which cannot be read: {error.strerror}") from error
    except (ValueError, httpx.InvalidURL) as error:
        variables = "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY"
        raise ValueError(f"{variables} has a value that cannot be used ({error}): correct or unset it") from error


def images_in(folder: Path) -> list[Path]:
    """Image files in a folder and its subfolders by name suffix, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _parts(images: list[Path], folder: Path) -> Iterator[list[tuple[str, bytes]]]:
    """Names below a folder and contents of images, in requests of a size that the service accepts. Raises OSError."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for image in images:
        data = image.read_bytes()
        if part and (len(part) == MAX_EXAMPLES_AT_ONCE or size + len(data) > MAX_BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append((image.relative_to(folder).as_posix(), data))
        size += len(data)
    if part:
        yield part


def _upload(image: Image, model: str) -> dict[str, Any]:
    """The arguments of an upload request, the same for every attempt. Raises OSError."""
    name, data = ("image", image) if isinstance(image, bytes) else (Path(image).name, Path(image).read_bytes())
    headers = {"Idempotency-Key": uuid.uuid4().hex, "Prefer": f"wait={WAIT_SECONDS}"}
    return {"files": {"file": (name, data)}, "data": {"model": model} if model else {}, "headers": headers}


def _resource(line: str) -> Prediction | None:
    """The prediction in a line of an event stream; None for any other line."""
    if not line.startswith("data: "):
        return None
    resource: dict[str, Any] = json.loads(line.removeprefix("data: "))
    return Prediction.of(resource) if "status" in resource else None


def _json(response: httpx.Response) -> Any:
    """The body of a response. Raises ClassifierError if the API key may write, but not read."""
    if response.status_code == HTTPStatus.NO_CONTENT:
        raise ClassifierError("The service has done it, but this API key may not read the result (scope read)")
    return response.json()


def _succeeded(prediction: Prediction) -> Prediction:
    if prediction.status == "failed":
        raise PredictionFailed(prediction.error_message or "The prediction failed", prediction.error_code or "")
    return prediction
