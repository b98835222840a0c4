"""A small picture classifier fitted from scratch by the toolkit's own engine.

It serves measurement, not glory: the classification accuracy score, the label filter of augmentation, the mode
counter of Stacked MNIST. Pictures are uint8 arrays N,H,W,C of one size from 8×8 to 64×64 (C 1 or 3), labels int64 N.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad

from gantoolkit.data import Batches
from gantoolkit.devices import pick_device, pick_precision
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import InputError
from gantoolkit.game import Context, Game, Phase, Player, Term
from gantoolkit.metrics import MetricCard
from gantoolkit.model import Model
from gantoolkit.schedule import Cosine

TASK = "classify"  # in the config.json of a saved classifier
BATCH = 128
NIMG = 240_000  # pictures shown while fitting: four epochs of Fashion-MNIST
RATE, WARMUP_NIMG, DECAY = 4e-3, 10_000, 0.02
SIDES = (8, 64)
STAGES = 3  # resolutions of the network


class _Network(nn.Module):
    """Three resolutions of convolutions, the mean over positions, a linear layer: N,C,H,W in [0, 1] → N,K logits.

    A residual block closes each of the lower two resolutions. A picture of more than 32 pixels a side is halved by
    the first convolution, which saves three quarters of the work.
    """

    def __init__(self, channels: int, classes: int, width: int, stride: int) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Sequential(_convolution(channels, width, stride))]
        for stage in range(1, STAGES):
            to = width * 2**stage
            stages.append(nn.Sequential(nn.MaxPool2d(2), _convolution(to // 2, to), _Residual(to)))
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(width * 2 ** (STAGES - 1), classes)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse."""
        x = (x - 0.5) * 4  # about zero mean, unit variance
        return [x := stage(x) for stage in self.stages]

    def vectors(self, x: Tensor) -> Tensor:
        """What the linear layer sees: N,4·width."""
        return self.maps(x)[-1].float().mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.vectors(x))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Classifier:
    """A fitted classifier. It satisfies `gantoolkit.features.Extractor`, too. Make one with `fit_classifier`.

    Attributes:
        name: what figures made with its features are called after.
        classes: K, how many labels it knows.
        shape: H, W, C of its pictures.
        fitted: how it was fitted: n, nimg, seed, width, shift, precision.
    """

    name = "Classifier"

    def __init__(self, shape: tuple[int, int, int], classes: int, fitted: Mapping[str, Any]) -> None:
        self.shape, self.classes, self.fitted = shape, classes, dict(fitted)
        stride = 2 if max(shape[:2]) > 32 else 1
        self._network = _Network(shape[2], classes, int(fitted["width"]), stride)
        self._network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def input_size(self) -> int:
        """Height, in pixels, to which `vectors` resizes."""
        return self.shape[0]

    @property
    def weights_hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the weights as safetensors."""
        from safetensors.torch import save

        return hashlib.sha256(save(self._weights())).hexdigest()[:12]

    # ---- judging pictures ----

    def probabilities(self, pictures: np.ndarray, batch: int = 256) -> np.ndarray:
        """float32 N,K, rows that sum to 1, of uint8 pictures N,H,W,C of the size it was fitted on.

        Raises:
            InputError: pictures of another shape or type.
        """
        _check_pictures(pictures, self.shape)
        device = next(self._network.parameters()).device
        rows = [np.empty((0, self.classes), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(pictures), batch):
                x = _tensor(pictures[start : start + batch]).to(device).float() / 255
                rows.append(self.decide(self._network.vectors(x)).cpu().numpy())
        return np.concatenate(rows)

    def labels(self, pictures: np.ndarray, batch: int = 256) -> np.ndarray:
        """The most probable label of each picture: int64 N."""
        return self.probabilities(pictures, batch).argmax(1)

    def accuracy(self, pictures: np.ndarray, labels: np.ndarray) -> MetricCard:
        """The share of pictures whose most probable label is the given one, with its 95 % interval (`wilson`).

        Raises:
            InputError: no pictures, pictures or labels of another kind.
        """
        labels = _check_labels(labels, len(pictures), self.classes)
        right = int((self.labels(pictures) == labels).sum())
        protocol: dict[str, str | int | float] = {"classifier": self.weights_hash, "interval": "Wilson 95 %"}
        interval = wilson(right, len(labels))
        return MetricCard("accuracy", right / len(labels), "", len(labels), protocol | self.fitted, interval)

    # ---- describing pictures ----

    def stages(self, x: Tensor) -> list[Tensor]:
        """Three feature maps, fine to coarse, of pictures N,C,H,W in [0, 1] at their own size.

        A classifier of grey pictures looks at the mean of three channels; one of colours repeats a single channel.
        """
        return self._at(x).maps(self._channels(x))

    def vectors(self, x: Tensor) -> Tensor:
        """The features before the last layer, N,4·width, of pictures N,C,H,W in [0, 1], resized if need be."""
        x = self._channels(x)
        if tuple(x.shape[2:]) != self.shape[:2]:
            x = interpolate(x, self.shape[:2], mode="bilinear", align_corners=False, antialias=True)
        return self._at(x).vectors(x)

    def decide(self, vectors: Tensor) -> Tensor:
        """Probabilities N,K of what `vectors` gave."""
        return self._network.head(vectors).softmax(1)

    def _channels(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.shape[2]:
            x = x.mean(1, keepdim=True) if self.shape[2] == 1 else x.expand(-1, 3, -1, -1)
        return x

    def _at(self, x: Tensor) -> _Network:
        self._network.to(x.device)
        return self._network

    # ---- keeping it ----

    def model(self) -> Model:
        """It as a model, whose weights may be stored beside others; `of` takes it back."""
        config = {"shape": list(self.shape), "classes": self.classes, "fitted": self.fitted}
        return Model(TASK, config, {"model": self._weights()}, name=TASK)

    @classmethod
    def of(cls, model: Model) -> Classifier:
        """The classifier that a model holds.

        Raises:
            InputError: a model of another kind.
        """
        if model.task != TASK:
            held = model.name or "the model"
            raise InputError(f"{held} holds no classifier", expected=f"a model of {TASK!r}", actual=repr(model.task))
        height, width, channels = model.config["shape"]
        with torch.random.fork_rng(devices=[]):  # weights are drawn before they are replaced
            made = cls((height, width, channels), model.config["classes"], model.config["fitted"])
        made._network.load_state_dict(model.weights["model"])
        return made

    def save(self, folder: Path, *, force: bool = False) -> Path:
        """Write `model.safetensors` and `config.json` into a folder, as `Model.save` does, in full precision."""
        return self.model().save(folder, half=False, force=force)

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read a saved classifier back.

        Raises:
            InputError: a missing or damaged file, or a model of another kind.
        """
        return cls.of(Model.load(folder))

    def _weights(self) -> dict[str, Tensor]:
        return {key: value.detach().cpu().contiguous() for key, value in self._network.state_dict().items()}


