"""Similarity of images by their embeddings, and which images are nearly the same."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.domain import ImageEmbedding

DUPLICATE: Final = 0.9
"""Cosine similarity above which two images count as the same image: re-encoded or cropped by 5 %, photographs have
0.91 to 0.97, and different photographs of the same subject at most 0.78 (record 39)."""
BLOCK: Final = 1_000
"""Rows of the matrix of similarities that are in memory at once."""

Floats = NDArray[np.float32]
Groups = NDArray[np.int64]


def unit(vectors: Floats) -> Floats:
    """Vectors of length 1, for vectors of shape (images, features)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def code_of(vector: bytes) -> bytes:
    """The binary code of a stored embedding: one bit per number, set if its square root is above the mean of all roots.

    Of similar images, few bits differ. Roots, because a few numbers are much larger than the others.
    """
    roots = np.sqrt(np.maximum(np.frombuffer(vector, "<f2").astype(np.float32), 0))
    return np.packbits(roots > roots.mean()).tobytes()


def similarities(vector: bytes, others: Sequence[bytes]) -> list[float]:
    """Cosine similarity of stored embeddings of one model to another embedding, -1..1."""
    if not others:
        return []
    return [float(value) for value in unit(unpacked(others)) @ unit(unpacked([vector]))[0]]


def unpacked(vectors: Sequence[bytes]) -> Floats:
    """Stored embeddings of one model as a matrix of shape (images, features)."""
    return np.frombuffer(b"".join(vectors), "<f2").reshape(len(vectors), -1).astype(np.float32)


def near_duplicates(embeddings: Floats) -> Groups:
    """A number for each image; images that are connected by similarities above DUPLICATE have the same one."""
    units = unit(embeddings)
    groups = np.full(len(units), -1, np.int64)
    for first in range(len(units)):
        if groups[first] >= 0:
            continue
        groups[first] = first
        reached = np.array([first])
        while len(reached):
            left = np.flatnonzero(groups < 0)
            # In blocks, because the matrix of all similarities could take gigabytes.
            parts = [units[left[at : at + BLOCK]] @ units[reached].T for at in range(0, len(left), BLOCK)]
            is_reached = np.concatenate([(part > DUPLICATE).any(axis=1) for part in parts] or [np.zeros(0, bool)])
            reached = left[is_reached]
            groups[reached] = first
    return groups


def near_duplicate_groups(embeddings: Mapping[int, ImageEmbedding]) -> dict[int, int]:
    """Groups of images that are nearly the same: for each image in one, the first image of its group.

    Images are named by IDs. Only embeddings of the same version of a model are compared.
    """
    by_version: dict[tuple[str, str], list[int]] = {}
    for number, embedding in embeddings.items():
        by_version.setdefault((embedding.model, embedding.version), []).append(number)
    first_of: dict[int, int] = {}
    for numbers in by_version.values():
        groups = near_duplicates(unpacked([embeddings[number].vector for number in numbers]))
        counts = np.bincount(groups)
        for number, group in zip(numbers, groups, strict=True):
            if counts[group] > 1:
                first_of.setdefault(number, numbers[group])
    return first_of
