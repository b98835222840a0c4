"""What a user can set: fitting, use and evaluation. Light, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from gantoolkit.task import Options, Seed, TrainConfig, option

RECIPES = ("photo", "medical", "document", "satellite", "faces")


class AugmentConfig(TrainConfig):
    """Fit a generator on a labelled data set of few pictures, and what tells its good samples from bad ones."""

    batch: PositiveInt = option(16, "real images a step, all processes together")
    nimg: PositiveInt = option(50_000, "real images to show")
    height: NonNegativeInt = option(0, "of the pictures, in pixels; 0 takes the data's")
    width: NonNegativeInt = option(0, "of the pictures, in pixels; 0 takes the data's")
    channels: PositiveInt = option(32, "width of both networks at their largest map")
    augment: str = option("color,translation,cutout", "what the critic sees of a picture is changed by; '' for nothing")
    mirror: bool = option(False, "show each picture's mirror image too")
    held_out: float = option(0.0, "share of the pictures kept aside for scores while training", ge=0, lt=1)
    classifier_nimg: PositiveInt = option(20_000, "pictures shown to each classifier that judges samples")
    folds: PositiveInt = option(3, "parts of the pictures, each judged by classifiers that have not seen it", ge=2)
    duplicates: float = option(0.01, "leave out samples nearer to a picture than this share of pictures", ge=0, lt=1)
    outliers: float = option(
        0.05, "leave out samples farther from all pictures than this share of pictures", ge=0, lt=1
    )
    confidence: float = option(0.05, "least probability of its label that a sample has to have", ge=0, lt=1)


class RunOptions(Options):
    """Grow a data set: its pictures, and new ones made from them or by a generator fitted on them.

    The result has the layout of the data, and a manifest from which every new picture can be made again.
    """

    data: Path | None = option(None, "a folder or zip: classes as folders, labels.csv, COCO, or masks", "ARGUMENT")
    out: Path | None = option(None, "the folder or zip to write", "-o")
    policy: str = option("classic", "classic, gan, both, or a policy that a plugin offers", "-p")
    multiply: NonNegativeFloat | None = option(
        None, "new pictures for each one there is; 1 when nothing is said", le=1e6
    )
    per_class: PositiveInt | None = option(None, "make so many new ones that each class has this many in all")
    balance: bool = option(False, "make so many new ones that each class has as many as the largest")
    recipe: str = option("photo", f"{', '.join(RECIPES)}, or a YAML file: what classic does; a policy's settings")
    model: str | None = option(None, "what `gantk train augment` made, or a generate model with classes", "-m")
    gan_share: float | None = option(
        None,
        "of the new pictures of `both`, those by the generator; None: the whole result has the model's share",
        ge=0,
        le=1,
    )
    originals: bool = option(True, "copy the data's own pictures into the result")
    seed: Seed = option(0, "of everything random")
    workers: NonNegativeInt = option(0, "processes; 0 takes one a core")
    engine: Literal["local", "ray"] = option("local", "who runs the workers")
    format: Literal["folder", "zip", "webdataset"] | None = option(
        None, "of the result; None: as its name says, shards for data in shards, else a folder"
    )
    manifest: Path | None = option(None, "make again what this manifest.jsonl lists, from the same data")
    preview: Path | None = option(None, "write a sheet of samples to this picture, and nothing else")
    dry_run: bool = option(False, "say what would be made, and make nothing")
    force: bool = option(False, "replace the result of another command", "-f")


class EvalOptions(Options):
    """Measure whether augmentation helps a classifier, and say so: use it, no measurable gain, or don't.

    Equal steps for every arm, several seeds, real test pictures that nothing was fitted on.
    """

    data: Path | None = option(None, "the labelled pictures to train on: a folder or zip", "ARGUMENT")
    test: Path | None = option(None, "real test pictures; without, a fifth of the data is kept aside")
    synthetic: Path | None = option(None, "labelled pictures made from the data: a folder or zip", "ARGUMENT")
    model: str | None = option(None, "what `gantk train augment` fitted on the data's training part", "-m")
    recipe: str = option("photo", f"{', '.join(RECIPES)}, or a YAML file: the classic arm")
    seeds: PositiveInt = option(5, "repetitions", ge=2)
    nimg: PositiveInt = option(40_000, "pictures shown to each classifier")
    gan_nimg: PositiveInt = option(50_000, "real images shown to each generator, where none is given")
    per_class: PositiveInt | None = option(None, "use only so many training pictures of each class")
    seed: Seed = option(0, "of the first repetition")
    out: Path | None = option(None, "folder for verdict.json and verdict.html; default gantk-augment-verdict", "-o")
    workers: PositiveInt = option(1, "fits at a time")
    force: bool = option(False, "overwrite existing files", "-f")
