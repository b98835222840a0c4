"""A small judge of pictures and captions for measurement alone: which caption belongs to which picture.

Two towers meet in one space; InfoNCE both ways (van den Oord et al. 2018, arXiv:1807.03748, eq. 4; symmetric as in
CLIP, Radford et al. 2021, arXiv:2103.00020, figure 3). It shares nothing with the game's critic: own networks, own
vocabulary, and data that the scores do not look at.

Shapes: N pictures, S pixels a side, C captions, E length of an embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_text2image.data import linked
from gantoolkit import texts
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import InputError
from gantoolkit.game import Context, Game, Phase, Player, Term
from gantoolkit.layers import SLOPE, ResidualBlock, conv, resize
from gantoolkit.model import MAIN, Model
from gantoolkit.schedule import Cosine

TASK = "text2image-matcher"  # in the config.json of a saved matcher
EMBEDDING = 64  # E
CHANNELS = 24  # at the largest map
MAPS = (32, 16, 8, 4)  # positions a side; each map has twice the channels of the one before, four times at most
TEXT_WIDTH, TEXT_LAYERS, TOKENS, VOCABULARY = 96, 2, 32, 1_000
BATCH = 128
NIMG = 60_000  # pictures shown while fitting
RATE, WARMUP_NIMG, DECAY = 1.5e-3, 4_000, 0.05
SHIFT = 2  # pixels each way at most, at random
UNLIKE = -1e4  # in place of the likeness of a pair that is no negative


class Tower(nn.Module):
    """pictures (N, 3, S, S) in [-1, 1] -> (N, E) of length 1; what is where counts: places are not averaged."""

    def __init__(self, size: int) -> None:
        super().__init__()
        stride = max(1, size // MAPS[0])
        widths = [CHANNELS * min(2**i, 4) for i in range(len(MAPS))]
        self.stem = conv(3, CHANNELS, 2 * stride if stride > 1 else 3, stride=stride, gain=1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for width in widths)
        self.widen = nn.ModuleList(conv(a, b, 1, gain=1) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1] * MAPS[-1] ** 2, EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks[0](self.stem(x))
        for widen, block in zip(self.widen, self.blocks[1:], strict=True):
            x = block(widen(resize(x, 0.5)))
        return F.normalize(self.head(F.leaky_relu(x, SLOPE).flatten(1)).float(), dim=1)


class Words(nn.Module):
    """What the encoder prepared of captions -> (C, E) of length 1; keeps the contrast's temperature, too."""

    def __init__(self, encoder: texts.TextEncoder) -> None:
        super().__init__()
        self.reader, self.head = encoder.network(), nn.Linear(encoder.width, EMBEDDING)
        self.sharpness = nn.Parameter(torch.tensor(2.7))  # exp is about 15

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self.head(self.reader(text, mask)[1]).float(), dim=1)


