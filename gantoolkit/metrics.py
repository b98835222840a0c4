"""Picture metrics as numbers that carry their protocol: what was compared, how, and how many.

Pictures are uint8 arrays H,W,3, sRGB; PSNR and SSIM also take any float arrays H,W,C scaled to [0, 1] (channel
"values"). Each metric takes one pair, or two sequences of equal length, and then gives the mean over pairs. The
channel and the border that is left out are stated in every result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gantoolkit.errors import InputError, UsageError
from gantoolkit.runlog import plain, write_atomically

if TYPE_CHECKING:
    from gantoolkit.features import Extractor
    from gantoolkit.task import Console

Channel = Literal["y", "rgb", "values"]
Pictures = np.ndarray | Sequence[np.ndarray]

SSIM_WINDOW = 11  # pixels: Gaussian weights, sigma 1.5, cut off at 3.5 sigma
SSIM_WORDS = "Gaussian 11×11, sigma 1.5"
LUMA_SWING = 219.0  # from black to white, see `luma`


@dataclass(frozen=True)
class MetricCard:
    """One measured number and all that is needed to measure it again.

    Attributes:
        name: what was measured, e.g. "PSNR-Y".
        value: the number, in `unit`.
        unit: "dB", or "" for a number without one.
        n: how many pictures (or pairs) it is of.
        protocol: settings that change the number, by name.
        interval: lower and upper end of an interval of confidence, where one was computed.
        of: what was measured, e.g. a model's name; the one thing in which cards that are compared may differ.
    """

    name: str
    value: float
    unit: str = ""
    n: int = 1
    protocol: dict[str, str | int | float] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    higher_is_better: bool = True
    of: str = ""

    def line(self) -> str:
        """The number and its protocol on one line, for people."""
        text = f"{self.name} {self.value:.4g}" + (f" {self.unit}" if self.unit else "")
        if self.interval:
            text += f" [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"
        settings = [f"n={self.n}", *(f"{key}={value}" for key, value in self.protocol.items())]
        return f"{text} ({', '.join(settings)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which has no infinity and no NaN: they become None."""
        return plain(asdict(self), "card", [])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetricCard:
        """The card that `to_dict` described; a number that was not finite comes back as NaN.

        Raises:
            TypeError: those are not a card's values.
        """
        known: dict[str, Any] = {"value": None, "interval": None, **values}
        numbers = [known["value"], *(known["interval"] or ())]
        kinds = {"name": str, "unit": str, "n": int, "protocol": dict, "of": str, "higher_is_better": bool}
        wrong = [key for key, kind in kinds.items() if not isinstance(known.get(key, kind()), kind)]
        if wrong or len(numbers) not in (1, 3) or not all(isinstance(x, (int, float, type(None))) for x in numbers):
            raise TypeError(f"{' and '.join(wrong) or 'value or interval'} of another type than a card's")
        value, *ends = (math.nan if number is None else number for number in numbers)
        return cls(**{**known, "value": value, "interval": tuple(ends) or None})


@dataclass(frozen=True)
class Difference:
    """Two cards of one protocol: `value` is the second's minus the first's, `text` says it for people."""

    value: float
    text: str


def publish(cards: Sequence[MetricCard], console: Console, save: Path | None = None) -> None:
    """Say each card in a line, give it as a result, and write all of them where a file is named."""
    for card in cards:
        console.say(card.line())
        console.result({"card": card.to_dict()})
    if save is not None:
        write_cards(cards, save)
        console.say(f"cards: {save}")


