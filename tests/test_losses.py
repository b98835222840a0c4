"""Every loss against a hand-computed answer, and its gradients against finite differences in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gantoolkit.errors import UsageError
from gantoolkit.losses import (
    ADVERSARIAL,
    adversarial,
    charbonnier,
    gradient_penalty,
    penalised_logits,
    r1,
    r2,
    zero_centred_gradient,
)
from tests.tolerances import TOL

REAL, FAKE = [2.0, -0.5, 0.0], [-1.0, 3.0, 0.5]


def zeta(t: float) -> float:
    return math.log1p(math.exp(t))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


BINARY = mean([zeta(-r) for r in REAL]) + mean([zeta(f) for f in FAKE])
ABOVE_FAKE = [r - mean(FAKE) for r in REAL]
ABOVE_REAL = [f - mean(REAL) for f in FAKE]
ANSWERS = {
    "minimax": (BINARY, mean([-zeta(f) for f in FAKE])),
    "nonsaturating": (BINARY, mean([zeta(-f) for f in FAKE])),
    # max(0, 1−r) = 0, 1.5, 1 and max(0, 1+f) = 0, 4, 1.5
    "hinge": (2.5 / 3 + 5.5 / 3, -2.5 / 3),
    # (r−1)² = 1, 2.25, 1; f² = 1, 9, .25; (f−1)² = 4, 4, .25
    "lsgan": (0.5 * (4.25 / 3 + 10.25 / 3), 0.5 * 8.25 / 3),
    "wasserstein": (2.5 / 3 - 1.5 / 3, -2.5 / 3),
    # The pairs are (2, −1), (−.5, 3), (0, .5): f − r = −3, 3.5, .5
    "rpgan": (mean([zeta(-3.0), zeta(3.5), zeta(0.5)]), mean([zeta(3.0), zeta(-3.5), zeta(-0.5)])),
    "ragan": (
        mean([zeta(-d) for d in ABOVE_FAKE]) + mean([zeta(d) for d in ABOVE_REAL]),
        mean([zeta(d) for d in ABOVE_FAKE]) + mean([zeta(-d) for d in ABOVE_REAL]),
    ),
}


def logits(values: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_known_answers(name: str) -> None:
    loss = adversarial(name)
    critic, generator = ANSWERS[name]
    found = [side(logits(REAL), logits(FAKE)).item() for side in (loss.critic, loss.generator)]
    assert found == pytest.approx([critic, generator], abs=TOL["loss, known answer"])


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_gradients_and_maps(name: str) -> None:
    torch.manual_seed(0)
    loss = adversarial(name)
    pair = [torch.randn(2, 1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(loss.critic, pair)
    assert torch.autograd.gradgradcheck(loss.critic, pair)
    fixed = pair[0].detach()
    assert torch.autograd.gradcheck(lambda fake: loss.generator(fixed, fake), pair[1:])
    # The generator's gradient moves fake logits upwards in the mean, whatever the game.
    (gradient,) = torch.autograd.grad(loss.generator(fixed, pair[1]), pair[1])
    if name != "lsgan":
        assert gradient.sum() < 0


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_low_precision_logits_are_raised_first(name: str) -> None:
    loss = adversarial(name)
    real, fake = logits(REAL, torch.bfloat16), logits(FAKE, torch.bfloat16)
    found = loss.critic(real, fake)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(ANSWERS[name][0], abs=1e-6)


def test_a_generator_that_needs_no_real_logits_takes_none() -> None:
    for loss in ADVERSARIAL.values():
        if loss.needs_real:
            with pytest.raises(UsageError, match="needs the logits of real"):
                loss.generator(None, logits(FAKE))
        else:
            assert torch.equal(loss.generator(None, logits(FAKE)), loss.generator(logits(REAL), logits(FAKE)))


def test_pairs_are_never_broadcast() -> None:
    for loss in ADVERSARIAL.values():
        if loss.needs_real:
            for other in (torch.zeros(3, 1), torch.zeros(2), torch.zeros(1)):
                with pytest.raises(UsageError, match=r"got \(3,\) and"):
                    loss.critic(torch.zeros(3), other)
                with pytest.raises(UsageError, match="one shape"):
                    loss.generator(torch.zeros(3), other)


def test_only_losses_that_say_so_couple_the_batch() -> None:
    real, fake = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    for loss in ADVERSARIAL.values():
        halves = 0.5 * (loss.critic(real[:2], fake[:2]) + loss.critic(real[2:], fake[2:]))
        assert torch.allclose(halves, loss.critic(real, fake)) != loss.couples_batch, loss.name


def test_unknown_name_lists_near_names() -> None:
    with pytest.raises(UsageError, match="did you mean hinge") as error:
        adversarial("hinges")
    assert error.value.exit_code == 2
    with pytest.raises(UsageError, match=r"expected one of minimax, .*got 'zzz'"):
        adversarial("zzz")


def linear(weight: Tensor):
    return lambda x: x.flatten(1) @ weight


def test_r1_of_a_linear_critic_is_its_squared_norm() -> None:
    weight = torch.randn(12, dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 3, 2, 2, dtype=torch.float64)
    for penalty in (r1, r2):
        value = penalty(linear(weight), x, gamma=3.0)
        assert value.item() == pytest.approx(1.5 * weight.square().sum().item(), abs=1e-9)
        (gradient,) = torch.autograd.grad(value, weight)
        assert torch.allclose(gradient, 3.0 * weight)


def test_r1_of_a_quadratic_critic() -> None:
    # D(x) = ½ a ‖x‖², ∇D = a x
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    squared = zero_centred_gradient(lambda v: 0.5 * scale * v.square().sum(1), x)
    assert squared.tolist() == pytest.approx([100.0, 4.0])
    (gradient,) = torch.autograd.grad(squared.sum(), scale)
    assert gradient.item() == pytest.approx(2 * 2.0 * 26.0)


def test_a_map_of_scores_is_summed() -> None:
    # Two maps of the same linear score: the gradient doubles, its square grows fourfold.
    weight = torch.tensor([1.0, 2.0])
    squared = zero_centred_gradient(lambda x: (x @ weight)[:, None].expand(-1, 2), torch.zeros(3, 2))
    assert squared.tolist() == pytest.approx([20.0] * 3)


def test_penalised_logits_share_a_forward_and_stop_at_the_input() -> None:
    torch.manual_seed(0)
    calls, source = [], torch.randn(6, 4, requires_grad=True)
    net = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1))

    def critic(x: Tensor) -> Tensor:
        calls.append(len(x))
        return net(x)

    with torch.no_grad():  # a penalty works even where its caller keeps no graph
        scores, squared = penalised_logits(critic, source * 1.0)
    assert calls == [6] and torch.equal(scores, net(source))
    real, fake = source[:3], source[3:]
    assert (1.0 * squared[:3].mean()).item() == pytest.approx(r1(net, real, 2.0).item(), rel=1e-5)
    assert (1.0 * squared[3:].mean()).item() == pytest.approx(r2(net, fake, 2.0).item(), rel=1e-5)
    (squared.mean() + adversarial("rpgan").critic(scores[:3], scores[3:])).backward()
    assert source.grad is None and all(p.grad is not None for p in net[0].parameters())


def test_penalties_double_backward_by_finite_differences() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 2, 4, dtype=torch.float64)
    alpha = torch.tensor([0.2, 0.9], dtype=torch.float64)

    def penalties(w: Tensor) -> list[Tensor]:
        def critic(x: Tensor) -> Tensor:
            return torch.tanh(x @ w).sum(1)

        lines = gradient_penalty(critic, real, fake, 10.0, alpha)
        return [r1(critic, real, 2.0), r2(critic, fake, 3.0), lines]

    assert torch.autograd.gradcheck(penalties, (weight,))


def test_penalties_are_fp32_inside_autocast() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(16, 1))
    x = torch.randn(2, 3, 4, 4)
    plain = r1(net, x, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x).dtype == torch.bfloat16
        inside = r1(net, x, 1.0)
    assert inside.dtype == torch.float32 and torch.equal(inside, plain)


def test_gradient_penalty_of_a_linear_critic() -> None:
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64)
    real, fake = torch.randn(2, 5, 2, dtype=torch.float64)
    value = gradient_penalty(linear(weight), real, fake, 10.0, torch.rand(5))
    assert value.item() == pytest.approx(10.0 * (5.0 - 1.0) ** 2)


def test_gradient_penalty_looks_at_the_line() -> None:
    # D(x) = ½x², ∇D = x: at α of the way from fake 0 to real 4 the norm is 4α.
    real, fake = torch.full((2, 1), 4.0), torch.zeros(2, 1)
    value = gradient_penalty(lambda x: 0.5 * x.square(), real, fake, 1.0, torch.tensor([0.25, 1.0]))
    assert value.item() == pytest.approx((0.0 + 9.0) / 2)


def test_gradient_penalty_of_a_flat_critic_has_a_finite_gradient() -> None:
    weight = torch.zeros(2, requires_grad=True)
    value = gradient_penalty(linear(weight), torch.ones(3, 2), torch.zeros(3, 2), 1.0, torch.rand(3))
    value.backward()
    assert value.item() == pytest.approx(1.0) and torch.isfinite(weight.grad).all()


def test_gradient_penalty_refuses_shapes_it_would_broadcast() -> None:
    critic = linear(torch.ones(2))
    with pytest.raises(UsageError, match="real and fake samples must have one shape"):
        gradient_penalty(critic, torch.zeros(3, 2), torch.zeros(1, 2), 1.0, torch.rand(3))
    with pytest.raises(UsageError, match=r"alpha of shape \(3,\)"):
        gradient_penalty(critic, torch.zeros(3, 2), torch.zeros(3, 2), 1.0, torch.rand(1))


@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(3, 5, 3)])
def test_spectral_norm_of_torch_reaches_one(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    layer = make()
    known = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
    normed = nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=200)
    assert torch.linalg.svdvals(normed.weight.flatten(1))[0].item() == pytest.approx(1.0, abs=1e-4)
    original = normed.parametrizations.weight.original
    assert torch.allclose(original / known, normed.weight, atol=1e-4)


def test_charbonnier() -> None:
    x = torch.zeros(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 3, 2, 2).double()
    assert charbonnier(x, x).item() == pytest.approx(1e-3)
    assert charbonnier(x, torch.full_like(x, 0.4), eps=0.3).item() == pytest.approx(0.5)
    assert torch.autograd.gradcheck(lambda v: charbonnier(v, target, 0.1), (x,))
    with pytest.raises(UsageError, match="one shape"):
        charbonnier(x, torch.zeros(1, 1, 2, 2))