class Matcher:
    """A fitted matcher: `scores` says how well each caption fits each picture. Make one with `fit`.

    Args:
        size: S, a multiple of 32.
        encoder: of the captions.
        fitted: how it was fitted, with the hash of its data under "matcher data".
    """

    def __init__(self, size: int, encoder: texts.TextEncoder, fitted: Mapping[str, str | int | float]) -> None:
        self.size, self.encoder, self.fitted = size, encoder, dict(fitted)
        self.networks: dict[str, nn.Module] = {"pictures": Tower(size), "words": Words(encoder)}
        # as the engine leaves it: another layout takes other kernels, which round differently
        self.networks["pictures"].to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scores(self, pictures: np.ndarray, captions: Sequence[str], batch: int = 128) -> np.ndarray:
        """Likeness in [-1, 1], float32 (N, C), of uint8 pictures (N, S, S, 3) and captions.

        Raises:
            InputError: pictures of another size.
        """
        if pictures.shape[1:] != (self.size, self.size, 3):
            raise InputError(
                "the matcher was fitted on pictures of another size",
                expected=f"{self.size}×{self.size}",
                actual="×".join(map(str, pictures.shape[1:3])),
            )
        device = next(self.networks["words"].parameters()).device
        prepared = self.encoder.prepare(captions)
        with torch.inference_mode():
            seen = [
                self.networks["pictures"](_planes(pictures[start : start + batch]).to(device))
                for start in range(0, len(pictures), batch)
            ]
            read = [
                self.networks["words"](*(prepared[key][start : start + batch].to(device) for key in ("text", "mask")))
                for start in range(0, len(captions), batch)
            ]
            return (torch.cat(seen) @ torch.cat(read).T).cpu().numpy()

    # ---- keeping it ----

    def save(self, folder: Path) -> Path:
        """Write weights as safetensors and what it was fitted on as JSON.

        Raises:
            UsageError: the folder holds something.
        """
        weights = {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        config = {"size": self.size, "encoder": self.encoder.to_dict(), "fitted": self.fitted}
        return Model(TASK, config, {MAIN: weights}, name=TASK).save(folder, half=False)

    @classmethod
    def load(cls, folder: Path, size: int, data: str) -> Matcher:
        """Read a saved matcher back.

        Args:
            size: S of the pictures that it is to judge.
            data: the hash of what it must have been fitted on; see `fingerprint`.

        Raises:
            InputError: a missing or damaged file, or a matcher of another size or of other data.
        """
        model = Model.load(folder)
        if model.task != TASK:
            raise InputError(f"{folder} holds no matcher", expected=f"a model of {TASK!r}", actual=repr(model.task))
        kept = model.config
        for what, wanted, actual in (
            ("pictures of another size", f"{size}×{size}", f"{kept['size']}×{kept['size']}"),
            ("other data", data, str(kept["fitted"].get("matcher data"))),
        ):
            if wanted != actual:
                raise InputError(
                    f"the matcher in {folder} was fitted on {what}",
                    expected=wanted,
                    actual=actual,
                    remedy="name another folder to fit a new one",
                )
        with torch.random.fork_rng(devices=[]):  # weights are drawn before they are replaced
            made = cls(size, texts.from_dict(kept["encoder"]), kept["fitted"])
        for name, network in made.networks.items():
            own = {key.removeprefix(f"{name}."): value for key, value in model.weights[MAIN].items()}
            try:
                network.load_state_dict({key: own[key] for key in network.state_dict()})
            except (KeyError, RuntimeError) as error:
                raise InputError(f"the weights in {folder} do not fit the matcher's networks: {error}") from error
            network.eval().requires_grad_(False)
        return made


def fingerprint(pictures: np.ndarray, captions: Sequence[Sequence[str]]) -> str:
    """12 hexadecimal digits that stand for pictures and captions, in their order."""
    digest = hashlib.sha256(repr((pictures.shape, [tuple(said) for said in captions])).encode(errors="replace"))
    digest.update(np.ascontiguousarray(pictures).data)
    return digest.hexdigest()[:12]


def fit(
    pictures: np.ndarray,
    captions: Sequence[Sequence[str]],
    *,
    groups: np.ndarray | None = None,
    nimg: int = NIMG,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int], Any] = lambda nimg: None,
) -> Matcher:
    """Fit a matcher: AdamW, one cosine with a warm-up, pictures shifted at random, a caption of each at random.

    Args:
        pictures: uint8 (N, S, S, 3), S a multiple of 32.
        captions: those of each picture.
        groups: (N,), equal for pictures that are no negatives of one another; None: those linked by shared captions.
        nimg: pictures to show.
        progress: called with the number of pictures of each step.

    Raises:
        InputError: too few pictures.
    """
    if len(pictures) < 2:
        raise InputError("too few pictures to fit a matcher on", expected="at least 2", actual=len(pictures))
    said = list(dict.fromkeys(text for texts_ in captions for text in texts_))
    encoder = texts.encoder("trained", said, width=TEXT_WIDTH, layers=TEXT_LAYERS, tokens=TOKENS, vocabulary=VOCABULARY)
    batch = min(BATCH, len(pictures))
    facts: dict[str, str | int | float] = {
        "matcher data": fingerprint(pictures, captions),
        "matcher n": len(pictures),
        "matcher nimg": nimg,
        "matcher seed": seed,
    }
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay where they were
        torch.manual_seed(seed)
        made = Matcher(pictures.shape[1], encoder, facts)
    rate = Cosine(RATE, 0.0, nimg, min(WARMUP_NIMG, nimg // 10))
    player = Player("matcher", made.networks, lr=rate, betas=(0.9, 0.99), weight_decay=DECAY, clip_norm=1.0)
    phase = Phase("fit", "matcher", [Term("contrast", _contrast, couples_batch=True)])
    rows = _Rows(pictures, captions, linked(captions) if groups is None else groups, encoder, said)
    engine = Engine(Game([player], [phase]), Batches(rows, batch, seed=seed), Settings(device=device, seed=seed))
    while engine.nimg < nimg:
        before = engine.nimg
        engine.step()
        progress(min(engine.nimg, nimg) - before)
    for network in made.networks.values():
        network.eval().requires_grad_(False)
    return made


def _contrast(ctx: Context) -> Tensor:
    """InfoNCE both ways; pairs of one group are no negatives."""
    seen, read = ctx.networks["pictures"](ctx["image"]), ctx.networks["words"](ctx["text"], ctx["mask"])
    sharpness: Any = ctx.networks["words"].sharpness
    likeness = seen @ read.T * sharpness.clamp(max=4.6).exp()  # 100 at most, as in CLIP
    group = ctx["group"]
    target = torch.arange(len(group), device=group.device)
    same = (group[:, None] == group) & (target[:, None] != target)
    likeness = likeness.masked_fill(same, UNLIKE)
    return (F.cross_entropy(likeness, target) + F.cross_entropy(likeness.T, target)) / 2


class _Rows:
    """Pictures and captions in memory as a `gantoolkit.data.Dataset`."""

    def __init__(
        self,
        pictures: np.ndarray,
        captions: Sequence[Sequence[str]],
        groups: np.ndarray,
        encoder: texts.TextEncoder,
        said: Sequence[str],
    ) -> None:
        self.pictures, self.captions, self.groups = pictures, captions, groups
        self.place = {text: row for row, text in enumerate(said)}
        self.prepared = encoder.prepare(said)

    def __len__(self) -> int:
        return len(self.pictures)

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Tensor]:
        said = self.captions[index]
        place = self.place[said[int(rng.integers(len(said)))]]
        picture = np.pad(self.pictures[index], ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), "edge")
        top, left = rng.integers(0, 2 * SHIFT + 1, 2)
        size = self.pictures.shape[1]
        return {
            "image": _planes(picture[None, top : top + size, left : left + size])[0],
            "text": self.prepared["text"][place],
            "mask": self.prepared["mask"][place],
            "group": torch.tensor(int(self.groups[index])),
        }


def _planes(pictures: np.ndarray) -> Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32, order="C")).div_(127.5).sub_(1)
