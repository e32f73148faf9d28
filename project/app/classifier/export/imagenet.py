"""ImageNet's labels."""

from app.classifier.names.imagenet import imagenet_catalog


def imagenet_labels() -> list[str]:
    """The 1000 labels by class index, as in ``keras.applications``: ``Egyptian_cat``."""
    return [entry.label for entry in imagenet_catalog().labels]
