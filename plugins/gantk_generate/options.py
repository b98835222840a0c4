"""What a user can set: training, use and evaluation. Light, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gantoolkit.task import Options, Precision, Seed, TrainConfig, option

FEWEST = 20  # pictures that an evaluation can be made from


class GenerateConfig(TrainConfig):
    """How to train a generator on a folder of pictures, with or without classes."""

    batch: PositiveInt = option(16, "real images a step, all processes together")
    nimg: PositiveInt = option(400_000, "real images to show")
    arch: Literal["dcgan", "residual", "style", "mlp"] = option("residual", "architecture of both networks")
    height: NonNegativeInt = option(0, "of the pictures, in pixels; 0 takes the data's")
    width: NonNegativeInt = option(0, "of the pictures, in pixels; 0 takes the data's")
    fit: Literal["crop", "pad", "stretch"] = option("crop", "how pictures of other shapes come to that size")
    picture_channels: Literal[1, 3, 4] | None = option(None, "1 grey, 3 colour, 4 with alpha; None follows the data")
    latent: PositiveInt = option(64, "numbers that a picture is made from")
    channels: PositiveInt = option(64, "width of the generator at its largest map")
    critic_channels: PositiveInt = option(64, "width of the critic at its largest map")
    layers: PositiveInt = option(5, "hidden layers of both networks (mlp)")
    patch: Literal[1, 2, 4] = option(2, "pixels a side of what a position of the largest map stands for (residual)")
    conditional: bool = option(True, "learn the classes, where the data has labels")
    mirror: bool = option(False, "show each picture's mirror image too")
    held_out: float = option(0.1, "share of the pictures kept aside for gauges and scores", ge=0, lt=1)
    loss: str = option("rpgan", "adversarial loss")
    penalty: Literal["r1r2", "r1", "gp", "none"] = option("r1r2", "what keeps the critic's gradient small")
    gamma: NonNegativeFloat | None = option(None, "strength of the penalty; None follows size and batch")
    gamma_end: PositiveFloat = option(0.3, "factor to which gamma falls, along a cosine", le=1)
    penalty_every: PositiveInt = option(4, "moves of the critic between two penalties (lazy regularisation)")
    critic_moves: PositiveInt = option(1, "moves of the critic, each on a fresh batch, to one of the generator")
    lr: PositiveFloat = option(7e-4, "learning rate of both players")
    critic_lr: PositiveFloat | None = option(None, "learning rate of the critic, where it differs")
    lr_end: PositiveFloat = option(0.1, "factor to which the rates fall, along a cosine", le=1)
    beta1: float = option(0.0, "Adam's first decay rate", ge=0, lt=1)
    beta2: float = option(0.99, "Adam's second decay rate", ge=0, lt=1)
    ema_nimg: NonNegativeFloat = option(5_000.0, "half-life of the generator's average, in images; 0 keeps none")
    spectral_norm: bool = option(False, "bound every layer of the critic (dcgan)")
    batch_norm: bool = option(False, "normalise the critic over the batch (dcgan)")
    path_length: NonNegativeFloat = option(0.0, "weight of path length regularisation (style)")
    path_every: PositiveInt = option(4, "moves of the generator between two path length terms")
    augment: str = option(
        "", "what is done to reals and fakes alike: color, translation, cutout, or ADA's blit, geometry, tone"
    )
    strength: float | None = option(None, "how often, 0 to 1; None adapts it to the critic's overfitting", ge=0, le=1)
    ramp_nimg: PositiveInt = option(25_000, "images in which an adapted strength could go from 0 to 1")
    score_pictures: PositiveInt = option(2_000, "pictures made for an evaluation while training", ge=16)
    features: str = option("efficientnet-lite0@64", "what scores while training look at")


class RunOptions(Options):
    """Make new pictures: one PNG each, and all of them on one sheet.

    Without a model, the one that comes with the toolkit shows what to expect. The same seed gives the same pictures.
    """

    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    number: PositiveInt = option(64, "pictures to make", "-n", le=10**6)
    seed: Seed = option(0, "picture i is made from seed + i")
    label: list[str] = option([], "classes to make, by name or number; all in turn by default", "--class")
    truncation: float = option(1.0, "below 1: nearer to the mean picture, less variety", ge=0, le=2)
    out: Path | None = option(None, "folder for the pictures; default gantk-generate", "-o")
    grid: bool = option(False, "only the sheet, no picture files")
    interpolate: Path | None = option(None, "write a video.mp4 or .gif that moves through the pictures instead")
    mix: bool = option(False, "write a sheet that mixes the styles of the pictures (style models)")
    directions: NonNegativeInt = option(0, "write a sheet of this many directions that the model has found by itself")
    project: Path | None = option(None, "find this picture among those that the model can make")
    device: str = option("auto", "cpu, cuda, mps or auto")
    precision: Precision = option("fp32", "of the network")
    force: bool = option(False, "overwrite existing files", "-f")


class EvalOptions(Options):
    """Measure a generator against real pictures; every figure carries its protocol."""

    data: Path | None = option(None, "the real pictures: a folder or zip", "ARGUMENT")
    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    fakes: Path | None = option(None, "measure these pictures instead of a model's: a folder or zip")
    training: Path | None = option(None, "what the model was trained on, to look for copies")
    number: PositiveInt = option(5_000, "pictures to make, and real ones to take at most", "-n", ge=FEWEST)
    features: str = option(
        "efficientnet-lite0", "an extractor: efficientnet-lite0[@SIZE], pixels@16, inception:FILE, …"
    )
    seed: Seed = option(0, "of the pictures made and of every draw")
    truncation: float = option(1.0, "as in `gantk run generate`", ge=0, le=2)
    accuracy: bool = option(
        False, "also fit classifiers: on generated pictures alone, and on the real ones (labelled data)"
    )
    save: Path | None = option(None, "write the cards to this JSON file")
    against: Path | None = option(None, "compare with the cards of this JSON file; mismatched protocols are refused")
    sheet: Path | None = option(None, "write a picture: made ones beside their nearest training pictures")
    device: str = option("auto", "cpu, cuda, mps or auto")
