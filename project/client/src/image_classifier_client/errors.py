"""Errors, one class for each way in which a caller may want to react."""


class ClassifierError(Exception):
    """Base class; the message is one plain sentence."""


class Refused(ClassifierError):
    """The service rejected a request: ``status`` is the HTTP status, ``code`` the service's error code, if any."""

    def __init__(self, status: int, message: str, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class PredictionFailed(ClassifierError):
    """The image was accepted but could not be classified."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(ClassifierError):
    """The service was unreachable or busy at every attempt; the outcome of the last one is unknown."""
