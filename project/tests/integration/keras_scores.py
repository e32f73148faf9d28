"""Run with TensorFlow: Keras' own scores for the tensors of a file. Arguments: model, weights, folder."""

import sys
from pathlib import Path

import numpy as np

from app.exporter.networks import efficientnet_lite0, efficientnet_lite0_weights, mobilenet_v2

name, weights, folder = sys.argv[1:]
network = mobilenet_v2(Path(weights)) if name == "mobilenet_v2" else efficientnet_lite0(efficientnet_lite0_weights())
inputs = np.load(Path(folder) / "inputs.npy")
np.save(Path(folder) / "scores.npy", np.asarray(network(inputs, training=False)["scores"]))
