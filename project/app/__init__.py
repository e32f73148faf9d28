"""An image-classification service: upload a picture, get MobileNetV2's five best labels."""

import os
from pathlib import Path
from typing import Final

# In the environment, before the library is imported: ONNX Runtime would report models and usage to its vendor.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# pydantic would look through all installed packages for plug-ins: 50 ms for each process.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")
# Before numpy is imported: its thread pool takes longer to start than the small products here take to compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
PROJECT_DIR: Final = Path(__file__).resolve().parents[1]
"""The folder of this package, from which the service runs."""
