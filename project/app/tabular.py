"""A tabular model at work: from rows of numbers to labels with their probabilities."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model

from app.domain import LabelScore, ModelBroken
from app.manifest import Feature, Model, TabularManifest

PROBABILITY_DIGITS: Final = 6


class TabularClassifier:
    """A loaded tabular model. Any number of threads may use it at once."""

    def __init__(self, model: Model) -> None:
        """Load it. Raises ModelBroken where its file takes other features or knows other labels than its manifest."""
        # Only where there is such a model: most services have none, and it takes 40 MB.
        from app.runtimes.onnx import open_session

        assert isinstance(model.manifest, TabularManifest)
        self.model = model
        self.features = model.manifest.features
        self.row_schema = row_schema(self.features)
        self.memory_bytes = 2 * model.path.stat().st_size
        """About what it takes: the file, and the network made of it."""
        self._onnx = open_session(model.path)
        (given,) = self._onnx.get_inputs()
        if given.type != "tensor(float)" or given.shape[1:] != [len(self.features)]:
            raise ModelBroken(f"{model.path} takes {given.type} {given.shape}, not {len(self.features)} features.")
        self._given = given.name
        defaults = np.array([[feature.default for feature in self.features]], np.float32)
        answer = self._onnx.run(None, {self._given: defaults})
        shape = (1, len(model.labels))
        outputs = [index for index, output in enumerate(answer) if np.shape(output) == shape]
        if not outputs:
            raise ModelBroken(f"{model.path} has no output of {len(model.labels)} probabilities, one for each label.")
        self._probabilities = self._onnx.get_outputs()[outputs[0]].name

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Float32 of shape (rows, labels), 0..1, for rows of shape (rows, features)."""
        (probabilities,) = self._onnx.run([self._probabilities], {self._given: rows})
        found: NDArray[np.float32] = probabilities
        return found

    def classify(self, rows: Sequence[Sequence[float]]) -> list[list[LabelScore]]:
        """For each row all labels with their probabilities, highest first."""
        found = self.probabilities(np.array(rows, np.float32))
        return [
            [
                LabelScore(self.model.labels[i], round(min(1.0, max(0.0, float(row[i]))), PROBABILITY_DIGITS))
                for i in np.argsort(-row, kind="stable")
            ]
            for row in found
        ]


def row_schema(features: Sequence[Feature]) -> type[BaseModel]:
    """The schema of one row: a number within its bounds for each feature, or its default where it is left out."""
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
