import pytest

from app import domain
from app.domain import LabelScore, ServiceError


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan"), float("inf")])
def test_confidence_outside_of_0_to_1_is_rejected(confidence: float) -> None:
    with pytest.raises(ValueError, match="not within"):
        LabelScore("tabby", confidence)


def test_message_of_an_error_is_its_docstring() -> None:
    assert domain.PredictionNotFound().message == "Prediction not found"
    assert domain.NotAnImage().message == "File must be an image"
    assert domain.UploadTooLarge("More than 5 bytes.").message == "More than 5 bytes."


def test_every_error_has_a_unique_code() -> None:
    codes = [error.code for error in ServiceError.__subclasses__()]
    assert len(codes) == len(set(codes))
    assert ServiceError.code not in codes
