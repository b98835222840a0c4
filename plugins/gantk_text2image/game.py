"""The game of text to image: real or not, and as the words say or not.

The critic pairs real with fake under the right caption (RpGAN with R1 and R2: Huang et al. 2024, arXiv:2501.05441,
equations 2 to 5), and the right caption with another picture's (matching-aware: Reed et al. 2016, arXiv:1605.05396,
section 4.2, here paired, too). A contrast of pictures and captions in a batch tells captions apart that differ in
little (InfoNCE: van den Oord et al. 2018, arXiv:1807.03748, eq. 4; both ways as in XMC-GAN, Zhang et al. 2021,
arXiv:2101.04702, section 4.1). The match-aware penalty holds slopes towards picture and sentence at real pairs (Tao et
al. 2022, arXiv:2008.05865, eq. 2). Captions are left out now and then, so that sampling can lean on the words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_text2image.data import Data
from gantk_text2image.networks import TEXT
from gantk_text2image.networks.critic import Seen, TextCritic
from gantk_text2image.networks.generator import TextGenerator
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.pictures import coarse
from gantoolkit import losses
from gantoolkit.game import Context, Game, Gauge, Phase, Player, Stateful, Term
from gantoolkit.gauges import watch
from gantoolkit.model import MAIN, Model, starting_card
from gantoolkit.schedule import Cosine
from gantoolkit.view import View

SHARP = 2  # times `losses.gamma_rule`, with which the critic won on drawings, whose edges are hard
VARIED = 0.6  # of the mean distance of real pictures of one caption is asked of fakes; the rest is the critic's
POWER = 6  # p of the match-aware penalty, as in DF-GAN


def generator_config(config: Text2ImageConfig, width: int) -> dict[str, Any]:
    """What `TextGenerator` is built with, as JSON values."""
    return {
        "size": config.size,
        "latent": config.latent,
        "width": width,
        "channels": config.channels,
        "patch": config.patch,
        "attention": config.attention,
    }


def make(
    config: Text2ImageConfig,
    dataset: Data,
    gauges: Callable[[Mapping[str, nn.Module]], Sequence[Gauge]] = lambda networks: (),
) -> Game:
    """The game on this data, with new networks.

    Args:
        gauges: networks by name → what watches them.

    Raises:
        UsageError: a size that the networks cannot make.
    """
    encoder = dataset.encoder
    generator = TextGenerator(**generator_config(config, encoder.width))
    named = {name: len(values) for name, values in dataset.attributes.items()} if config.attribute_weight else {}
    critic = TextCritic(config.size, encoder.width, config.critic_channels, config.patch, named)
    terms = _Terms(config, list(named), dataset.variety() if config.variety_weight else 0.0)
    view = terms.view
    state: dict[str, Stateful] = {"strength": view.adaptive} if view.adaptive is not None else {}
    rate = Cosine(config.lr, config.lr * config.lr_end, config.nimg)
    betas = (0.0, config.beta2)
    judging = {"critic": critic, "critic_text": encoder.network()}
    making = {"generator": generator, TEXT: encoder.network()}
    return Game(
        [
            Player("critic", judging, lr=rate, betas=betas),
            Player("generator", making, lr=rate, betas=betas, ema_nimg=config.ema_nimg or None),
        ],
        [Phase("critic", "critic", terms.critic()), Phase("generator", "generator", terms.generator())],
        state=state,
        gauges=gauges({**judging, **making}),
        after_step=view.after_step if view.adaptive is not None else None,
    )


class _Terms:
    """The terms over one configuration. Batches have what `Data.item` says."""

    def __init__(self, config: Text2ImageConfig, named: list[str], variety: float) -> None:
        self.config, self.named, self.loss = config, named, losses.adversarial(config.loss)
        self.variety = variety
        self.view = View(config.augment, config.strength, config.loss)
        rule = SHARP * losses.gamma_rule(config.size**2, config.batch)
        self.gamma = rule if config.gamma is None else config.gamma

    def critic(self) -> list[Term]:
        config, every = self.config, self.config.penalty_every
        terms = [
            Term("adversarial", self._judged, couples_batch=self.loss.couples_batch),
            Term("mismatch", self._mismatched, config.mismatch_weight, couples_batch=True),
            Term("contrast", lambda ctx: self._contrast(ctx, "real"), config.contrast_weight, couples_batch=True),
            Term("attributes", lambda ctx: self._names(ctx, "real"), config.attribute_weight),
            Term("r1", lambda ctx: self._slope(ctx, "real"), self.gamma, every=every, fp32=True),
            Term("r2", lambda ctx: self._slope(ctx, "fake"), self.gamma, every=every, fp32=True),
            Term("match penalty", self._match_penalty, config.match_penalty, every=every, fp32=True),
        ]
        return self._kept(terms)

    def generator(self) -> list[Term]:
        """Contrast and attributes count less than for the critic: no penalty keeps their slopes small, and a generator
        that is held to them draws speckles that please the critic instead of shapes."""
        config, share = self.config, self.config.generator_share
        contrast, named = config.contrast_weight * share, config.attribute_weight * share
        terms = [
            Term("adversarial", self._answered, couples_batch=self.loss.couples_batch),
            Term("contrast", lambda ctx: self._contrast(ctx, "fake"), contrast, couples_batch=True),
            Term("attributes", lambda ctx: self._names(ctx, "fake"), named),
            Term("variety", self._too_near, config.variety_weight if self.variety else 0),
        ]
        return self._kept(terms)

    def _kept(self, terms: list[Term]) -> list[Term]:
        return [term for term in terms if term.weight and (term.name != "attributes" or self.named)]

    # ---- what is looked at ----

    def _fake(self, ctx: Context) -> Tensor:
        return ctx.share("fake", lambda: self._draw(ctx), owner="generator")

    def _draw(self, ctx: Context) -> Tensor:
        tokens, sentence = ctx.networks[TEXT](ctx["text"], ctx["mask"])
        return ctx.networks["generator"](ctx.randn(self.config.latent), tokens, ctx["mask"], sentence)

    def _shown(self, ctx: Context, kind: str) -> Tensor:
        """Real or fake pictures as the critic gets to see them."""
        picture = (lambda: ctx["image"]) if kind == "real" else (lambda: self._fake(ctx))
        return ctx.memo(f"shown {kind}", lambda: self.view(picture(), ctx.rand))

    def _sentence(self, ctx: Context) -> Tensor:
        """The captions as the critic's own reader sums them up, (N, D)."""
        return ctx.memo("sentence", lambda: ctx.networks["critic_text"](ctx["text"], ctx["mask"])[1])

    def _looked(self, ctx: Context, kind: str) -> Seen:
        critic: Any = ctx.networks["critic"]
        return ctx.memo(f"looked {kind}", lambda: critic.look(self._shown(ctx, kind)))

    def _logits(self, ctx: Context, kind: str) -> Tensor:
        critic: Any = ctx.networks["critic"]
        return ctx.memo(f"logits {kind}", lambda: critic.judge(self._looked(ctx, kind), self._sentence(ctx)))

    # ---- terms ----

    def _judged(self, ctx: Context) -> Tensor:
        watch(ctx, self._logits(ctx, "real"), self._logits(ctx, "fake"))
        return self.loss.critic(self._logits(ctx, "real"), self._logits(ctx, "fake"))

    def _answered(self, ctx: Context) -> Tensor:
        real = self._logits(ctx, "real") if self.loss.needs_real else None
        return self.loss.generator(real, self._logits(ctx, "fake"))

    def _mismatched(self, ctx: Context) -> Tensor:
        """Real pictures with a wrong caption must score below those with their own.

        A wrong one contradicts few of the picture's attributes, or is the next picture's where there are none: nothing
        is asked where the two may belong together (one group), or one is left out.
        """
        critic: Any = ctx.networks["critic"]
        group, dropped = ctx["group"], ctx["dropped"]
        if self.named:
            sentence = ctx.networks["critic_text"](ctx["wrong text"], ctx["wrong mask"])[1]
            asked = ctx["wrong"] & ~dropped
        else:
            sentence = self._sentence(ctx).roll(1, 0)
            asked = (group != group.roll(1, 0)) & ~dropped & ~dropped.roll(1, 0)
        gap = F.softplus(critic.judge(self._looked(ctx, "real"), sentence) - self._logits(ctx, "real"))
        return (gap * asked).sum() / asked.sum().clamp_min(1)

    def _contrast(self, ctx: Context, kind: str) -> Tensor:
        """InfoNCE both ways; pairs of one group are no negatives, pictures without words are left out."""
        critic: Any = ctx.networks["critic"]
        pictures, words = self._looked(ctx, kind).embedding, critic.sentences(self._sentence(ctx))
        # not a matrix product, which half precision would take over: logits of ten would come in steps of a sixteenth
        likeness = (pictures[:, None] * words[None]).sum(-1) * critic.temperature
        group, kept = ctx["group"], ~ctx["dropped"]
        own = torch.eye(len(group), dtype=torch.bool, device=group.device)
        apart = ((group[:, None] != group) & kept & kept[:, None]) | own
        likeness = likeness.masked_fill(~apart, -1e4)
        target = torch.arange(len(group), device=group.device)
        each = (F.cross_entropy(x, target, reduction="none") for x in (likeness, likeness.T))
        return (sum(each) / 2 * kept).sum() / kept.sum().clamp_min(1)

    def _names(self, ctx: Context, kind: str) -> Tensor:
        """Cross-entropy of the attributes' values: the mean over those that are known of a picture, then over pictures.

        Those without words count as zero, so that a picture's part does not depend on the others.
        """
        seen, labels, kept = self._looked(ctx, kind), ctx["attributes"], ~ctx["dropped"]
        each = [
            F.cross_entropy(seen.attributes[name], labels[:, column].clamp_min(0), reduction="none")
            for column, name in enumerate(self.named)
        ]
        asked = (labels >= 0) & kept[:, None]
        return ((torch.stack(each, 1) * asked).sum(1) / asked.sum(1).clamp_min(1)).mean()

    def _too_near(self, ctx: Context) -> Tensor:
        """How much of the wanted distance between two pictures of one caption is missing, 0 to 1.

        Mode seeking (Mao et al. 2019, arXiv:1903.05628, eq. 2) that stops where enough is reached (Yang et al. 2019,
        arXiv:1901.09024, eq. 3). Both divide by the distance of the noise, which is nearly the same for all pairs of
        long vectors; here the distance of real pictures of one caption says how much is wanted (`Data.variety`).
        """
        first = coarse(self._fake(ctx))
        with torch.no_grad():
            second = coarse(self._draw(ctx))
        apart = (first - second).abs().mean((1, 2, 3))
        return F.relu(1 - apart / (VARIED * self.variety)).mean()

    def _slope(self, ctx: Context, kind: str) -> Tensor:
        """½ E‖∇D‖² towards the picture, its caption held still: R1 on reals, R2 on fakes; γ is the term's weight."""
        critic, sentence = ctx.networks["critic"], self._sentence(ctx).detach().float()  # may come from half precision
        return 0.5 * losses.zero_centred_gradient(lambda x: critic(x, sentence), self._shown(ctx, kind)).mean()

    def _match_penalty(self, ctx: Context) -> Tensor:
        """E (‖∇ₓD‖ + ‖∇ₑD‖)ᵖ at real pictures x with their own captions e: DF-GAN, eq. 2, k as the term's weight."""
        critic = ctx.networks["critic"]
        x = self._shown(ctx, "real").detach().requires_grad_()
        sentence = self._sentence(ctx).detach().float().requires_grad_()
        with torch.enable_grad():
            slopes = torch.autograd.grad(critic(x, sentence).sum(), (x, sentence), create_graph=True)
            length = sum(slope.flatten(1).square().sum(1).clamp_min(1e-24).sqrt() for slope in slopes)
        return torch.as_tensor(length).pow(POWER).mean()


def model(config: Text2ImageConfig, dataset: Data, networks: Mapping[str, Any]) -> Model:
    """The generator and its reader, with what the encoder learnt from the captions."""
    built = {
        "generator": generator_config(config, dataset.encoder.width),
        "encoder": dataset.encoder.to_dict(),
        "attributes": {name: list(values) for name, values in dataset.attributes.items()},
        "held_out": config.held_out,
        "fit": config.fit,
        "background": config.background,
    }
    variants = {MAIN: networks["generator"], TEXT: networks[TEXT]}
    sizes = [sum(tensor.numel() for tensor in state.values()) for state in variants.values()]
    about = f"Makes pictures of {config.size}² from words (generator {sizes[0]:,}, reader {sizes[1]:,} parameters)."
    known = config.model_dump(mode="json") | {"samples": len(dataset)}
    card = starting_card("text2image", about, known, "gantk eval text2image DATA/ --model THIS")
    return Model("text2image", built, variants, card, "text2image")