def fit_classifier(
    pictures: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    nimg: int = NIMG,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
    width: int = 16,
    shift: int = 2,
    transform: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    extra: tuple[np.ndarray, np.ndarray] | None = None,
    share: float = 0.5,
) -> Classifier:
    """Fit a classifier by cross-entropy: AdamW, one cosine with a warm-up, pictures shifted at random.

    On a CPU the same arguments give the same weights, bit for bit, for one number of threads. Whatever `transform`
    and `extra` are, as many pictures are shown, in as many steps.

    Args:
        pictures: uint8 N,H,W,C.
        labels: integers N in 0..classes-1; a class may have no pictures.
        nimg: pictures to show.
        device: cpu, cuda, mps or auto.
        precision: fp32, bf16, fp16 or auto (bf16 where it is fast).
        width: channels at the finest resolution; twice and four times as many follow.
        shift: largest random shift, in pixels, each way; the border is repeated.
        transform: changes each picture H,W,C as it is drawn, by the random numbers given to it, into a new one of
            its shape and type; called before the shift.
        extra: further pictures M,H,W,C and labels M.
        share: of the pictures shown, those drawn from `extra`, each of which is as likely as another.

    Raises:
        InputError: pictures or labels of another kind, or none; a share outside [0, 1]; a transform that changes shape
            or type.
    """
    _check_pictures(pictures)
    data = _Labelled(pictures, _check_labels(labels, len(pictures), classes), transform)
    if extra is not None:
        if not 0 <= share <= 1:
            raise InputError("the share of further pictures makes no sense", expected="0 to 1", actual=share)
        _check_pictures(extra[0], pictures.shape[1:])
        data.extra, data.share = (extra[0], _check_labels(extra[1], len(extra[0]), classes)), share
    height, side, channels = pictures.shape[1:]
    device = pick_device(device)
    resolved = pick_precision(precision, device)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay where they were
        torch.manual_seed(seed)
        fitted = {"fitted on": len(pictures), "nimg": nimg, "seed": seed, "width": width, "shift": shift}
        further = {} if extra is None else {"further": len(extra[0]), "share": share}
        made = Classifier((height, side, channels), classes, {**fitted, **further, "precision": resolved})

    def loss(ctx: Context) -> Tensor:
        return cross_entropy(ctx.networks["classifier"](ctx["image"]).float(), ctx["label"])

    def prepare(batch: Mapping[str, Any], generator: torch.Generator) -> Mapping[str, Any]:
        return {**batch, "image": _shifted(batch["image"].float() / 255, shift, generator)}

    network = made._network.requires_grad_(True)
    rate = Cosine(RATE, 0.0, nimg, min(WARMUP_NIMG, nimg // 10))
    player = Player("classifier", {"classifier": network}, lr=rate, betas=(0.9, 0.99), weight_decay=DECAY)
    game = Game([player], [Phase("fit", "classifier", [Term("cross-entropy", loss)])], prepare=prepare)
    engine = Engine(
        game,
        Batches(data, BATCH, seed=seed),
        Settings(device=device, precision=resolved, seed=seed),
    )
    while engine.nimg < nimg:
        engine.step()
    network.eval().requires_grad_(False)
    return made


def classification_accuracy_score(
    fake_pictures: np.ndarray,
    fake_labels: np.ndarray,
    real_test_pictures: np.ndarray,
    real_test_labels: np.ndarray,
    classes: int,
    seed: int = 0,
    nimg: int = NIMG,
) -> MetricCard:
    """Accuracy on real test pictures of a classifier fitted on generated ones alone, with its 95 % interval.

    CAS: Ravuri and Vinyals 2019 (arXiv:1905.10887), section 3. Their classifier is a ResNet-50; ours is
    `fit_classifier`, so figures compare only with figures of this protocol. The interval covers the choice of test
    pictures, not the fit's seed. Arguments and errors as for `fit_classifier` and `Classifier.accuracy`.
    """
    card = fit_classifier(fake_pictures, fake_labels, classes, nimg=nimg, seed=seed).accuracy(
        real_test_pictures, real_test_labels
    )
    # not the classifier's hash, which is another for every generator that is to be compared
    real = hashlib.sha256(real_test_pictures.tobytes())
    real.update(np.asarray(real_test_labels, np.int64).tobytes())
    protocol = {key: value for key, value in card.protocol.items() if key != "classifier"} | {
        "real": real.hexdigest()[:12]
    }
    return MetricCard("CAS", card.value, card.unit, card.n, protocol, card.interval)


def wilson(successes: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a share, 95 % by default: Wilson 1927, JASA 22(158); inside [0, 1] even at its ends."""
    share = successes / n
    centre = share + z**2 / (2 * n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


class _Labelled:
    """Pictures and labels in memory, and further ones of which a share is shown, as a `gantoolkit.data.Dataset`."""

    extra: tuple[np.ndarray, np.ndarray] | None = None
    share = 0.0

    def __init__(
        self,
        pictures: np.ndarray,
        labels: np.ndarray,
        transform: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None,
    ) -> None:
        self.real, self.transform = (pictures, labels), transform

    def __len__(self) -> int:
        return len(self.real[1])

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Tensor]:
        pictures, labels = self.real
        if self.extra is not None and rng.random() < self.share:
            pictures, labels = self.extra
            index = int(rng.integers(len(labels)))
        picture = pictures[index]
        if self.transform is not None:
            picture = self.transform(picture, rng)
            if picture.shape != pictures.shape[1:] or picture.dtype != np.uint8:
                raise InputError(
                    "the transform of a classifier's pictures changed their kind",
                    expected=f"uint8 {pictures.shape[1:]}",
                    actual=f"{picture.dtype} {picture.shape}",
                )
        return {"image": _tensor(picture[None])[0], "label": torch.tensor(int(labels[index]))}


def _tensor(pictures: np.ndarray) -> Tensor:
    """uint8 N,H,W,C → uint8 N,C,H,W, channels last in memory and not copied."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)


def _shifted(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Each picture of N,C,H,W moved by its own -shift..shift pixels a direction; the border is repeated."""
    count, height, width = len(x), *x.shape[2:]
    x = pad(x, (shift,) * 4, mode="replicate").permute(0, 2, 3, 1)
    corner = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator, device=x.device)
    rows, columns = (start + torch.arange(n, device=x.device) for start, n in zip(corner, (height, width), strict=True))
    return x[torch.arange(count, device=x.device)[:, None, None], rows[:, :, None], columns[:, None]].permute(
        0, 3, 1, 2
    )


def _check_pictures(pictures: np.ndarray, shape: tuple[int, int, int] | None = None) -> None:
    low, high = SIDES
    right = pictures.dtype == np.uint8 and pictures.ndim == 4
    if right and shape is None:
        right = pictures.shape[3] in (1, 3) and all(low <= side <= high for side in pictures.shape[1:3])
    elif right:
        right = pictures.shape[1:] == shape
    if not right:
        wanted = f"N,H,W,C with C 1 or 3 and sides of {low} to {high} pixels"
        raise InputError(
            "the classifier cannot take these pictures",
            expected="uint8 " + (wanted if shape is None else f"N,{','.join(map(str, shape))}"),
            actual=f"{pictures.dtype} {pictures.shape}",
            remedy="resize them to one size and keep one or three channels",
        )


def _check_labels(labels: np.ndarray, pictures: int, classes: int) -> np.ndarray:
    """The labels as int64, one for each picture."""
    labels = np.asarray(labels)
    if labels.shape != (pictures,) or not pictures or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            "a classifier needs one label for each picture, and one picture at least",
            expected=f"integers of shape ({max(1, pictures)},)",
            actual=f"{labels.dtype} {labels.shape} for {pictures} pictures",
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise InputError("a label is out of range", expected=f"0 to {classes - 1}", actual=low if low < 0 else high)
    return labels.astype(np.int64)
