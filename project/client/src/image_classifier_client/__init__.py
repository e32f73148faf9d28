"""Python client of the image classifier: ``Client(url).classify("tiger.jpg").top_prediction``."""

from image_classifier_client.client import Client
from image_classifier_client.errors import ClassifierError, PredictionFailed, Refused, Unreachable
from image_classifier_client.results import Label, Model, Prediction

__all__ = ["ClassifierError", "Client", "Label", "Model", "Prediction", "PredictionFailed", "Refused", "Unreachable"]
