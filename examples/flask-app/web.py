"""A web application of its own that knows the image classifier by its HTTP API alone, through the client.

Pages: an upload, and a form for each tabular model (GET shows what it says of its defaults, POST of what was filled in).
"""

import math
import os
from typing import Any

from flask import Flask, g, render_template, request
from image_classifier_client import ClassifierError, Client, Prediction, Refused
from werkzeug.exceptions import NotFound

MOST_BYTES = 20 * 2**20


def create_app(url: str | None = None) -> Flask:
    """The application; ``url``: of the service (default: IMGCLASS_URL, or the service's own default)."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    url = url or os.environ.get("IMGCLASS_URL", "http://localhost:8004")
    key = os.environ.get("IMGCLASS_API_KEY")
    client = Client(url, key)
    # For what a page can do without: it is not asked for again and again.
    impatient = Client(url, key, retries=0)

    @app.route("/", methods=["GET", "POST"])
    def classify() -> tuple[str, int]:
        prediction: Prediction | None = None
        told, status = "", 200
        file = request.files.get("image")
        if request.method == "POST":
            try:
                prediction = client.classify(file.read() if file else b"", model=request.form.get("model", ""))
            except Refused as error:
                told, status = str(error), error.status
            except ClassifierError as error:
                told, status = str(error), 502
        return render_template("classify.html", prediction=prediction, told=told, models=_models("image")), status

    @app.route("/models/<name>", methods=["GET", "POST"])
    def predict(name: str) -> tuple[str, int]:
        features = next((model["features"] for model in _models("tabular") if model["name"] == name), None)
        if features is None:
            raise NotFound
        values = {feature["name"]: feature["default"] for feature in features}
        answer: dict[str, Any] | None = None
        told, status = "", 200
        try:
            if request.method == "POST":
                values = {key: request.form.get(key, "") for key in values}
                answer = client.predict(name, {key: _number(value) for key, value in values.items()})
            else:
                answer = client.predict(name)
        except Refused as error:
            told, status = str(error), error.status
        except ClassifierError as error:
            told, status = str(error), 502
        return render_template(
            "predict.html", name=name, features=features, values=values, answer=answer, told=told
        ), status

    def _models(kind: str) -> list[dict[str, Any]]:
        try:
            g.models = g.get("models") or impatient.model_resources()
            return [model for model in g.models if model["kind"] == kind]
        except ClassifierError:
            return []

    @app.context_processor
    def common() -> dict[str, Any]:
        return {"tabular": [model["name"] for model in _models("tabular")]}

    return app


def _number(text: str) -> float | str:
    """What is no number, or none that JSON has, is told of by the service."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
