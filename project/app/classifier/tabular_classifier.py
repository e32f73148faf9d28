"""Runs a tabular model: from rows of numbers to labels with probabilities."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model

from app.classifier.manifest import Feature, Model, TabularManifest
from app.domain import LabelScore, ModelBroken

PROBABILITY_DIGITS: Final = 6


class TabularClassifier:
    """A loaded tabular model. Any number of threads may use it concurrently."""

    def __init__(self, model: Model) -> None:
        """Load the model. Raises ModelBroken if its file has other features or labels than its manifest."""
        # Imported on demand: most installations have no tabular model, and it takes 40 MB.
        from app.classifier.runtimes.onnx import open_session

        assert isinstance(model.manifest, TabularManifest)
        self.model = model
        self.features = model.manifest.features
        self.row_schema = row_schema(self.features)
        self.memory_bytes = 2 * model.path.stat().st_size
        """Approximate memory: the file, and the session created from it."""
        self._onnx = open_session(model.path)
        (input_info,) = self._onnx.get_inputs()
        if input_info.type != "tensor(float)" or input_info.shape[1:] != [len(self.features)]:
            raise ModelBroken(
                f"{model.path} expects {input_info.type} {input_info.shape}, not {len(self.features)} features."
            )
        self._input_name = input_info.name
        defaults = np.array([[feature.default for feature in self.features]], np.float32)
        results = self._onnx.run(None, {self._input_name: defaults})
        shape = (1, len(model.labels))
        outputs = [index for index, output in enumerate(results) if np.shape(output) == shape]
        if not outputs:
            raise ModelBroken(f"{model.path} has no output of {len(model.labels)} probabilities, one per label.")
        self._probabilities = self._onnx.get_outputs()[outputs[0]].name

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, float32 of shape (rows, labels), 0..1, for rows of shape (rows, features)."""
        (probabilities,) = self._onnx.run([self._probabilities], {self._input_name: rows})
        found: NDArray[np.float32] = probabilities
        return found

    def classify(self, rows: Sequence[Sequence[float]]) -> list[list[LabelScore]]:
        """All labels with their probabilities for each row, highest first."""
        found = self.probabilities(np.array(rows, np.float32))
        return [
            [
                LabelScore(self.model.labels[i], round(min(1.0, max(0.0, float(row[i]))), PROBABILITY_DIGITS))
                for i in np.argsort(-row, kind="stable")
            ]
            for row in found
        ]


def row_schema(features: Sequence[Feature]) -> type[BaseModel]:
    """Schema of a row: for each feature a number within its bounds, or its default."""
    fields: dict[str, Any] = {
        feature.name: (
            Annotated[
                float,
                Field(
                    strict=True,
                    allow_inf_nan=False,
                    ge=feature.minimum,
                    le=feature.maximum,
                    description=f"{feature.description} {feature.unit and f'In {feature.unit}.'}".strip(),
                ),
            ],
            feature.default,
        )
        for feature in features
    }
    return create_model("Row", __config__=ConfigDict(extra="forbid"), **fields)
