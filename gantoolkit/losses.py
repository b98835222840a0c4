"""Adversarial losses, gradient penalties and pixel losses: pure functions of logits and inputs.

Logits have any shape (N, ...): one score a sample or a map of scores. Every loss is a scalar mean. Logits
below fp32 are raised to fp32 first, so a loss is exact under autocast. Softplus is ζ(t) = log(1 + eᵗ), hence
log σ(t) = −ζ(−t) and log(1 − σ(t)) = −ζ(t).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from gantoolkit.errors import UsageError

Critic = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AdversarialLoss:
    """One adversarial game as a pair of losses. Get one by name from `adversarial`.

    Attributes:
        name: the name in `ADVERSARIAL`.
        needs_real: the generator's loss looks at real logits too; where False, a caller may pass None for
            them and save a forward.
        couples_batch: the loss holds a function of a batch mean, so that gradients of k micro-batches or of
            N processes do not add up to the gradient of the joined batch.
        centred: a logit's sign says what the critic takes a sample for.
    """

    name: str
    critic_of: Callable[[Tensor, Tensor], Tensor]
    generator_of: Callable[[Tensor, Tensor], Tensor]
    needs_real: bool = False
    couples_batch: bool = False
    centred: bool = False

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the critic minimises: a scalar from the logits of real and of fake samples, both (N, ...)."""
        if self.needs_real:
            _same_shape(f"{self.name}: logits of real and fake", real, fake)
        return self.critic_of(_exact(real), _exact(fake))

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """What the generator minimises: a scalar from both players' logits, (N, ...).

        `real` may be None where `needs_real` is False.

        Raises:
            UsageError: real logits are needed and missing, or of another shape than the fake ones.
        """
        if not self.needs_real:
            return self.generator_of(fake.new_empty(0), _exact(fake))
        if real is None:
            raise UsageError(
                f"the generator's side of the {self.name} loss needs the logits of real samples",
                actual="None",
                remedy="score the real batch with the critic first",
            )
        _same_shape(f"{self.name}: logits of real and fake", real, fake)
        return self.generator_of(_exact(real), _exact(fake))


def _binary_critic(real: Tensor, fake: Tensor) -> Tensor:
    """−E log D(x) − E log(1 − D(G(z))): Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1, negated."""
    return softplus(-real).mean() + softplus(fake).mean()


def _minimax_generator(_: Tensor, fake: Tensor) -> Tensor:
    """E log(1 − D(G(z))): Goodfellow et al. 2014, eq. 1. Vanishing gradients while the critic wins."""
    return -softplus(fake).mean()


def _nonsaturating_generator(_: Tensor, fake: Tensor) -> Tensor:
    """−E log D(G(z)): Goodfellow et al. 2014, section 3."""
    return softplus(-fake).mean()


def _hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))): Miyato et al. 2018 (arXiv:1802.05957), eq. 16."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def _lsgan_critic(real: Tensor, fake: Tensor) -> Tensor:
    """½ E(D(x) − 1)² + ½ E D(G(z))²: Mao et al. 2017 (arXiv:1611.04076), eq. 9."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def _lsgan_generator(_: Tensor, fake: Tensor) -> Tensor:
    """½ E(D(G(z)) − 1)²: Mao et al. 2017, eq. 9."""
    return 0.5 * (fake - 1).square().mean()


def _wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """E D(G(z)) − E D(x), for a Lipschitz critic: Arjovsky et al. 2017 (arXiv:1701.07875), eq. 2, negated."""
    return fake.mean() - real.mean()


def _linear_generator(_: Tensor, fake: Tensor) -> Tensor:
    """−E D(G(z)): the generator of the Wasserstein and the hinge game (Miyato et al. 2018, eq. 17)."""
    return -fake.mean()


def _pairing_critic(real: Tensor, fake: Tensor) -> Tensor:
    """E ζ(−(D(x) − D(G(z)))): RpGAN, as in R3GAN, Huang et al. 2024 (arXiv:2501.05441), eq. 2."""
    return softplus(fake - real).mean()


def _average_critic(real: Tensor, fake: Tensor) -> Tensor:
    """E ζ(−(D(x) − E D(G(z)))) + E ζ(D(G(z)) − E D(x)): RaSGAN, Jolicoeur-Martineau (arXiv:1807.00734)."""
    return softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()


def _swapped(critic: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A relativistic generator plays the critic's loss with real and fake exchanged (RaSGAN, RpGAN)."""
    return lambda real, fake: critic(fake, real)


ADVERSARIAL: dict[str, AdversarialLoss] = {
    loss.name: loss
    for loss in (
        AdversarialLoss("minimax", _binary_critic, _minimax_generator, centred=True),
        AdversarialLoss("nonsaturating", _binary_critic, _nonsaturating_generator, centred=True),
        AdversarialLoss("hinge", _hinge_critic, _linear_generator, centred=True),
        AdversarialLoss("lsgan", _lsgan_critic, _lsgan_generator),
        AdversarialLoss("wasserstein", _wasserstein_critic, _linear_generator),
        AdversarialLoss("rpgan", _pairing_critic, _swapped(_pairing_critic), needs_real=True),
        AdversarialLoss("ragan", _average_critic, _swapped(_average_critic), needs_real=True, couples_batch=True),
    )
}


