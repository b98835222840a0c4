"""Pictures as rows of features, with all that a figure made from them must quote; kept on disk by content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gantoolkit.errors import InputError, UsageError
from gantoolkit.paths import expanded

if TYPE_CHECKING:
    from gantoolkit.features import Extractor

CACHE_FORMAT = 1  # changes whenever the same request would give other features


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """What a frozen network says about a set of pictures.

    Attributes:
        features: float32 N,F, finite.
        labels: int64 N, or None where there are no classes.
        feature: the extractor's name.
        weights: the hash of its weights.
        resizer: how pictures came to its size, in words.
        source: where the pictures are from: a data set, a model; its name, not a path that only one machine has.
        split: which part of it: "train", "test", …, or "".
        fingerprint: 12 hexadecimal digits that stand for the pictures, in their order.
        seed: what drew the pictures, where they were drawn.
    """

    features: np.ndarray
    labels: np.ndarray | None = None
    feature: str = ""
    weights: str = ""
    resizer: str = ""
    source: str = ""
    split: str = ""
    fingerprint: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        features = np.ascontiguousarray(self.features, dtype=np.float32)
        if features.ndim != 2 or not features.size:
            raise UsageError("features of no pictures", expected="an array N,F", actual=f"shape {features.shape}")
        if not np.isfinite(features).all():
            raise InputError(f"{self.feature or 'the features'} of {self.source or 'the pictures'} are not all finite")
        object.__setattr__(self, "features", features)
        if self.labels is not None:
            labels = np.asarray(self.labels, dtype=np.int64)
            if labels.shape != (len(features),):
                raise UsageError("one label for each picture", expected=len(features), actual=f"shape {labels.shape}")
            object.__setattr__(self, "labels", labels)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _digest(features)[:12])

    def __len__(self) -> int:
        return len(self.features)

    def take(self, indices: np.ndarray | Sequence[int] | slice) -> FeatureSet:
        """The pictures at these places; with a fingerprint of its own."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, features=self.features[indices], labels=labels, fingerprint="")

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean F and a root R of the unbiased covariance, RᵀR = C: R is N,F where N < F, else F,F; float64.

        Raises:
            UsageError: one picture has no covariance.
        """
        return moments(self.features)


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `FeatureSet.moments`; of an array N,F."""
    n, width = features.shape
    if n < 2:
        raise UsageError("one picture has no covariance", expected="at least 2", actual=n, remedy="use more pictures")
    features = features.astype(np.float64)
    mean = features.mean(0)
    centred = (features - mean) / np.sqrt(n - 1)
    if n < width:
        return mean, centred
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, np.sqrt(values.clip(0))[:, None] * vectors.T


def describe(
    pictures: Iterable[np.ndarray],
    extractor: Extractor,
    *,
    labels: Sequence[int] | np.ndarray | None = None,
    source: str = "",
    split: str = "",
    seed: int | None = None,
    batch: int = 64,
    cache: str | None = None,
    device: str = "cpu",
    progress: Callable[[int], Any] | None = None,
) -> FeatureSet:
    """Features of pictures.

    Args:
        pictures: uint8 H,W,1 or H,W,3, of any sizes; read once, and not at all when the cache has them. Grey is
            repeated; the extractor resizes.
        labels: a class for each picture.
        source, split, seed: see `FeatureSet`.
        batch: pictures that go through the network together.
        cache: what stands for the content of the pictures, in their order (a hash). With it the features are
            kept under GANTK_HOME/features; a damaged file is made anew, and a full disk does not matter.
        device: where the network runs.
        progress: called with the number of pictures done after each batch.

    Raises:
        UsageError: no pictures, or one of another shape or type; labels of another number.
    """
    resizer = str(getattr(extractor, "resizer", f"the extractor's own, {extractor.input_size}²"))
    path = None if cache is None else _cached(cache, extractor, resizer)
    kept = None if path is None else _read(path)
    if kept is None:
        kept = _computed(iter(pictures), extractor, batch, device, progress)
        if path is not None:
            _write(path, *kept)
    features, fingerprint = kept
    return FeatureSet(
        features,
        None if labels is None else np.asarray(labels),
        feature=extractor.name,
        weights=extractor.weights_hash,
        resizer=resizer,
        source=source,
        split=split,
        fingerprint=fingerprint,
        seed=seed,
    )


def _computed(
    pictures: Iterator[np.ndarray],
    extractor: Extractor,
    batch: int,
    device: str,
    progress: Callable[[int], Any] | None,
) -> tuple[np.ndarray, str]:
    """Rows of features, N,F float32, and the fingerprint of the pictures in this order."""
    import torch

    rows: list[np.ndarray] = []
    content = hashlib.sha256()
    done = 0
    while chunk := list(islice(pictures, batch)):
        for run in _alike(chunk):
            for picture in run:
                content.update(repr(picture.shape).encode() + picture.tobytes())
            x = torch.from_numpy(np.stack(run)).to(device).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                vectors = extractor.vectors(x.expand(-1, 3, -1, -1))
            rows.append(vectors.float().cpu().numpy())
        done += len(chunk)
        if progress is not None:
            progress(done)
    if not rows:
        raise UsageError("there are no pictures to describe", expected="at least one")
    return np.concatenate(rows), content.hexdigest()[:12]


def _alike(pictures: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Runs of neighbours that have one shape, so that they fit into one tensor."""
    run: list[np.ndarray] = []
    for picture in pictures:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3) or not picture.size:
            raise UsageError(
                "cannot describe this picture",
                expected="a uint8 array H,W,1 or H,W,3",
                actual=f"{picture.dtype} {picture.shape}",
                remedy="convert it to 8-bit grey or RGB",
            )
        if run and run[0].shape != picture.shape:
            yield run
            run = []
        run.append(picture)
    yield run


# ---- the cache ----


def _cached(content: str, extractor: Extractor, resizer: str) -> Path | None:
    """The file for these features of this content; None if nothing says which weights made them."""
    from gantoolkit.features import UNKNOWN_WEIGHTS

    if extractor.weights_hash == UNKNOWN_WEIGHTS:
        return None
    facts = [CACHE_FORMAT, content, extractor.name, extractor.weights_hash, resizer]
    home = expanded(os.environ.get("GANTK_HOME") or "~/.gantoolkit")
    return home / "features" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}.safetensors"


def _read(path: Path) -> tuple[np.ndarray, str] | None:
    """The features and the pictures' fingerprint from a file that is whole, else None."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            features = file.get_tensor("features")
            facts = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    whole = features.ndim == 2 and facts.get("sha256") == _digest(features) and "content" in facts
    return (features, facts["content"]) if whole else None


def _write(path: Path, features: np.ndarray, content: str) -> None:
    """Under its name only when complete. What cannot be kept is made again next time: no reason to fail."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"features": features}, temporary, metadata={"sha256": _digest(features), "content": content})
        temporary.replace(path)
    except (OSError, SafetensorError):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _digest(features: np.ndarray) -> str:
    return hashlib.sha256(repr(features.shape).encode() + np.ascontiguousarray(features).tobytes()).hexdigest()
