"""imbalanced-learn: classes with few pictures filled up by generated ones, through `fit_resample`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gantk_augment.fit import Fitted
from gantk_augment.pipelines.making import derive, fitted, like, make
from gantoolkit import rng
from gantoolkit.archives import write_archive
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import Model
from gantoolkit.plugins import current

try:
    from imblearn.over_sampling.base import BaseOverSampler
    from sklearn.utils import check_random_state
except ImportError as error:
    raise UsageError("GANSampler needs imbalanced-learn", remedy="pip install 'gantoolkit[imblearn]'") from error


class GANSampler(BaseOverSampler):
    """Over-samples pictures: `GANSampler().fit_resample(X, y)` gives the originals first, then generated ones.

    X is (N, H, W), (N, H, W, C), or rows of pixels (N, H·W·C): uint8, or other numbers in 0 to 1 or else 0 to 255. The
    new ones have the same type and range.

    Args:
        model: of augment, or of generate with the classes of y by name or number: a name, a model folder or a run.
            None fits one on X and y, which takes minutes to hours.
        sampling_strategy: as in imbalanced-learn: "auto", a mapping of a class to how many it will have, ….
        random_state: of everything random: an int, or None.
        shape: (H, W, C) of a row's picture; None: a square, grey or RGB.
        training: options of `gantk train augment` for the fit, such as `{"nimg": 20_000}`.
        device: where the model runs.

    Attributes:
        model_: what made the new pictures.

    Raises:
        InputError: X holds no pictures, or too few to fit a generator on.
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - as in imbalanced-learn
        **BaseOverSampler._parameter_constraints,
        "model": [str, Path, None],
        "shape": ["array-like", None],
        "training": [Mapping, None],
        "device": [str],
    }

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
        shape: tuple[int, int, int] | None = None,
        training: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.model, self.random_state, self.shape = model, random_state, shape
        self.training, self.device = training, device

    def fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, Any]:
        """The pictures and labels with the new ones after them, in the shape of X.

        Args:
            X: pictures, see above.
            y: (N,) names or numbers of classes.
        """
        given = X.shape[1:] if isinstance(X, np.ndarray) and X.ndim in (3, 4) else None
        self._shape = None if given is None else tuple(given) if len(given) == 3 else (*given, 1)
        rows = X if given is None else X.reshape(len(X), -1)
        more, labels = super().fit_resample(rows, y, **params)
        return (more if given is None else more.reshape(-1, *given)), labels

    def _fit_resample(self, X: np.ndarray, y: np.ndarray, **params: Any) -> tuple[np.ndarray, np.ndarray]:
        shape = self._shape or (_square(X.shape[1]) if self.shape is None else tuple(self.shape))
        if math.prod(shape) != X.shape[1] or shape[2] not in (1, 3):
            raise InputError("these rows are no such pictures", expected=f"rows of {shape}", actual=X.shape[1])
        pictures, top = _pixels(X.reshape(-1, *shape))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        wanted = {label: count for label, count in self.sampling_strategy_.items() if count}
        more, labels = [X], [y]
        if wanted:
            names = [str(label) for label in np.unique(y)]
            numbers = np.unique(y, return_inverse=True)[1]
            own = self._fit(pictures, numbers, names, seed) if self.model is None else None
            self.model_ = own or fitted(self.model or "", self.device)
            for label, count in wanted.items():
                name = str(label)
                made = make(self.model_, [name] * count, [derive(seed, name, row) for row in range(count)])
                new = np.stack([like(picture, pictures[0]) for picture in made]).reshape(count, -1)
                more.append((new if top == 255 else new / 255).astype(X.dtype))
                labels.append(np.full(count, label, y.dtype))
        return np.concatenate(more), np.concatenate(labels)

    def _fit(self, pictures: np.ndarray, numbers: np.ndarray, names: list[str], seed: int) -> Fitted:
        """A generator fitted by the task's own training, in a folder that is gone afterwards."""
        import torch

        from gantoolkit.train import Training, resolve

        task = current().task("augment")
        assert task.Config is not None
        config = resolve(task.Config(**{"seed": seed, "device": self.device, **(self.training or {})}))
        engine, device = torch.Generator(), torch.device(config.device)
        before = rng.state(engine, device)  # a training seeds generators that are not ours
        try:
            with tempfile.TemporaryDirectory(prefix="gantk-sampler-") as folder:
                data = Path(folder) / "pictures.zip"
                write_archive(data, pictures, numbers.tolist(), names)
                done = Training(task, config, data, Path(folder) / "run").play()
                assert done.model is not None
                return Fitted(Model.load(done.model), device=self.device)
        finally:
            rng.load(before, engine, device)


def _square(pixels: int) -> tuple[int, int, int]:
    """The shape of a square picture of so many numbers, grey or RGB: no number is both s² and 3·t²."""
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if side * side * channels == pixels:
            return side, side, channels
    raise InputError(f"rows of {pixels} numbers are no square pictures", remedy="say shape=(H, W, C)")


def _pixels(X: np.ndarray) -> tuple[np.ndarray, int]:
    """uint8 pictures, and the largest value that the numbers can have: 1 or 255."""
    low, high = float(X.min()), float(X.max())
    if not (low >= 0 and high <= 255):
        raise InputError("X holds no pixels", expected="0 to 1, or 0 to 255", actual=f"{low:g} to {high:g}")
    top = 1 if high <= 1 and X.dtype.kind == "f" else 255
    return (X if X.dtype == np.uint8 else np.rint(X * (255 / top)).astype(np.uint8)), top
