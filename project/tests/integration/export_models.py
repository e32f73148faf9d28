"""Runs with TensorFlow: exports small models of every kind, and prints the originals' scores.

Arguments: a folder, which has ``pixels32.npy`` and ``pixels224.npy`` (float32, 0..255) and a folder ``pictures``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from app.classifier.export.export import Request, export_model
from app.classifier.export.networks import PREPROCESSINGS, preprocessing_of, registry_name
from app.config import Settings
from app.domain import StartupError

folder = Path(sys.argv[1])
labels = folder / "labels.txt"
labels.write_text("".join(f"label {n}\n" for n in range(6)))
pixels = {size: np.load(folder / f"pixels{size}.npy")[np.newaxis] for size in (32, 224)}
expected: dict[str, list[float]] = {}
errors: dict[str, str] = {}


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, models_dir=folder / "models", **changes)


def small(*, softmax: bool) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(6, activation="softmax" if softmax else None)(x))


def says(model: keras.Model, tensor: Any) -> list[float]:
    scores = np.asarray(model(tensor, training=False))[0]
    if not np.isclose(scores.sum(), 1, atol=1e-3):
        scores = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    return [float(score) for score in scores]


def refused(name: str, request: Request, **changes: Any) -> None:
    try:
        export_model(settings(**changes), request)
    except StartupError as error:
        errors[name] = error.message


unit, signed = pixels[32] / 255, pixels[32] / 127.5 - 1
own = small(softmax=True)
own.save(folder / "own.keras")
export_model(settings(), Request(str(folder / "own.keras"), labels=labels, preprocessing="unit"))
expected["own"] = says(own, unit)

sequential = keras.Sequential([keras.Input((32, 32, 3)), *own.layers[1:]])
sequential.save(folder / "sequential.keras")
export_model(settings(), Request(str(folder / "sequential.keras"), labels=labels, preprocessing="unit"))
expected["sequential"] = says(own, unit)

logits = small(softmax=False)
logits.save(folder / "logits.h5")
export_model(
    settings(), Request(str(folder / "logits.h5"), labels=labels, preprocessing="tf", name="named", squash=True)
)
expected["named"] = says(logits, signed)

own.export(folder / "saved", verbose=False)
export_model(settings(), Request(str(folder / "saved"), labels=labels, preprocessing="unit"))
expected["saved"] = says(own, unit)

int8 = {"model_precision": "int8", "calibration_images": folder / "pictures"}
export_model(settings(**int8), Request(str(folder / "own.keras"), labels=labels, preprocessing="unit"))
export_model(settings(**int8), Request(str(folder / "saved"), labels=labels, preprocessing="unit"))
export_model(
    settings(**int8), Request(str(folder / "logits.h5"), labels=labels, preprocessing="tf", name="named", squash=True)
)

image = keras.Input((32, 32, 3))
maps = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
logit_map = keras.layers.Conv2D(6, 1)(keras.layers.GlobalAveragePooling2D(keepdims=True)(maps))
convolutional = keras.Model(image, keras.layers.Softmax()(keras.layers.Flatten()(logit_map)))
convolutional.save(folder / "convolutional.keras")
request = Request(str(folder / "convolutional.keras"), labels=labels, preprocessing="unit")
for precision in ({}, int8):
    export_model(settings(**precision), request)
expected["convolutional"] = says(convolutional, unit)


def before_softmax(name: str) -> list[str]:
    """Operators of an int8 file from the softmax back to the last convolution or matrix multiplication."""
    graph = onnx.load(folder / "models" / name / f"{name}.onnx").graph
    producers = {output: node for node in graph.node for output in node.output}
    (node,) = (node for node in graph.node if node.op_type == "Softmax")
    found: list[str] = []
    while node.op_type not in {"Conv", "Gemm", "MatMul"}:
        node = producers[node.input[0]]
        found.append(node.op_type)
    return found


export_model(settings(), Request("MobileNetV3Small", weights="random"))
keras.utils.set_random_seed(8004)
expected["mobilenet_v3_small"] = says(keras.applications.MobileNetV3Small(weights=None), pixels[224])

refused("no source", Request("Nonsense"))
refused("no labels", Request(str(folder / "own.keras"), preprocessing="unit"))
refused("no preprocessing", Request(str(folder / "own.keras"), labels=labels))
refused("no calibration", Request(), model_precision="int8")
(folder / "three.txt").write_text("one\ntwo\nthree\n")
refused("other labels", Request(str(folder / "own.keras"), labels=folder / "three.txt", preprocessing="unit"))
(folder / "broken.keras").write_bytes(b"no model")
refused("broken", Request(str(folder / "broken.keras"), labels=labels, preprocessing="unit"))
flipping = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.RandomFlip(), *own.layers[1:]])
flipping.export(folder / "flipping", verbose=False)
refused("unconvertible", Request(str(folder / "flipping"), labels=labels, preprocessing="unit"))
refused("weights of another", Request("MobileNetV3Small", weights=str(folder / "logits.h5")))
refused("no such default", Request(), model="resnet50")

modules = keras.applications
preprocessings = {
    name: preprocessing_of(module.preprocess_input)
    for name, module in {
        "caffe": modules.resnet,
        "tf": modules.mobilenet_v2,
        "torch": modules.densenet,
        "raw": modules.efficientnet,
    }.items()
}
names = [
    "MobileNetV2",
    "MobileNetV3Large",
    "EfficientNetB0",
    "EfficientNetV2S",
    "ResNet50",
    "ResNet50V2",
    "NASNetMobile",
]
result = {
    "expected": expected,
    "errors": errors,
    "before_softmax": {name: before_softmax(f"{name}_int8") for name in ("own", "convolutional")},
    "preprocessings": preprocessings,
    "named": {name: PREPROCESSINGS[name] for name in preprocessings},
    "names": {name: registry_name(name) for name in [*names, "ConvNeXtTiny", "InceptionResNetV2", "VGG16", "Xception"]},
}
(folder / "result.json").write_text(json.dumps(result))
