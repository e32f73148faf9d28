"""Runs with TensorFlow: exports small models of every kind, and prints the originals' scores.

Arguments: a folder, which has ``pixels32.npy`` and ``pixels224.npy`` (float32, 0..255) and a folder ``pictures``.
"""

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import onnx
import tf_keras

from app.classifier.activations import Activation
from app.classifier.export.keras.export import Request, export_model
from app.classifier.export.keras.networks import PREPROCESSINGS, preprocessing_of, registry_name
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

two = folder / "two.txt"
two.write_text("no\nyes\n")
layers, ops = keras.layers, keras.ops


def exported(name: str, model: Any, tensor: Any, *, suffix: str = ".keras", **options: Any) -> None:
    """Export a model that gives scores, and keep the original's."""
    path = folder / f"{name}{suffix}"
    model.save(path) if suffix else model.export(path, verbose=False)
    options = {"labels": labels, "preprocessing": "raw", **options}
    export_model(settings(), Request(str(path), name=name, **options))
    scores = model(tensor, training=False)
    scores = np.asarray(scores[options["output"]] if "output" in options else scores, np.float32)[0]
    expected[name] = [float(score) for score in ([1 - scores[0], scores[0]] if len(scores) == 1 else scores)]


def head(x: Any, units: int = 6, activation: str | None = "softmax", **options: Any) -> Any:
    return layers.Dense(units, activation=activation, **options)(layers.GlobalAveragePooling2D()(x))


def base(library: Any, side: int | None = 32) -> Any:
    """A convolutional base, as tutorials put it into their own models."""
    image = library.Input((side, side, 3))
    x = library.layers.Conv2D(8, 3, strides=2, padding="same")(image)
    x = library.layers.BatchNormalization()(x)
    return library.Model(image, library.layers.ReLU()(x), name="base")


keras.utils.set_random_seed(2)
raw = pixels[32]
augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomContrast(0.2)])
image = keras.Input((32, 32, 3))
prepared = keras.applications.mobilenet_v2.preprocess_input(augmentation(image))
exported("tutorial", keras.Model(image, layers.Dropout(0.2)(head(base(keras)(prepared, training=False)))), raw)
nested = [keras.Input((32, 32, 3)), augmentation, layers.Rescaling(1 / 127.5, offset=-1), base(keras)]
nested += [layers.GlobalAveragePooling2D(), layers.Dense(6, activation="softmax")]
exported("nested_sequential", keras.Sequential(nested), raw, suffix=".h5")
wholes = keras.Input((32, 32, 3), dtype="uint8")
exported("integers", keras.Model(wholes, head(layers.Rescaling(1 / 255)(wholes))), np.round(raw).astype(np.uint8))
exported("integers_saved", keras.Model(wholes, head(layers.Rescaling(1 / 255)(wholes))), np.round(raw), suffix="")
image = keras.Input((32, 32, 3))
maps = layers.Conv2D(8, 3)(layers.Rescaling(1 / 255)(image))
exported("binary", keras.Model(image, head(maps, 1, "sigmoid")), raw, labels=two)
exported("binary_saved", keras.Model(image, head(maps, 1, "sigmoid")), raw, labels=two, suffix="")
exported("multilabel", keras.Model(image, head(maps, 6, "sigmoid")), raw)
exported("multilabel_saved", keras.Model(image, head(maps, 6, "sigmoid")), raw, suffix="")
exported("several", keras.Model(image, {"kind": head(maps), "box": head(maps, 4, None)}), raw, output="kind")
anysize = keras.Input((None, None, 3))
exported("anysize", keras.Model(anysize, head(base(keras, None)(layers.Rescaling(1 / 255)(anysize)))), raw, size=32)
keras.mixed_precision.set_global_policy("mixed_float16")
image = keras.Input((32, 32, 3))
exported("mixed", keras.Model(image, head(base(keras)(layers.Rescaling(1 / 255)(image)), dtype="float32")), raw)
keras.mixed_precision.set_global_policy("float32")

# Logits of small networks are often between 0 and 1, like scores.
image = keras.Input((32, 32, 3))
linear = layers.Dense(6, bias_initializer=keras.initializers.Constant(0.5), kernel_initializer="zeros")
keras.Model(image, linear(layers.GlobalAveragePooling2D()(image))).save(folder / "half.keras")
activations: dict[str, Activation | None] = {"determined": None, "sigmoid": "sigmoid", "none": "none"}
for name, activation in activations.items():
    export_model(
        settings(),
        Request(str(folder / "half.keras"), name=name, labels=labels, preprocessing="raw", activation=activation),
    )

# As Keras 2 saved them: Keras 3 loads none of these.
tf_keras.utils.set_random_seed(2)
image = tf_keras.Input((32, 32, 3))
prepared = tf_keras.applications.mobilenet_v2.preprocess_input(tf_keras.layers.RandomFlip()(image))
pooled = tf_keras.layers.GlobalAveragePooling2D()(base(tf_keras)(prepared, training=False))
legacy = tf_keras.Model(image, tf_keras.layers.Dense(1, activation="sigmoid")(pooled))
exported("keras2", legacy, raw, suffix=".h5", labels=two)
exported("keras2_zip", legacy, raw, labels=two)