def adversarial(name: str) -> AdversarialLoss:
    """The adversarial loss of that name, one of `ADVERSARIAL`.

    Raises:
        UsageError: no loss has this name; near names are listed.
    """
    if name in ADVERSARIAL:
        return ADVERSARIAL[name]
    near = difflib.get_close_matches(name, ADVERSARIAL, n=3, cutoff=0.5)
    raise UsageError(
        "unknown adversarial loss",
        expected="one of " + ", ".join(ADVERSARIAL),
        actual=repr(name),
        remedy="did you mean " + " or ".join(near) + "?" if near else "choose one of these",
    )


def penalised_logits(critic: Critic, x: Tensor) -> tuple[Tensor, Tensor]:
    """The critic's logits at x and each sample's ‖∇ₓ Σ D(x)‖², from one forward, in fp32 even under autocast.

    The logits can serve the adversarial loss as well. Given real and fake samples in one batch, the two
    halves of the squared norms are those of R1 and R2. A map of scores is summed before the gradient is
    taken. The per-sample reading holds for critics that score each sample alone (no batch statistics).

    Args:
        critic: maps (N, ...) to logits (N, ...).
        x: samples (N, ...); detached here, so no gradient reaches a generator.

    Returns:
        Logits (N, ...) and squared gradient norms (N,), both differentiable in the critic's parameters.
    """
    x = _exact(x.detach()).requires_grad_()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        logits = critic(x)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return logits, gradient.flatten(1).square().sum(1)


def zero_centred_gradient(critic: Critic, x: Tensor) -> Tensor:
    """‖∇ₓ Σ D(x)‖² of each sample, (N,): what R1 and R2 average. See `penalised_logits`."""
    return penalised_logits(critic, x)[1]


def r1(critic: Critic, real: Tensor, gamma: float) -> Tensor:
    """γ/2 · E‖∇D(x)‖² on real samples (N, ...): Mescheder et al. 2018 (arXiv:1801.04406), eq. 9. A scalar."""
    return 0.5 * gamma * zero_centred_gradient(critic, real).mean()


def r2(critic: Critic, fake: Tensor, gamma: float) -> Tensor:
    """γ/2 · E‖∇D(G(z))‖² on fake samples (N, ...): Mescheder et al. 2018, eq. 10. A scalar."""
    return 0.5 * gamma * zero_centred_gradient(critic, fake).mean()


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, weight: float, alpha: Tensor) -> Tensor:
    """weight · E(‖∇D(x̂)‖ − 1)², x̂ = α·x + (1 − α)·G(z): Gulrajani et al. 2017 (arXiv:1704.00028), eq. 3.

    Args:
        critic: maps (N, ...) to logits (N, ...).
        real, fake: samples of one shape (N, ...).
        weight: λ of the paper, 10 there.
        alpha: each sample's place on its line, (N,), in [0, 1]; drawn by the caller, so that runs repeat.
    """
    _same_shape("gradient penalty: real and fake samples", real, fake)
    if alpha.shape != real.shape[:1]:
        raise UsageError(
            "gradient penalty: one place on the line for each sample is needed",
            expected=f"alpha of shape ({len(real)},)",
            actual=f"{tuple(alpha.shape)}",
            remedy="draw it with torch.rand(len(real))",
        )
    alpha = _exact(alpha).view(-1, *[1] * (real.ndim - 1))
    between = alpha * _exact(real.detach()) + (1 - alpha) * _exact(fake.detach())
    # A flat critic has norm 0, where the square root has no slope: a floor keeps the gradient finite.
    norm = zero_centred_gradient(critic, between).clamp_min(1e-24).sqrt()
    return weight * (norm - 1).square().mean()


def gamma_rule(pixels: int, batch: int, penalty: str = "r1r2") -> float:
    """γ where a configuration names none, for a picture of so many pixels and a batch of so many pictures.

    With R1 and R2: .1·(pixels / 32²)^1.5·√(128 / batch). The growth with the picture is that of the values Huang et al.
    2024 (arXiv:2501.05441) found by search for faces (2 at 64², 150 at 256²); the level at 32² was chosen here, within
    their .05 to 1. A smaller batch has noisier gradients and gets more. With R1 alone, Karras et al. 2020
    (arXiv:2006.06676), appendix C: 2e-4·pixels / batch. The gradient penalty has 10 (Gulrajani et al. 2017).
    """
    if penalty == "gp":
        return 10.0
    if penalty == "r1":
        return 2e-4 * pixels / batch
    return 0.1 * (pixels / 1024) ** 1.5 * (128 / batch) ** 0.5


def charbonnier(x: Tensor, y: Tensor, eps: float = 1e-3) -> Tensor:
    """E √((x − y)² + ε²): Charbonnier et al. 1994, as in LapSRN (Lai et al. 2017, arXiv:1704.03915).

    x and y have one shape and one range; the result is a scalar in the same units, ε where x = y.
    """
    _same_shape("charbonnier: pictures", x, y)
    return ((_exact(x) - _exact(y)).square() + eps**2).sqrt().mean()


def _exact(x: Tensor) -> Tensor:
    """fp16 and bf16 as fp32; fp32 and fp64 as they are."""
    return x if x.dtype == torch.float64 else x.float()


def _same_shape(what: str, first: Tensor, second: Tensor) -> None:
    """Broadcasting would pair every sample with every other and go unnoticed: refuse."""
    if first.shape != second.shape:
        raise UsageError(
            f"{what} must have one shape",
            expected=f"{tuple(first.shape)} twice",
            actual=f"{tuple(first.shape)} and {tuple(second.shape)}",
            remedy="give both the same number of samples and the same layout",
        )
