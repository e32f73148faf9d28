"""Runs with TensorFlow: Keras' scores for the tensors of a file. Arguments: model, weights, folder."""

import sys
from pathlib import Path

import numpy as np

from app.classifier.export import efficientnet_lite0
from app.classifier.export.networks import keras_application

name, weights, folder = sys.argv[1:]
model = (
    keras_application("MobileNetV2", Path(weights))[0]
    if name == "mobilenet_v2"
    else efficientnet_lite0.build(efficientnet_lite0.weights_path())
)
inputs = np.load(Path(folder) / "inputs.npy")
np.save(Path(folder) / "scores.npy", np.asarray(model(inputs, training=False)))
