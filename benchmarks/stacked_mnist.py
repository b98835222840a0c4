"""Stacked MNIST: how many of 1,000 modes does a generator find?

    python recipes/mnist.py data/mnist --side 28
    python benchmarks/stacked_mnist.py data/mnist/mnist.zip [--presets default dcgan] [--seeds 0 1 2] [--nimg N]
        [--critic-channels 16] [--json FILE]

Protocol (Metz et al. 2017, arXiv:1611.02163; Lin et al. 2018, arXiv:1712.04086, section 4.2): three random digits
are the channels of a 28×28 picture; a classifier of digits reads 26,000 generated pictures channel by channel; a mode
counts when one picture or more shows it, and KL is the divergence of the 1,000 frequencies from uniform, in nats.
26,000 samples of uniform modes score a KL of 999 / 52,000 = .019, real ones a little more, since digits are not
equally frequent: the first two rows hold real pictures and a single one against that. The classifier learns from
four fifths of the digits; its accuracy is of the last fifth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from common import parser, report

from gantk_generate.options import GenerateConfig
from gantk_generate.presets import PRESETS
from gantk_generate.sampler import Sampler
from gantk_generate.task import Generate
from gantoolkit.classify import Classifier, fit_classifier
from gantoolkit.errors import InputError
from gantoolkit.labelled import LabelledPictures
from gantoolkit.metrics import MetricCard
from gantoolkit.model import Model, is_model
from gantoolkit.train import Training, resolve

SIDE, MODES, SAMPLES = 28, 1_000, 26_000
NETWORKS = ("generator", "critic")


class Judge(Protocol):
    """What reads digits: uint8 (N, 28, 28, 1) → int64 (N,)."""

    def labels(self, pictures: np.ndarray) -> np.ndarray: ...


def read_digits(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 28, 28, 1) and int64 (N,) of the zip that recipes/mnist.py writes."""
    found = LabelledPictures(source, channels=1)
    if found.size != (SIDE, SIDE) or found.labels is None:
        raise InputError(
            f"{source} holds no labelled digits of {SIDE}×{SIDE}",
            actual="×".join(map(str, found.size)),
            remedy="make them with `recipes/mnist.py FOLDER --side 28`",
        )
    return np.stack(list(found.pictures())), found.labels


def fit_judge(digits: np.ndarray, labels: np.ndarray, folder: Path) -> tuple[Classifier, MetricCard]:
    """A classifier fitted on four fifths of the digits, and its accuracy on the last fifth.

    It is kept in `folder`, and taken from there if it is there already.
    """
    cut = len(digits) * 4 // 5
    if is_model(folder):
        judge = Classifier.load(folder)
    else:
        judge = fit_classifier(digits[:cut], labels[:cut], 10, nimg=120_000)
        judge.save(folder)
    return judge, judge.accuracy(digits[cut:], labels[cut:])


def stacked(digits: np.ndarray, count: int, seed: int) -> np.ndarray:
    """uint8 (count, 28, 28, 3): three random digits as the channels of each picture."""
    chosen = np.random.default_rng(seed).integers(0, len(digits), (count, 3))
    return np.concatenate([digits[chosen[:, channel]] for channel in range(3)], 3)


def count_modes(judge: Judge, pictures: np.ndarray) -> tuple[int, float]:
    """(modes that N pictures (N, 28, 28, 3) show, Σ p ln(1000 p): KL of their frequencies to uniform, in nats)."""
    digits = np.stack([judge.labels(pictures[..., channel : channel + 1]) for channel in range(3)])
    share = np.bincount(digits.T @ np.array([100, 10, 1]), minlength=MODES) / len(pictures)
    seen = share[share > 0]
    return len(seen), float((seen * np.log(seen * MODES)).sum())


class Stacked:
    """Endless stacked digits, as the generation task wants its data: no classes, nothing held out."""

    classes: tuple[str, ...] = ()
    size, channels, held_out = (SIDE, SIDE), 3, None

    def __init__(self, digits: np.ndarray) -> None:
        self.digits = digits
        self.train = self

    def __len__(self) -> int:
        return 60_000  # of an epoch, for the shuffling; the triple is drawn anew each time

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        chosen = self.digits[rng.integers(0, len(self.digits), 3), ..., 0]
        return {"image": torch.from_numpy(chosen).float().div_(127.5).sub_(1)}

    def pictures(self, indices: Iterable[int]) -> np.ndarray:
        """uint8 (N, 28, 28, 3): what the report calls the training pictures nearest to the made ones."""
        triples = np.random.default_rng(0).integers(0, len(self.digits), (len(self), 3))[list(indices)]
        return np.concatenate([self.digits[triples[:, channel]] for channel in range(3)], 3)

    def bank(self, which: str, count: int = 512) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(0)
        return {"image": torch.stack([self.item(0, rng)["image"] for _ in range(count)])}


