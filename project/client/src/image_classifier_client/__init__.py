"""Python client of the image classifier: ``Client(url).classify("tiger.jpg").top_prediction``."""

from image_classifier_client.client import Client
from image_classifier_client.errors import ClassifierError, PredictionFailed, Refused, Unreachable
from image_classifier_client.results import CustomModel, Example, Label, Model, Prediction, Training

__all__ = [
    "ClassifierError",
    "Client",
    "CustomModel",
    "Example",
    "Label",
    "Model",
    "Prediction",
    "PredictionFailed",
    "Refused",
    "Training",
    "Unreachable",
]
