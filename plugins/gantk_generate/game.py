"""The game of generation: an adversarial loss, a penalty, and what few data and a style-based generator add."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gantk_generate.options import GenerateConfig
from gantoolkit import losses
from gantoolkit.game import Context, Game, Gauge, Phase, Player, Stateful, Term
from gantoolkit.gauges import watch
from gantoolkit.schedule import Cosine
from gantoolkit.view import View


def make(
    config: GenerateConfig,
    generator: nn.Module,
    critic: nn.Module,
    *,
    latent: int,
    gamma: float,
    shown_as: View | None = None,
    gauges: Sequence[Gauge] = (),
) -> Game:
    """The game that `config` describes, on these networks.

    Batches have "image" (N, ...) in [-1, 1] and, for conditional networks, "label" (N,).

    Args:
        latent: numbers a sample is made from.
        gamma: strength of the penalty at the start.
        shown_as: how the critic sees samples; made from `config` when None.
        gauges: measurements of the game's health.
    """
    loss = losses.adversarial(config.loss)
    seen = shown_as or view(config)
    path_length = PathLength()
    shapes = getattr(generator, "noise_shapes", ())

    def fake(ctx: Context) -> Tensor:
        def draw() -> Tensor:
            # from the context, so that N processes see the noise that one would see
            noise = [[ctx.randn(*shape) for shape in shapes]] if shapes else []
            return ctx.networks["generator"](ctx.randn(latent), _label(ctx), *noise)

        return ctx.share("fake", draw, owner="generator")

    def shown(ctx: Context, kind: str) -> Tensor:
        """Real or fake samples as the critic gets to see them."""
        return ctx.memo(f"shown {kind}", lambda: seen(ctx["image"] if kind == "real" else fake(ctx), ctx.rand))

    def judge(ctx: Context) -> Callable[[Tensor], Tensor]:
        return lambda x: ctx.networks["critic"](x, _label(ctx))

    def penalised(ctx: Context, kind: str) -> tuple[Tensor, Tensor]:
        """(logits, squared gradient norms) of one pass, which all terms of this move share."""
        return ctx.memo(f"penalised {kind}", lambda: losses.penalised_logits(judge(ctx), shown(ctx, kind)))

    def scored(ctx: Context, kind: str) -> Tensor:
        if ctx.player.name == "critic" and kind in always_penalised:
            return penalised(ctx, kind)[0]
        return ctx.memo(f"scored {kind}", lambda: judge(ctx)(shown(ctx, kind)))

    def critic_adversarial(ctx: Context) -> Tensor:
        real, fakes = scored(ctx, "real"), scored(ctx, "fake")
        watch(ctx, real, fakes)
        return loss.critic(real, fakes)

    def generator_adversarial(ctx: Context) -> Tensor:
        real = scored(ctx, "real") if loss.needs_real else None
        return loss.generator(real, scored(ctx, "fake"))

    def norm(kind: str) -> Callable[[Context], Tensor]:
        """½ E‖∇D‖²: R1 on reals, R2 on fakes (Mescheder et al. 2018, eq. 9 and 10); γ is the term's weight."""
        return lambda ctx: 0.5 * penalised(ctx, kind)[1].mean()

    def lines(ctx: Context) -> Tensor:
        return losses.gradient_penalty(judge(ctx), shown(ctx, "real"), shown(ctx, "fake"), 1.0, ctx.rand())

    def path(ctx: Context) -> Tensor:
        return path_length(ctx.networks["generator"], ctx.randn(latent), _label(ctx), ctx)

    strength = Cosine(gamma, gamma * config.gamma_end, config.nimg)
    kinds = {"r1r2": ("real", "fake"), "r1": ("real",), "gp": (), "none": ()}[config.penalty]
    always_penalised = kinds if config.penalty_every == 1 and gamma else ()
    coupled = loss.couples_batch or any(getattr(net, "couples_batch", False) for net in (generator, critic))
    critic_terms = [Term("adversarial", critic_adversarial, couples_batch=coupled)]
    if gamma:
        for kind, name in zip(kinds, ("r1", "r2"), strict=False):
            critic_terms.append(Term(name, norm(kind), strength, every=config.penalty_every, fp32=True))
        if config.penalty == "gp":
            critic_terms.append(Term("gp", lines, strength, every=config.penalty_every, fp32=True))
    generator_terms = [Term("adversarial", generator_adversarial, couples_batch=coupled)]
    if config.path_length:
        generator_terms.append(
            Term("path", path, config.path_length, every=config.path_every, fp32=True, couples_batch=True)
        )

    state: dict[str, Stateful] = {}
    if seen.adaptive is not None:
        state["strength"] = seen.adaptive
    if config.path_length:
        state["path length"] = path_length
    betas = (config.beta1, config.beta2)

    def rate(start: float) -> Cosine:
        return Cosine(start, start * config.lr_end, config.nimg)

    return Game(
        [
            Player("critic", {"critic": critic}, lr=rate(config.critic_lr or config.lr), betas=betas),
            Player(
                "generator", {"generator": generator}, lr=rate(config.lr), betas=betas, ema_nimg=config.ema_nimg or None
            ),
        ],
        [
            Phase(
                "critic",
                "critic",
                critic_terms,
                repeats=config.critic_moves,
                batch="fresh" if config.critic_moves > 1 else "same",
            ),
            Phase("generator", "generator", generator_terms),
        ],
        state=state,
        after_step=seen.after_step if seen.adaptive is not None else None,
        gauges=gauges,
    )


def view(config: GenerateConfig) -> View:
    """How the critic sees samples."""
    return View(config.augment, config.strength, config.loss, config.ramp_nimg)


class PathLength:
    """Path length regularisation, E(‖Jᵀy‖ − a)²: Karras et al. 2020 (arXiv:1912.04958), eq. 4; a is a moving mean.

    y is a picture of noise over √(H·W), J the Jacobian of the picture with respect to w; half the batch is enough
    (appendix B of that paper).
    """

    DECAY = 0.01

    def __init__(self) -> None:
        self.mean = torch.zeros(())

    def __call__(self, generator: Any, z: Tensor, label: Tensor | None, ctx: Context) -> Tensor:
        half = max(1, len(z) // 2)
        w = generator.mapping(z[:half], label[:half] if label is not None else None)
        picture = generator.synthesis(w)
        noise = ctx.randn(*picture.shape[1:])[:half] / (picture[0, 0].numel() ** 0.5)
        (gradient,) = torch.autograd.grad((picture * noise).sum(), w, create_graph=True)
        lengths = gradient.square().sum(-1).reshape(len(w), -1).mean(1).sqrt()
        mean, now = self.mean.to(lengths.device), lengths.detach().mean()
        # a move that is not finite is skipped by the engine, and must not stay in the mean for good
        self.mean = torch.where(now.isfinite(), mean.lerp(now, self.DECAY), mean)
        return (lengths - self.mean).square().mean()

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean = state["mean"]


def _label(ctx: Context) -> Tensor | None:
    return ctx.batch.get("label")
