"""What can go wrong, one class for each thing that a caller may want to do about it."""


class ClassifierError(Exception):
    """Something went wrong; its text is one plain sentence."""


class Refused(ClassifierError):
    """The service refused a request: ``status`` is HTTP's, ``code`` the service's own name for it, where it has one."""

    def __init__(self, status: int, message: str, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class PredictionFailed(ClassifierError):
    """The image was accepted, and could not be classified."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(ClassifierError):
    """The service could not be reached, or was too busy, at every attempt; nothing is known of what was sent last."""
