"""What a user can set: training, use and evaluation. Light, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gantoolkit.task import Options, Precision, Seed, TrainConfig, option

Scale = Literal[2, 3, 4]


class SuperresConfig(TrainConfig):
    """How to train an upscaler: first for fidelity (pixels), then against a critic (detail)."""

    scale: Scale = option(4, "output pixels per input pixel, along one side")
    arch: Literal["compact", "srvgg", "rrdb"] = option("compact", "the generator's architecture")
    channels: PositiveInt = option(48, "width of the generator")
    blocks: PositiveInt = option(8, "depth of the generator (srvgg: convolutions)")
    critic: Literal["patch", "unet"] = option("patch", "the critic's architecture")
    critic_channels: PositiveInt = option(32, "width of the critic")
    patch: PositiveInt = option(128, "side of a high-resolution patch, in pixels; a multiple of the scale")
    windows: PositiveInt = option(3, "places looked at for a patch, of which the one with most detail is taken")
    degradation: Literal["bicubic", "light", "second-order"] = option(
        "bicubic", "how low resolution is made: antialiased, or blur, noise and JPEG too"
    )
    fidelity_nimg: NonNegativeInt = option(200_000, "images of the first stage; 0 skips it")
    adversarial_nimg: NonNegativeInt = option(100_000, "images of the second stage; 0 skips it")
    lr: PositiveFloat = option(5e-4, "learning rate of the first stage, falling along a cosine")
    adversarial_lr: PositiveFloat = option(3e-4, "learning rate of both players in the second stage")
    loss: str = option("rpgan", "adversarial loss")
    pixel_weight: NonNegativeFloat = option(1.0, "weight of the pixel term in the second stage")
    perceptual_weight: NonNegativeFloat = option(0.1, "weight of the perceptual term")
    adversarial_weight: NonNegativeFloat = option(0.1, "weight of the adversarial term")
    gamma: NonNegativeFloat = option(1.0, "strength of the R1 and R2 penalties on the mean score of a patch")
    penalty_every: PositiveInt = option(8, "moves of the critic between two penalties (lazy regularisation)")
    ema_nimg: PositiveFloat = option(5_000.0, "half-life of the generator's average, in images")
    init: Path | None = option(None, "model folder whose weights the generator starts from")
    clip_norm: PositiveFloat = option(1.0, "largest gradient norm of the generator")


class RunOptions(Options):
    """Enlarge pictures: files, folders, globs, or - for stdin. Without any, a sample photo shows what to expect.

    Colour profile, EXIF, alpha, grey and 16 bit come out as they went in.
    """

    inputs: list[str] = option([], "pictures, folders, globs, or -", "ARGUMENT")
    out: str | None = option(None, "a file for one input, else a folder; - is stdout", "-o")
    scale: Scale | None = option(None, "output pixels per input pixel; None is the model's own", "-s")
    outscale: float | None = option(None, "any final scale up to 16, through a resampler", gt=0, le=16)
    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    detail: float = option(0.5, "from 0, faithful to the input, to 1, most detail", ge=0, le=1)
    tile: NonNegativeInt = option(0, "side of a tile in input pixels; 0 chooses", "-t")
    device: str = option("auto", "cpu, cuda, mps or auto")
    precision: Precision = option("auto", "of the network")
    backend: Literal["torch", "onnx", "openvino"] = option("torch", "what runs the network")
    recursive: bool = option(False, "look into folders within folders", "-r")
    suffix: str | None = option(None, "what is added to a name; default _x4 for scale 4")
    format: Literal["png", "jpg", "webp", "tif"] | None = option(None, "of the output; default as the input")
    quality: int = option(95, "of JPEG and WebP", ge=1, le=100)
    force: bool = option(False, "overwrite existing files", "-f")


class EvalOptions(Options):
    """Compare models with the truth: each high-resolution picture is made small, enlarged again, and measured."""

    pictures: list[str] = option([], "high-resolution pictures or folders", "ARGUMENT")
    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    vs: str = option("bicubic", "what to compare with: bicubic, lanczos or models, with commas between")
    detail: float = option(0.5, "of models with two sets of weights: 0 faithful, 1 most detail", ge=0, le=1)
    scale: Scale = option(4, "how much smaller the inputs are made", "-s")
    degradation: Literal["bicubic", "light", "second-order"] = option("bicubic", "how they are made smaller")
    crop: int | None = option(None, "border that is not measured, in pixels; default the scale", ge=0)
    seed: Seed = option(0, "of the degradation")
    device: str = option("auto", "cpu, cuda, mps or auto")
    precision: Precision = option("auto", "of the networks")
    sheet: Path | None = option(None, "write a picture of all results side by side")
    recursive: bool = option(False, "look into folders within folders", "-r")
