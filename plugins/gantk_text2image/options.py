"""What a user can set: training, use and evaluation. Light, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gantoolkit.task import Options, Precision, Seed, TrainConfig, option


class Text2ImageConfig(TrainConfig):
    """How to train a generator that follows words, on pictures with captions."""

    batch: PositiveInt = option(16, "real images a step, all processes together")
    nimg: PositiveInt = option(400_000, "real images to show")
    size: Literal[32, 64, 128, 256] = option(64, "side of the pictures, in pixels")
    fit: Literal["pad", "crop", "stretch"] = option("pad", "how pictures of other shapes become squares")
    background: str = option("white", "what transparency is laid on: a colour's name or #RRGGBB")
    mirror: bool = option(False, "flip pictures at random; not for captions that say left and right")
    held_out: float = option(0.1, "share of the combinations of attributes (or captions) kept aside", ge=0, lt=1)

    encoder: str = option("trained", "of the captions: trained, words, minilm, a name from a plugin, or a local folder")
    tune: bool = option(False, "let training change a pretrained encoder")
    vocabulary: PositiveInt = option(2_000, "subwords at most (trained)")
    tokens: PositiveInt = option(32, "tokens of a caption at most; the rest is cut off")
    text_width: PositiveInt = option(128, "width of the transformer over the tokens")
    text_layers: NonNegativeInt = option(2, "layers of the transformer over the tokens")

    latent: PositiveInt = option(64, "random numbers that a picture is made from")
    channels: PositiveInt = option(48, "width of the generator at its largest map")
    critic_channels: PositiveInt = option(48, "width of the critic at its largest map")
    patch: Literal[1, 2, 4] = option(2, "pixels a side of a position of the largest map")
    attention: PositiveInt = option(16, "largest map, in positions a side, that looks at the tokens")

    loss: str = option("rpgan", "adversarial loss")
    gamma: NonNegativeFloat | None = option(None, "strength of R1 and R2; None follows size and batch")
    penalty_every: PositiveInt = option(4, "moves of the critic between two penalties (lazy regularisation)")
    mismatch_weight: NonNegativeFloat = option(0.5, "weight of telling right captions from wrong ones")
    match_penalty: NonNegativeFloat = option(0.0, "strength of the match-aware gradient penalty")
    contrast_weight: NonNegativeFloat = option(0.5, "weight of the contrast of pictures and captions")
    attribute_weight: NonNegativeFloat = option(0.0, "weight of naming the attributes, where the data has them")
    generator_share: NonNegativeFloat = option(0.1, "share of those two weights that the generator feels")
    variety_weight: NonNegativeFloat = option(
        1.0, "weight of making different pictures of one caption, where the data have different ones"
    )
    caption_dropout: float = option(0.1, "share of the captions left out, for guidance", ge=0, lt=1)
    augment: str = option("", "what is done to reals and fakes alike, as in generate: color, translation, cutout")
    strength: float | None = option(None, "how often, 0 to 1; None adapts it to the critic's overfitting", ge=0, le=1)
    lr: PositiveFloat = option(5e-4, "learning rate of both players")
    lr_end: PositiveFloat = option(0.1, "factor to which the rates fall, along a cosine", le=1)
    beta2: float = option(0.99, "Adam's second decay rate", ge=0, lt=1)
    ema_nimg: NonNegativeFloat = option(5_000.0, "half-life of the generator's average, in images; 0 keeps none")
    score_pictures: PositiveInt = option(512, "pictures made for an evaluation while training")


class RunOptions(Options):
    """Make pictures from words. Without any, a few prompts from the bundled model's card show what to expect.

    The same words, seed and model give the same pictures, whatever else is made beside them.
    """

    prompts: list[str] = option([], "texts in quotes, a .txt file with one a line, or -", "ARGUMENT")
    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    number: PositiveInt = option(1, "pictures a prompt", "-n", le=10**6)
    seed: Seed = option(0, "picture i of a prompt is made from seed + i")
    guidance: float = option(1.0, "above 1 follows the words more closely, with less variety", ge=0, le=10)
    truncation: float = option(1.0, "below 1: nearer to the mean picture of the words", ge=0, le=2)
    grid: bool = option(False, "only a sheet with captions, no picture files")
    interpolate: Path | None = option(
        None, "write only a strip.png, .gif or .mp4 that moves from prompt to prompt; no -n, -o, --grid"
    )
    upscale: Literal[0, 2, 3, 4] = option(0, "enlarge each picture with the task superres")
    out: Path | None = option(None, "folder for the pictures; default gantk-text2image", "-o")
    device: str = option("auto", "cpu, cuda, mps or auto")
    precision: Precision = option("fp32", "of the networks")
    force: bool = option(False, "overwrite existing files", "-f")


class EvalOptions(Options):
    """Measure how well pictures follow their captions, and how good and varied they are; every figure is a card."""

    data: Path | None = option(None, "pictures with captions, as for training", "ARGUMENT")
    model: str | None = option(None, "a name from `gantk models list`, a model folder or a run", "-m")
    part: Literal["test", "train", "all"] = option("test", "which captions: the held-out ones, the others, or all")
    number: PositiveInt = option(1_000, "pictures to make", "-n")
    matcher: Path | None = option(None, "a folder to keep the fitted matcher in, or to take it from")
    matcher_data: Path | None = option(
        None, "what to fit the matcher and readers of attributes on; default the part that is not scored"
    )
    features: str = option("efficientnet-lite0", "an extractor for Fréchet distance and KID")
    guidance: float = option(1.0, "as in `gantk run text2image`", ge=0, le=10)
    seed: Seed = option(0, "of the pictures and of every draw")
    save: Path | None = option(None, "write the cards to this JSON file")
    sheet: Path | None = option(None, "write a picture: prompts, made pictures, real ones, nearest training pictures")
    device: str = option("auto", "cpu, cuda, mps or auto")