def write_cards(cards: Sequence[MetricCard], path: Path) -> None:
    """A JSON list of cards; the folder is made if it is not there.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    write_atomically(path, json.dumps([card.to_dict() for card in cards], indent=2).encode())


def compare(a: MetricCard, b: MetricCard) -> Difference:
    """What changed from `a` to `b`.

    Raises:
        UsageError: the two were not measured alike; the first setting that differs is named.
    """
    facts = [{"metric": c.name, "unit": c.unit, "n": c.n, **c.protocol} for c in (a, b)]
    for key in dict.fromkeys([*facts[0], *facts[1]]):
        first, second = (fact.get(key, "nothing") for fact in facts)
        if first != second:
            raise UsageError(
                f"{a.name} and {b.name} cannot be compared: {key} differs",
                expected=first,
                actual=second,
                remedy="measure both with one protocol",
            )
    value = 0.0 if a.value == b.value else b.value - a.value
    better = (value > 0) == a.higher_is_better
    verdict = "not a number" if value != value else "equal" if value == 0 else "better" if better else "worse"
    if value and a.interval and b.interval and a.interval[0] <= b.interval[1] and b.interval[0] <= a.interval[1]:
        verdict += ", but the intervals overlap"
    unit = f" {a.unit}" if a.unit else ""
    return Difference(value, f"{a.name} {a.value:.4g} → {b.value:.4g}{unit} ({value:+.4g}, {verdict})")


def luma(pixels: np.ndarray) -> np.ndarray:
    """Studio-swing luma of a uint8 picture H,W,3: float64 H,W from 16 (black) to 235 (white).

    ITU-R BT.601-7, section 2.5.3, with the decimals of MATLAB's `rgb2ycbcr` and without its rounding.
    """
    return 16.0 + pixels.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255.0


def psnr(x: Pictures, y: Pictures, channel: Channel = "y", crop: int = 0) -> MetricCard:
    """Peak signal-to-noise ratio, 10 log₁₀(peak² / MSE), in dB; infinite for equal pictures.

    Args:
        x, y: uint8 pictures H,W,3; the two of a pair have one shape.
        channel: "y" for BT.601 studio-swing luma (peak 255 all the same, as in print), "rgb" for all three;
            "values" for float arrays H,W,C of any C, scaled to [0, 1] by whoever knows their range (peak 1).
        crop: pixels left out at each border; papers use the scale.

    Raises:
        UsageError: other shapes or types, an unknown channel, or a crop that leaves nothing.
    """

    def one(first: np.ndarray, second: np.ndarray) -> float:
        error = float(np.mean((first - second) ** 2))
        return 10 * float(np.log10(_peak(channel) ** 2 / error)) if error else float("inf")

    value, n = _average(one, x, y, channel, crop)
    return MetricCard(f"PSNR-{channel.upper()}", value, "dB", n, _protocol(channel, crop))


def ssim(x: Pictures, y: Pictures, channel: Channel = "y", crop: int = 0) -> MetricCard:
    """Structural similarity, 1 for equal pictures: Wang et al. 2004, IEEE TIP 13(4), eq. 13.

    Their settings: an 11×11 Gaussian window of sigma 1.5, K = (.01, .03), peak 255 (1 for "values"), weighted (not
    sample) covariance; computed by scikit-image. "rgb" and "values" average the channels. Arguments as for `psnr`.
    """

    def one(first: np.ndarray, second: np.ndarray) -> float:
        return _similarity(first, second, _peak(channel))

    value, n = _average(one, x, y, channel, crop)
    protocol = _protocol(channel, crop) | {"window": SSIM_WORDS}
    return MetricCard(f"SSIM-{channel.upper()}", value, "", n, protocol)


def edge_similarity(x: Pictures, y: Pictures, crop: int = 0) -> MetricCard:
    """How much of a picture's structure another one keeps: SSIM (as in `ssim`) of the edges of their luma.

    Edges are the length of the gradient by Sobel's operator (Sobel & Feldman 1968), scaled such that a step from
    black to white is 219, the peak. Luma alone is looked at, so a recolouring that keeps it changes nothing; 1 for
    equal pictures. For a translation without a truth it says whether the content stayed, never whether the result
    is good: the input itself scores 1. Arguments as for `psnr`, uint8 pictures only.
    """

    def one(first: np.ndarray, second: np.ndarray) -> float:
        return _similarity(_edges(first), _edges(second), LUMA_SWING)

    value, n = _average(one, x, y, "y", crop)
    protocol: dict[str, str | int | float] = {"edges": "Sobel of BT.601 luma", "peak": int(LUMA_SWING), "crop": crop}
    return MetricCard("edge-SSIM", value, "", n, protocol | {"window": SSIM_WORDS})


def _edges(plane: np.ndarray) -> np.ndarray:
    """Gradient magnitude H,W of a plane H,W; borders are mirrored."""
    from scipy.ndimage import sobel

    return np.hypot(sobel(plane, 0), sobel(plane, 1)) / 4


def _similarity(first: np.ndarray, second: np.ndarray, peak: float) -> float:
    """SSIM of two float arrays H,W or H,W,C (then the mean over channels)."""
    from skimage.metrics import structural_similarity

    if min(first.shape[:2]) < SSIM_WINDOW:
        raise UsageError(
            "SSIM: the picture is smaller than the window",
            expected=f"at least {SSIM_WINDOW} pixels a side after the crop",
            actual=f"{first.shape[1]}×{first.shape[0]}",
            remedy="use larger pictures or a smaller crop",
        )
    value = structural_similarity(
        first,
        second,
        data_range=peak,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if first.ndim == 3 else None,
    )
    return float(value)


def perceptual(x: Pictures, y: Pictures, extractor: Extractor | None = None, crop: int = 0) -> MetricCard:
    """Perceptual distance of uint8 pictures H,W,3: 0 for equal ones, lower is nearer.

    See `gantoolkit.features.perceptual_distance`; the card is named after the extractor ("EffLite0-PD") and
    carries the hash of its weights. It is not LPIPS. `crop` as for `psnr`.
    """
    import torch

    from gantoolkit.features import efficientnet_lite0, perceptual_distance

    network = extractor or efficientnet_lite0()

    def one(first: np.ndarray, second: np.ndarray) -> float:
        a, b = (torch.from_numpy(p).float().permute(2, 0, 1)[None] / 255 for p in (first, second))
        with torch.inference_mode():
            return perceptual_distance(a, b, network).item()

    value, n = _average(one, x, y, "rgb", crop)
    protocol: dict[str, str | int | float] = {"features": network.name, "weights": network.weights_hash}
    return MetricCard(f"{network.name}-PD", value, "", n, protocol | {"crop": crop}, higher_is_better=False)


def _average(
    one: Callable[[np.ndarray, np.ndarray], float], x: Pictures, y: Pictures, channel: Channel, crop: int
) -> tuple[float, int]:
    """The mean of `one` over prepared pairs, and how many there are."""
    xs, ys = ([p] if isinstance(p, np.ndarray) else p for p in (x, y))
    if len(xs) != len(ys) or not xs:
        raise UsageError(
            "a metric compares pictures in pairs",
            expected="two sequences of one length, not empty",
            actual=f"{len(xs)} and {len(ys)} pictures",
        )
    values = [one(*_prepared(a, b, channel, crop)) for a, b in zip(xs, ys, strict=True)]
    return sum(values) / len(values), len(values)


KINDS = {"y": "BT.601 studio-swing luma", "rgb": "sRGB", "values": "values scaled to [0, 1]"}


def _peak(channel: str) -> float:
    return 1.0 if channel == "values" else 255.0


def _protocol(channel: Channel, crop: int) -> dict[str, str | int | float]:
    return {"channel": KINDS[channel], "peak": int(_peak(channel)), "crop": crop}


def _prepared(x: np.ndarray, y: np.ndarray, channel: str, crop: int) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures cropped, as float64: H,W for "y", H,W,3 for "rgb", H,W,C for "values"."""
    if channel not in KINDS:
        raise UsageError("unknown channel", expected="y or rgb, or values", actual=repr(channel))
    if channel == "values":
        fits = x.ndim == 3 and np.issubdtype(x.dtype, np.floating) and np.issubdtype(y.dtype, np.floating)
        expected, remedy = "two float arrays H,W,C of one shape", "scale both to [0, 1] and crop them to one size"
    else:
        fits = x.ndim == 3 and x.shape[2] == 3 and x.dtype == y.dtype == np.uint8
        expected, remedy = "two uint8 arrays H,W,3 of one shape", "convert both to 8-bit RGB and crop them to one size"
    if x.shape != y.shape or not fits:
        actual = f"{x.dtype} {x.shape} and {y.dtype} {y.shape}"
        raise UsageError("cannot compare these pictures", expected=expected, actual=actual, remedy=remedy)
    if crop < 0 or 2 * crop >= min(x.shape[:2]):
        raise UsageError(
            "the crop leaves nothing to compare",
            expected=f"0 to {(min(x.shape[:2]) - 1) // 2} pixels",
            actual=crop,
            remedy="use a smaller crop",
        )
    inside = slice(crop, -crop or None)
    x, y = x[inside, inside], y[inside, inside]
    return (luma(x), luma(y)) if channel == "y" else (x.astype(np.float64), y.astype(np.float64))