class StackedGenerate(Generate):
    """The generation task on digits that are in memory already."""

    def __init__(self, digits: np.ndarray) -> None:
        self.digits = digits

    def dataset(self, config: GenerateConfig, folder: Path | None) -> Any:
        return Stacked(self.digits)

    def score(self, *_: Any) -> list[MetricCard]:
        return []  # measured once, at the end


def train(digits: np.ndarray, config: GenerateConfig, folder: Path) -> tuple[Model, float]:
    """The trained generator and the seconds of CPU it took; a run that is in `folder` goes on where it stopped."""
    start = time.process_time()
    outcome = Training(StackedGenerate(digits), config, None, folder).play()
    assert outcome.model is not None
    return Model.load(outcome.model), time.process_time() - start


def sample(model: Model, count: int) -> np.ndarray:
    """uint8 (count, 28, 28, 3): pictures of the seeds 0, 1, 2, …"""
    return np.stack(list(Sampler(model, "cpu").pictures(count)))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("digits", type=Path, help="mnist.zip of 28×28")
    options.add_argument("--presets", nargs="*", default=["default"], help="of the task generate; none: judge only")
    options.add_argument("--seeds", nargs="+", type=int, default=[0])
    options.add_argument("--nimg", type=int, default=1_000_000, help="pictures shown to the critic")
    options.add_argument("--batch", type=int, help="the preset's by default")
    options.add_argument("--channels", type=int, help="width of both networks; the preset's by default")
    options.add_argument("--critic-channels", type=int, help="width of the critic; a quarter of the generator's: 16")
    options.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of the runs, which resume, and the judge"
    )
    options.add_argument("--samples", type=int, default=SAMPLES)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments)
    columns = ["what", "seed", "nimg", "critic / generator", "modes", "KL", "CPU s"]
    judged = rows.pop(0)
    report(f"Stacked MNIST, {arguments.samples:,} samples; judge: {judged}", columns, rows, arguments)


def measure(arguments: argparse.Namespace) -> list[Any]:
    """The judge's card in words, then one row a case."""
    digits, labels = read_digits(arguments.digits)
    judge, accuracy = fit_judge(digits, labels, arguments.runs / "stacked-judge")
    real = stacked(digits, arguments.samples, seed=0)
    rows: list[Any] = [accuracy.line()]
    rows.append(["real", 0, 0, "", *count_modes(judge, real), 0.0])
    rows.append(["one picture", 0, 0, "", *count_modes(judge, np.repeat(real[:1], arguments.samples, 0)), 0.0])
    for preset in arguments.presets:
        for seed in arguments.seeds:
            asked = {"batch": arguments.batch, "channels": arguments.channels}
            asked["critic_channels"] = arguments.critic_channels or arguments.channels
            chosen: dict[str, Any] = {"nimg": arguments.nimg, "seed": seed}
            chosen |= {name: value for name, value in asked.items() if value is not None}
            config = GenerateConfig(**{"device": "cpu", "threads": arguments.threads, **PRESETS[preset], **chosen})
            config = resolve(config)
            name = f"stacked-{preset}-c{config.critic_channels}-{config.nimg}-{seed}"
            model, seconds = train(digits, config, arguments.runs / name)
            game = StackedGenerate(digits).game(config, Stacked(digits), "adversarial")  # type: ignore[arg-type]
            sizes = {k: sum(p.numel() for p in game.networks()[k].parameters()) for k in NETWORKS}
            found = count_modes(judge, sample(model, arguments.samples))
            size = f"{sizes['critic']:,} / {sizes['generator']:,}"
            rows.append([preset, seed, config.nimg, size, *found, seconds])
            print(f"{preset} seed {seed}: {found[0]} modes, KL {found[1]:.3f}", flush=True)
    return rows


if __name__ == "__main__":
    main()
