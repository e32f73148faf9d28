"""An image-classification service: upload a picture, get MobileNetV2's five best labels."""

__version__ = "0.1.0"