def saved(name: str, model: Any) -> str:
    path = folder / name
    model.save(path) if path.suffix else model.export(path, verbose=False)
    return str(path)


class Custom(keras.layers.Layer):  # type: ignore[misc]
    """A layer that no other program knows."""

    def call(self, x: Any) -> Any:
        return 2 * x


image = keras.Input((32, 32, 3))
refusals = {
    "custom layer": saved("custom.keras", keras.Model(image, head(Custom()(image)))),
    "lambda": saved("lambda.keras", keras.Model(image, head(layers.Lambda(lambda x: 2 * x)(image)))),
    "operation in h5": saved("operation.h5", keras.Model(image, head(image / 2))),
    "operation like a layer in h5": saved("multiply.h5", keras.Model(image, head(2 * image))),
    "only weights": str(folder / "weights.h5"),
    "two inputs": saved("inputs.keras", keras.Model([image, anysize], head(image))),
    "two outputs": saved("outputs.keras", keras.Model(image, [head(image, name="a"), head(image, name="b")])),
    "map": saved("map.keras", keras.Model(image, layers.Conv2D(6, 1)(image))),
    "oblong": saved("oblong.keras", keras.Model(oblong := keras.Input((32, 48, 3)), head(oblong))),
    "grey": saved("grey.keras", keras.Model(grey := keras.Input((32, 32, 1)), head(grey))),
    "fixed batch": saved("batch.keras", keras.Model(many := keras.Input((32, 32, 3), batch_size=8), head(many))),
    "flat": saved("flat.keras", keras.Model(flat := keras.Input((3072,)), layers.Dense(6)(flat))),
    "not a model": str(labels),
    "not a SavedModel": str(folder / "pictures"),
}
legacy_image = tf_keras.Input((32, 32, 3))
code = tf_keras.layers.Lambda(lambda x: 2 * x)(tf_keras.layers.GlobalAveragePooling2D()(legacy_image))
tf_keras.Model(legacy_image, code).save(folder / "code.h5")
refusals["lambda of Keras 2"] = str(folder / "code.h5")
keras.Model(image, head(image)).save_weights(folder / "only.weights.h5")
(folder / "only.weights.h5").rename(folder / "weights.h5")
with h5py.File(folder / "weights.h5", "a") as file:
    assert "model_config" not in file.attrs
for name, path in refusals.items():
    refused(name, Request(path, labels=labels, preprocessing="raw"))
refused("normalized", Request(str(folder / "integers.keras"), labels=labels, preprocessing="unit"))
refused("normalized saved", Request(str(folder / "integers_saved"), labels=labels, preprocessing="unit"))
refused("another size", Request(str(folder / "own.keras"), labels=labels, preprocessing="unit", size=64))
refused("another output", Request(str(folder / "several.keras"), labels=labels, preprocessing="raw", output="sort"))
(folder / "doubled.txt").write_text("one\ntwo\none\n")
refused("doubled labels", Request(str(folder / "own.keras"), labels=folder / "doubled.txt", preprocessing="unit"))

versions: dict[str, list[str]] = {}
renamed = folder / "renamed.txt"
renamed.write_text("".join(f"name {n}\n" for n in range(6)))
trained = small(softmax=True)
trained.set_weights([2 * weights for weights in trained.get_weights()])
trained.export(folder / "retrained", verbose=False)
request = Request(str(folder / "saved"), labels=labels, preprocessing="unit", name="versions")
for name, changed in {
    "as before": request,
    "other labels": replace(request, labels=renamed),
    "other preprocessing": replace(request, preprocessing="tf"),
    "other variables": replace(request, source=str(folder / "retrained")),
}.items():
    export_model(settings(), changed)
    manifest = tomllib.loads((folder / "models" / "versions" / "model.toml").read_text())
    versions[name] = [manifest["version"], manifest["weights_sha256"]]

refused("no source", Request("Nonsense"))
refused("no labels", Request(str(folder / "own.keras"), preprocessing="unit"))
refused("no preprocessing", Request(str(folder / "own.keras"), labels=labels))
refused("no calibration", request, model_precision="int8")
(folder / "three.txt").write_text("one\ntwo\nthree\n")
refused("other labels", Request(str(folder / "own.keras"), labels=folder / "three.txt", preprocessing="unit"))
(folder / "broken.keras").write_bytes(b"no model")
refused("broken", Request(str(folder / "broken.keras"), labels=labels, preprocessing="unit"))
flipping = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.RandomFlip(), *own.layers[1:]])
flipping.export(folder / "flipping", verbose=False)
refused("unconvertible", Request(str(folder / "flipping"), labels=labels, preprocessing="unit"))
refused("weights of another", Request("MobileNetV3Small", weights=str(folder / "logits.h5")))

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
    "versions": versions,
    "before_softmax": {name: before_softmax(f"{name}_int8") for name in ("own", "convolutional")},
    "preprocessings": preprocessings,
    "named": {name: PREPROCESSINGS[name] for name in preprocessings},
    "names": {name: registry_name(name) for name in [*names, "ConvNeXtTiny", "InceptionResNetV2", "VGG16", "Xception"]},
}
(folder / "result.json").write_text(json.dumps(result))
