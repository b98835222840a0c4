"""What a user can set: training, use and evaluation. Light, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from gantoolkit.errors import UsageError
from gantoolkit.task import Options, Precision, Seed, TrainConfig, option

GameName = Literal["pix2pix", "pix2pix-modern", "cyclegan", "cut", "fastcut", "style"]
Direction = Literal["AtoB", "BtoA"]
DEFAULT: GameName = "pix2pix-modern"

# What differs from game to game where a user says nothing: one row each, values of the papers cited in `games/`.
GAMES: Mapping[GameName, Mapping[str, Any]] = {
    "pix2pix": {
        "batch": 1, "generator": "unet", "norm": "batch", "dropout": 0.5, "critic": "patch",
        "loss": "nonsaturating", "lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "steady": 0.5, "pixel_weight": 100.0,
    },
    "pix2pix-modern": {},
    "cyclegan": {
        "batch": 1, "generator": "resnet", "norm": "instance", "critic": "patch", "loss": "lsgan",
        "lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "steady": 0.5,
    },
    "cut": {
        "batch": 1, "generator": "resnet", "norm": "instance", "critic": "patch", "loss": "lsgan",
        "lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "steady": 0.5, "nce_weight": 1.0, "identity_weight": 1.0,
    },
    "fastcut": {
        "batch": 1, "generator": "resnet", "norm": "instance", "critic": "patch", "loss": "lsgan",
        "lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "steady": 0.75, "nce_weight": 10.0, "identity_weight": 0.0,
    },
    "style": {
        "batch": 8, "generator": "adain", "critic": "none", "lr": 5e-4, "beta1": 0.9, "beta2": 0.999,
        "pixel_weight": 0.0, "style_weight": 30.0,
    },
}  # fmt: skip
BLOCKS = {"residual": 2, "unet": 8, "resnet": 9, "adain": 3}  # by generator, where a user says nothing

# Options that only some choices have: what chooses, and its choices.
_RESIDUAL = {"generator": ("residual",)}
_ADVERSARIAL = {"game": ("pix2pix", "pix2pix-modern", "cyclegan", "cut", "fastcut")}
_MODERN, _CYCLE, _CONTRAST = ({"game": games} for games in (("pix2pix-modern",), ("cyclegan",), ("cut", "fastcut")))
OF: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "jitter": {"fit": ("resize",)},
    "levels": _RESIDUAL, "patch": _RESIDUAL, "attention": _RESIDUAL, "compose": _RESIDUAL,
    "norm": {"generator": ("unet", "resnet"), "critic": ("patch",)}, "dropout": {"generator": ("unet",)},
    "critic_channels": {"critic": ("multiscale", "patch")}, "critic_layers": {"critic": ("multiscale", "patch")},
    "critic_scales": {"critic": ("multiscale",)}, "critic_lr": {"critic": ("multiscale", "patch")},
    "loss": _ADVERSARIAL, "adversarial_weight": _ADVERSARIAL, "pixel_weight": {"game": ("pix2pix", "pix2pix-modern")},
    "perceptual_weight": _MODERN, "matching_weight": _MODERN, "gamma": _MODERN, "penalty_every": _MODERN,
    "cycle_weight": _CYCLE, "pool": _CYCLE, "identity_weight": {"game": ("cyclegan", "cut", "fastcut", "style")},
    "nce_weight": _CONTRAST, "nce_patches": _CONTRAST, "nce_temperature": _CONTRAST,
    "style_weight": {"game": ("style",)},
}  # fmt: skip


class TranslateConfig(TrainConfig):
    """How to train a translator from pairs (pix2pix) or from two sets of pictures (cyclegan, cut, fastcut, style).

    Options whose default the game decides show that of pix2pix-modern; the number of blocks follows the generator. An
    option that the chosen game, generator, critic or fit does not have is refused.
    """

    game: GameName = option(DEFAULT, "what is played: pix2pix* learn from pairs, the others need none")
    direction: Direction = option("AtoB", "which side is the input")
    batch: PositiveInt = option(4, "real images a step, all processes together; most games of papers take 1")
    half_nimg: NonNegativeInt = option(0, "real images to show at half the size first, which is quicker; 0 skips it")
    nimg: PositiveInt = option(200_000, "real images to show at full size")
    size: PositiveInt = option(256, "side of a training picture, in pixels")
    fit: Literal["resize", "crop"] = option("resize", "whole pictures made that size, or windows of that size cut out")
    jitter: float = option(1.12, "resize a little larger, then cut a window: 1 is off", ge=1, le=2)
    mirror: bool = option(True, "flip pictures at random (both sides alike)")
    turn: bool = option(False, "turn by quarters at random (both sides alike): maps, cells")
    masks: Literal["none", "A", "B", "AB"] = option("none", "sides that are segmentation masks, learnt as classes")
    held_out: float = option(0.1, "share kept aside for scores, where the data has no test or val part", ge=0, lt=1)

    generator: Literal["residual", "unet", "resnet", "adain"] = option("residual", "the generator's architecture")
    channels: PositiveInt = option(32, "width of the generator at its largest map")
    blocks: PositiveInt = option(
        2, "residual blocks (residual: at each size; resnet: 9) or halvings (unet: 8; adain: 3)"
    )
    levels: PositiveInt = option(4, "halvings of the map (residual)")
    patch: Literal[1, 2, 4] = option(2, "pixels a side of a position of the largest map (residual)")
    attention: bool = option(True, "attention over the smallest map (residual); off lets tiles equal the whole")
    norm: Literal["none", "instance", "batch"] = option(
        "none", "normalisation inside the generator (unet, resnet) and the critic (patch)"
    )
    dropout: float = option(0.0, "in the generator (unet)", ge=0, lt=1)
    compose: Literal["none", "multiply", "chroma"] = option(
        "none", "what the input adds to the output: its lines (multiply) or its brightness (chroma)"
    )
    critic: Literal["multiscale", "patch", "none"] = option("multiscale", "the critic's architecture")
    critic_channels: PositiveInt = option(32, "width of the critic")
    critic_layers: PositiveInt = option(3, "halvings of the critic's map; 3 sees 70 pixels (patch)")
    critic_scales: PositiveInt = option(2, "critics at halved sizes (multiscale)")

    loss: str = option("rpgan", "adversarial loss")
    adversarial_weight: NonNegativeFloat = option(1.0, "weight of the adversarial term")
    pixel_weight: NonNegativeFloat = option(20.0, "weight of the mean absolute difference (pairs)")
    perceptual_weight: NonNegativeFloat = option(2.0, "weight of the perceptual term (pix2pix-modern)")
    matching_weight: NonNegativeFloat = option(2.0, "weight of the critic's feature matching (pix2pix-modern)")
    gamma: NonNegativeFloat | None = option(
        None, "strength of the R1 and R2 penalties (pix2pix-modern); None follows size and batch"
    )
    penalty_every: PositiveInt = option(8, "moves of the critic between two penalties (pix2pix-modern)")
    cycle_weight: NonNegativeFloat = option(10.0, "weight of there and back again (cyclegan)")
    identity_weight: NonNegativeFloat = option(
        0.5,
        "of leaving the target side alone: share of the cycle's weight (cyclegan), of the contrast (cut: 1 or 0); "
        "of a picture in its own style staying as it is (style)",
    )
    pool: NonNegativeInt = option(50, "earlier outputs that the critic sees again (cyclegan)")
    nce_weight: NonNegativeFloat = option(1.0, "weight of the contrast of patches (cut, fastcut)")
    nce_patches: PositiveInt = option(256, "places that are contrasted (cut, fastcut)")
    nce_temperature: PositiveFloat = option(0.07, "of the contrast (cut, fastcut)")
    style_weight: NonNegativeFloat = option(10.0, "weight of the style term (style)")

    lr: PositiveFloat = option(4e-4, "learning rate of both players")
    critic_lr: PositiveFloat | None = option(None, "learning rate of the critic, where it differs")
    beta1: float = option(0.5, "Adam's first decay rate", ge=0, lt=1)
    beta2: float = option(0.99, "Adam's second decay rate", ge=0, lt=1)
    steady: float = option(0.3, "share of the training before the rates fall linearly to 0", ge=0, le=1)
    ema_nimg: NonNegativeFloat = option(5_000.0, "half-life of the generator's average, in images; 0 keeps none")
    init: Path | None = option(None, "model folder whose weights the generator starts from")
    score_pictures: PositiveInt = option(64, "held-out pictures that scores while training look at")

    _whole: int = PrivateAttr(0)

    def halved(self) -> TranslateConfig:
        """The first stage's own: it plays at half the size, and its rates do not fall yet."""
        first = self.model_copy(update={"size": self.size // 2, "nimg": self.half_nimg, "steady": 1.0})
        first._whole = self.size
        return first

    @property
    def whole(self) -> int:
        """The size that the user asked for, in pixels, which is not `size` in the stage at half of it."""
        return self._whole or self.size

    @model_validator(mode="before")
    @classmethod
    def _of_the_game(cls, given: Any) -> Any:
        """What was not said follows the game."""
        if not isinstance(given, dict):
            return given
        values = {**GAMES.get(given.get("game", DEFAULT), {}), **given}
        blocks = BLOCKS.get(values.get("generator", "residual"))
        return values if blocks is None else {"blocks": blocks, **values}

    @model_validator(mode="after")
    def _of_the_choices(self) -> TranslateConfig:
        """Nothing is asked of what is not there; its default stands in every config that was written out whole."""
        for name, choices in OF.items():
            value, default = getattr(self, name), type(self).model_fields[name].default
            nothing = 1 if name == "jitter" else "none" if isinstance(value, str) else 0
            there = any(getattr(self, chooser) in having for chooser, having in choices.items())
            if there or value in (nothing, GAMES[self.game].get(name, default)):
                continue
            chooser = next(iter(choices))
            raise UsageError(
                f"--{name.replace('_', '-')} {value} has no effect with --{chooser} {getattr(self, chooser)}",
                expected=" or ".join(f"--{key} {' or '.join(values)}" for key, values in choices.items()),
                remedy="leave it out",
            )
        return self


class RunOptions(Options):
    """Translate pictures: files, folders, globs, or - for stdin. Without any, a sample shows what to expect.

    Colour profile, EXIF, alpha and bit depth come out as they went in, where the model's side allows it.
    """

    inputs: list[str] = option(
        [], "pictures, arrays (.npy, .nii), folders, globs, or - (a picture from stdin)", "ARGUMENT"
    )
    out: str | None = option(None, "a file for one input, else a folder; - is stdout", "-o")
    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    direction: Direction | None = option(None, "AtoB or BtoA, for models that go both ways; None is the model's own")
    style: Path | None = option(None, "a picture whose style to take (models of the game style)")
    strength: float = option(1.0, "how much of the translation: 0 is the input", ge=0, le=1)
    size: NonNegativeInt = option(
        0, "bring the longer side to so many pixels first, as a model of whole pictures learnt them; 0 keeps it"
    )
    tile: NonNegativeInt = option(0, "side of a tile in pixels; 0 chooses", "-t")
    device: str = option("auto", "cpu, cuda, mps or auto")
    precision: Precision = option("auto", "of the network")
    backend: Literal["torch", "onnx", "openvino"] = option("torch", "what runs the network")
    recursive: bool = option(False, "look into folders within folders", "-r")
    suffix: str = option("_translated", "what is added to a name")
    format: Literal["png", "jpg", "webp", "tif"] | None = option(None, "of the output; default as the input")
    quality: int = option(95, "of JPEG and WebP", ge=1, le=100)
    force: bool = option(False, "overwrite existing files", "-f")


class EvalOptions(Options):
    """Compare a translator with the truth (pairs) or with the other side's pictures, beside two baselines.

    The baselines are the input itself (identity) and the best affine map of colours.
    """

    data: Path | None = option(None, "a folder of pairs or of two sides, as for training", "ARGUMENT")
    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    direction: Direction | None = option(None, "AtoB or BtoA, for models that go both ways")
    style: Path | None = option(None, "a picture whose style to take (models of the game style)")
    part: Literal["test", "train", "all"] = option("test", "which pictures: the held-out ones, the others, or all")
    pairs: bool = option(True, "the same names on both sides are pairs; off compares the sets only")
    masks: Path | None = option(None, "segmentation masks of the same names, or none: agreement of classes")
    features: str = option("efficientnet-lite0", "an extractor for KID and Fréchet distance")
    number: NonNegativeInt = option(0, "pictures at most; 0 takes all", "-n")
    seed: Seed = option(0, "of every draw")
    device: str = option("auto", "cpu, cuda, mps or auto")
    save: Path | None = option(None, "write the cards to this JSON file")
    sheet: Path | None = option(None, "write a picture: input, output and target side by side")
    page: Path | None = option(None, "write an HTML page of figures and pictures")
