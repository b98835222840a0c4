"""A trained generator as a callable: the same seed gives the same picture, however many are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantk_generate import networks
from gantk_generate.latents import mean_latent, truncate
from gantoolkit import devices, export, foreign
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import MAIN, Model
from gantoolkit.scan import Fit

CHUNK = 16  # rows of every pass, the last one filled up: kernels round differently for another number of rows


class Sampler:
    """Makes pictures; `sampler(8, seed=3, label="sneaker")` is a list of uint8 arrays H,W,C.

    Args:
        model: of the task `generate`.
        device: where it runs.
        precision: of the network; fp32 gives the same pictures on every day.

    Attributes:
        classes: names of the classes, () for a model without.
        size: height and width of a picture; channels: 1 for grey, 3 for colour.
        fit: how pictures of other shapes came to that size when it learnt.

    Raises:
        InputError: a config that describes no network, or weights that do not fit it.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "fp32") -> None:
        self.name, config = model.name, dict(model.config)
        self.fit: Fit = config.pop("fit", "crop")
        self.classes: tuple[str, ...] = tuple(config.pop("labels", ()))
        self._centre, self._scale = config.pop("centre", 0.0), config.pop("scale", 1.0)  # of points
        self.device = torch.device(devices.pick_device(device))
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        self.dtype = dtypes[devices.pick_precision(precision, self.device.type)]
        source, supported = f"the model {model.name}", "a generator of the task generate"
        self.generator: Any = foreign.filled(source, config, networks.build_generator, supported, model.weights[MAIN])
        self.generator.to(self.device).requires_grad_(False)
        self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if len(self.classes) not in (0, config.get("classes", 0)):
            raise InputError(
                f"{source}: names of classes", expected=str(config.get("classes", 0)), actual=str(len(self.classes))
            )
        self.arch: str = config["arch"]
        self.latent: int = config["latent"]
        self.size: tuple[int, int] = tuple(config.get("size", (1, 1)))  # type: ignore[assignment]
        self.channels: int = config.get("channels", 3)
        self._means: dict[int | None, Tensor] = {}

    def __call__(
        self,
        n: int = 1,
        *,
        seed: int | Sequence[int] = 0,
        label: int | str | Sequence[int | str] | None = None,
        truncation: float = 1.0,
    ) -> list[np.ndarray]:
        """n pictures, the i-th from seed + i, or from the i-th of n seeds.

        Args:
            seed: 0 to 2^64 - 1, or n of them.
            label: a class, or classes to take in turn; None takes all in turn.
            truncation: moves latents towards their mean (1 leaves them); Karras et al. 2019, arXiv:1812.04948.

        Raises:
            UsageError: an unknown class.
        """
        return list(self.pictures(n, seed=seed, label=label, truncation=truncation))

    def pictures(
        self,
        n: int,
        *,
        seed: int | Sequence[int] = 0,
        label: int | str | Sequence[int | str] | None = None,
        truncation: float = 1.0,
    ) -> Iterator[np.ndarray]:
        """As calling it, one picture after the other: memory does not grow with n."""
        labels = self.labels(n, label)
        seeds = range(int(seed), int(seed) + n) if isinstance(seed, (int, np.integer)) else seed
        if len(seeds) != n:
            raise UsageError("each picture needs a seed", expected=f"{n} seeds", actual=len(seeds))
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK, n)
            z = self.latents(stop - start, seeds[start:stop])
            label_of = labels[start:stop] if labels is not None else None
            yield from self.render(self.truncated(self.inputs(z, label_of), label_of, truncation))

    def points(self, n: int, *, seed: int = 0) -> np.ndarray:
        """(n, D) float64 of a model of points, in the coordinates of the data; the i-th from seed + i.

        Raises:
            UsageError: the model makes pictures.
        """
        if self.arch != "mlp":
            raise UsageError(f"the model {self.name!r} makes pictures, and no points")
        made = self._chunked(self.generator, self.latents(n, seed), None)
        return made.double().numpy() * self._scale + np.asarray(self._centre)

    def labels(self, n: int, label: int | str | Sequence[int | str] | None = None) -> Tensor | None:
        """Class numbers for n pictures, (n,); None for a model without classes."""
        if isinstance(label, np.ndarray):  # whose truth is no question
            label = label.tolist()
        if not self.classes:
            if label not in (None, [], ()):
                raise UsageError(f"the model {self.name!r} knows no classes", actual=f"class {label!r}")
            return None
        named = [label] if isinstance(label, (int, np.integer, str)) else list(label or range(len(self.classes)))
        numbers = torch.tensor([self._number(name) for name in named])
        return numbers[torch.arange(n) % len(numbers)]

    def _number(self, name: int | str) -> int:
        """A number is a place among the classes; a text is a name first, for names may be numbers."""
        if isinstance(name, str):
            if name in self.classes:
                return self.classes.index(name)
            alike = [number for number, word in enumerate(self.classes) if word.lower() == name.lower()]
            if len(alike) == 1:
                return alike[0]
        if str(name).isdecimal() and int(name) < len(self.classes):
            return int(name)
        known = ", ".join(f"{number} {word}" for number, word in enumerate(self.classes))
        raise UsageError("unknown class", expected=known, actual=repr(name))

    def latents(self, n: int, seed: int | Sequence[int] = 0) -> Tensor:
        """(n, latent) normal numbers; row i depends on seed + i, or on the i-th seed, alone."""
        seeds = range(int(seed), int(seed) + n) if isinstance(seed, (int, np.integer)) else seed
        rows = [torch.randn(self.latent, generator=torch.Generator().manual_seed(one)) for one in map(int, seeds)]
        return torch.stack(rows)

    def inputs(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """What `render` takes: w of a style-based generator, the first layer's input of others."""
        return self._chunked(lambda z, label: self.generator.mapping(z, label), z, labels)

    def truncated(self, inputs: Tensor, labels: Tensor | None, psi: float) -> Tensor:
        """Inputs moved towards the mean of their class (`latents.mean_latent`); ψ of 1 leaves them as they are."""
        if psi == 1:
            return inputs
        of = labels.tolist() if labels is not None else [None] * len(inputs)
        for label in set(of) - self._means.keys():
            self._means[label] = mean_latent(self.generator, label=label).cpu()
        return truncate(inputs, torch.cat([self._means[label] for label in of]), psi)

    def render(self, inputs: Tensor) -> list[np.ndarray]:
        """Pictures, uint8 H,W,C, of the generator's inputs.

        Raises:
            UsageError: the model makes points.
        """
        if self.arch == "mlp":
            raise UsageError(
                f"the model {self.name!r} makes points, and no pictures",
                remedy="`gantk run generate` writes them as an array; in Python, .points(n)",
            )
        made = self._chunked(lambda w, _: self.generator.synthesis(w), inputs, None)
        return list(to_uint8(made))

    def _chunked(self, call: Any, rows: Tensor, labels: Tensor | None) -> Tensor:
        made = []
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            label = labels[start : start + CHUNK] if labels is not None else None
            missing = CHUNK - len(part)
            if missing:
                part = torch.cat([part, part[:1].expand(missing, *part.shape[1:])])
                label = torch.cat([label, label[:1].expand(missing)]) if label is not None else None
            mixed = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
            with torch.inference_mode(), mixed:
                whole = call(part.to(self.device), label.to(self.device) if label is not None else None)
            made.append(whole[: CHUNK - missing].float().cpu())
        return torch.cat(made)


def rendered(generator: Any, z: Tensor, label: Tensor | None, device: str) -> Iterator[np.ndarray]:
    """Pictures, uint8 H,W,C, of a network in eval mode, from latents (N, latent) and labels (N,)."""
    for start in range(0, len(z), CHUNK):
        part = label[start : start + CHUNK].to(device) if label is not None else None
        yield from to_uint8(generator(z[start : start + CHUNK].to(device), part))


def to_uint8(pictures: Tensor) -> np.ndarray:
    """N,C,H,W in [-1, 1] → N,H,W,C uint8."""
    return ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


class Numbers(nn.Module):
    """Noise (N, latent) and, of a model with classes, their numbers (N,) as floats -> samples as the generator's."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.generator(z, None if label is None else label.long())


def export_onnx(model: Model, target: Path) -> export.Parity:
    """The generator as an ONNX file: inputs "noise" and, with classes, "label", any batch; parity at two batches."""
    sampler = Sampler(model, "cpu")
    label = {"label": torch.tensor([float(len(sampler.classes) - 1)])} if sampler.classes else {}
    return export.to_onnx(
        Numbers(sampler.generator),
        target,
        sampler.latents(1),
        input_name="noise",
        output_name="picture",
        dynamic={"noise": {0: "batch"}},
        others=label,
        check_sizes=((1, sampler.latent), (3, sampler.latent)),
    )
