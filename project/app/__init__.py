"""An image-classification service: upload a picture, get MobileNetV2's five best labels."""

import os

# In the environment, before the library is imported: ONNX Runtime would report models and usage to its vendor.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Before numpy is imported: its thread pool takes longer to start than the small products here take to compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
