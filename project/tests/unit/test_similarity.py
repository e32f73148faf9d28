"""Binary codes of embeddings, and groups of near-duplicates."""

import numpy as np

from app.classifier.similarity import code_of, near_duplicate_groups
from app.domain import ImageEmbedding


def embedding(model: str, version: str, *values: float) -> ImageEmbedding:
    vector = np.array(values, "<f2").tobytes()
    return ImageEmbedding(model, version, vector, code_of(vector))


def test_near_duplicate_groups_are_grouped_within_a_version() -> None:
    images = {
        1: embedding("a", "1", 1, 0),
        2: embedding("a", "1", 0, 1),
        3: embedding("a", "1", 2, 0.1),
        4: embedding("a", "2", 1, 0, 0),
        5: embedding("b", "1", 1, 0),
    }
    assert near_duplicate_groups(images) == {1: 1, 3: 1}
    assert near_duplicate_groups({}) == {}


def test_code_has_a_bit_for_each_number() -> None:
    vector = np.array([0, 1, 4, 100, 0, 0, 0, 0, 9], "<f2").tobytes()
    # The mean of the roots is 16 / 9.
    assert code_of(vector) == bytes([0b00110000, 0b10000000])
    assert code_of(np.zeros(8, "<f2").tobytes()) == b"\0"
