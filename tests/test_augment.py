"""Augmentation of batches: what each change does, how often, its derivatives, no leak, and the strength."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gantoolkit.augment import POLICIES, AdaptiveStrength, Augment
from gantoolkit.errors import UsageError
from gantoolkit.game import Stateful, Step
from gantoolkit.losses import ADVERSARIAL, adversarial, r1
from gantoolkit.view import View
from tests.tolerances import TOL

EXACT = TOL["augmentation, fp64 absolute"]
SINGLE = TOL["augmentation, fp32 absolute"]
HALF, ON = 0.5, 0.0  # uniform numbers: the middle of a distribution, and "this change happens"


def pictures(n: int = 4, channels: int = 3, height: int = 8, width: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, channels, height, width, generator=generator, dtype=torch.float64) - 1


def draws(n: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.rand(n, *shape, generator=generator)


def given(*u: float):
    """The same uniform numbers for every picture of a batch of four."""
    return lambda k: torch.tensor([u]).expand(4, k)


def uniform(normal: float) -> float:
    """The uniform number that becomes this normal one."""
    return 0.5 * (1 + math.erf(normal / math.sqrt(2)))


# ---- in general ----


@pytest.mark.parametrize("policy", POLICIES)
def test_strength_0_returns_its_input_and_draws_as_many_numbers(policy: str) -> None:
    augment, x, asked = Augment(policy), pictures(), []
    rand = draws(4)
    assert augment(x, 0.0, lambda k: asked.append(k) or rand(k)) is x
    changed = augment(x, 1.0, lambda k: asked.append(k) or rand(k))
    assert asked == [augment.draws, augment.draws]
    assert not torch.equal(changed, x)


@pytest.mark.parametrize("policy", ["ada", "diffaugment"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 6, 9), (3, 9, 6), (4, 5, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_channels_and_formats(policy: str, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x = pictures(16, *shape).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        changed = Augment(policy)(x, 0.7, draws(16))
    assert changed.shape == x.shape and changed.dtype == dtype and bool(changed.isfinite().all())


@pytest.mark.parametrize(
    ("policy", "happens"),
    # By chance a flip or a turn comes out as "not at all"; two rotations share the strength.
    [("flip", 1 / 2), ("turn", 3 / 4), ("luma-flip", 1 / 2)]
    + [(name, 1.0) for name in ("scale", "rotate", "stretch", "drift", "brightness", "contrast", "hue", "saturation")],
)
def test_pictures_stay_as_they_are_as_often_as_stated(policy: str, happens: float) -> None:
    n, p = 2000, 0.3
    x = pictures(n, 3, 4, 4)
    same = (Augment(policy)(x, p, draws(n)) == x).flatten(1).all(1).double().mean()
    stated = 1 - p * happens
    assert abs(same - stated) < 4 * math.sqrt(stated * (1 - stated) / n)  # four standard errors


@pytest.mark.parametrize("policy", ["ada", "diffaugment"])
def test_a_share_of_pictures_stays_as_it_was(policy: str) -> None:
    n, p = 4000, 0.1
    x = pictures(n, 3, 4, 4)
    same = (Augment(policy)(x, p, draws(n)) == x).flatten(1).all(1).double().mean()
    least = (1 - p) ** len(POLICIES[policy])
    assert same > least - 4 * math.sqrt(least * (1 - least) / n)


@pytest.mark.parametrize("policy", ["ada", "diffaugment"])
def test_a_picture_is_changed_alone(policy: str) -> None:
    """Two micro-batches with their rows of the numbers give what the whole batch gives."""
    augment, x = Augment(policy), pictures(8)
    u = draws(8)(augment.draws)
    whole = augment(x, 0.6, lambda k: u)
    parts = [augment(x[rows], 0.6, lambda k, rows=rows: u[rows]) for rows in (slice(0, 3), slice(3, 8))]
    torch.testing.assert_close(torch.cat(parts), whole, atol=EXACT, rtol=0)


@pytest.mark.parametrize("policy", POLICIES)
def test_first_and_second_derivatives(policy: str) -> None:
    augment = Augment(policy)
    x = pictures(2, 3, 4, 4).requires_grad_()
    u = draws(2, seed=3)(augment.draws)
    assert torch.autograd.gradcheck(lambda x: augment(x, 0.9, lambda k: u), x, fast_mode=True)
    slope = torch.autograd.grad(augment(x, 0.9, lambda k: u).square().sum(), x)[0]
    assert (slope.flatten(1) != 0).any(1).all()


@pytest.mark.parametrize("policy", ["ada", "diffaugment"])
def test_penalties_reach_through(policy: str) -> None:
    augment = Augment(policy)
    x = pictures(2, 3, 4, 4).requires_grad_()
    u = draws(2, seed=3)(augment.draws)
    assert torch.autograd.gradgradcheck(lambda x: augment(x, 0.9, lambda k: u).pow(2), x, fast_mode=True)


def test_policies_combine_in_order() -> None:
    x = pictures()
    u = draws(4)(4)
    both = Augment("flip,brightness")(x, 1.0, lambda k: u)
    by_hand = Augment(["brightness"])(Augment("flip")(x, 1.0, lambda k: u[:, :2]), 1.0, lambda k: u[:, 2:])
    assert torch.equal(both, by_hand)


def test_misuse_is_one_line() -> None:
    with pytest.raises(UsageError, match="did you mean cutout"):
        Augment("color,cut-out")
    with pytest.raises(UsageError, match="N,C,H,W"):
        Augment("flip")(torch.zeros(4, 2), 0.5, draws(4))
    with pytest.raises(UsageError, match=r"0 to 1, got 1\.5"):
        Augment("flip")(pictures(), 1.5, draws(4))


# ---- what each change does ----


def test_flip() -> None:
    x = pictures()
    assert torch.equal(Augment("flip")(x, 1.0, given(ON, 0.2)), x.flip(3))
    assert torch.equal(Augment("flip")(x, 1.0, given(ON, 0.7)), x)


@pytest.mark.parametrize("quarters", range(4))
def test_turn(quarters: int) -> None:
    x = pictures()
    assert torch.equal(Augment("turn")(x, 1.0, given(ON, quarters / 4 + 0.1)), x.rot90(quarters, (2, 3)))


@pytest.mark.parametrize(("u", "quarters"), [(0.1, 0), (0.4, 0), (0.6, 2), (0.9, 2)])
def test_turn_keeps_the_format(u: float, quarters: int) -> None:
    x = pictures(height=4, width=6)
    assert torch.equal(Augment("turn")(x, 1.0, given(ON, u)), x.rot90(quarters, (2, 3)))


def test_shift_mirrors_the_border() -> None:
    x = pictures(height=8, width=16)
    down_and_left = Augment("shift")(x, 1.0, given(ON, 0.999, 0.001))  # an eighth: 1 row down, 2 columns to the left
    expected = torch.cat([x[:, :, 1:2], x[:, :, :-1]], 2)
    expected = torch.cat([expected[..., 2:], expected[..., [-2, -3]]], 3)
    assert torch.equal(down_and_left, expected)


def test_translation_leaves_grey() -> None:
    x = pictures(height=8, width=16)
    up_and_right = Augment("translation")(x, 1.0, given(ON, 0.0, 0.999))
    assert torch.equal(up_and_right[:, :, :-1, 2:], x[:, :, 1:, :-2])
    assert not up_and_right[:, :, -1].any() and not up_and_right[..., :2].any()
    assert torch.equal(Augment("translation")(x, 1.0, given(ON, HALF, HALF)), x)


def test_cutout() -> None:
    x = pictures()
    middle = Augment("cutout")(x, 1.0, given(ON, HALF, HALF))
    assert not middle[:, :, 2:6, 2:6].any()
    middle[:, :, 2:6, 2:6] = x[:, :, 2:6, 2:6]
    assert torch.equal(middle, x)
    corner = Augment("cutout")(x, 1.0, given(ON, 0.0, 0.999))
    assert not corner[:, :, :2, 6:].any() and torch.equal(corner[:, :, 2:], x[:, :, 2:])


def test_color_of_diffaugment() -> None:
    off = (1.0, HALF)  # 1.0 is above every strength below 1
    x = pictures()
    brighter = Augment("color")(x, 0.99, given(ON, 0.75, *off, *off))
    torch.testing.assert_close(brighter, x + 0.25, atol=EXACT, rtol=0)
    grey = Augment("color")(x, 0.99, given(*off, ON, 0.0, *off))
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x), atol=EXACT, rtol=0)
    mean = x.mean((1, 2, 3), keepdim=True)
    flatter = Augment("color")(x, 0.99, given(*off, *off, ON, 0.25))
    torch.testing.assert_close(flatter, mean + 0.75 * (x - mean), atol=EXACT, rtol=0)


def test_scale_enlarges_about_the_centre() -> None:
    ramp = torch.linspace(-1, 1, 9, dtype=torch.float64).expand(4, 1, 9, 9)
    factor = 2 ** (0.2 * 1.5)
    larger = Augment("scale")(ramp, 1.0, given(ON, uniform(1.5)))
    torch.testing.assert_close(larger, ramp / factor, atol=SINGLE, rtol=0)


def test_stretch_is_the_inverse_across() -> None:
    ramp = torch.linspace(-1, 1, 9, dtype=torch.float64)
    both = torch.cat([ramp.expand(4, 1, 9, 9), ramp[:, None].expand(4, 1, 9, 9)], 1)
    stretched = Augment("stretch")(both, 1.0, given(ON, uniform(-1.0)))
    factor = 2**-0.2
    torch.testing.assert_close(stretched[:, 1, 2:-2], factor * both[:, 1, 2:-2], atol=SINGLE, rtol=0)
    torch.testing.assert_close(stretched[..., 2:-2][:, 0], both[..., 2:-2][:, 0] / factor, atol=SINGLE, rtol=0)


@pytest.mark.parametrize(("u", "quarters"), [(0.75, 1), (0.25, 3), (0.0, 2)])
def test_rotate_by_right_angles(u: float, quarters: int) -> None:
    x = pictures()
    turned = Augment("rotate")(x, 1.0, given(ON, u, ON, HALF))  # the second rotation by 0
    torch.testing.assert_close(turned, x.rot90(quarters, (2, 3)), atol=10 * SINGLE, rtol=0)


def test_drift_by_whole_pixels() -> None:
    x = pictures(height=8, width=16)
    moved = Augment("drift")(x, 1.0, given(ON, uniform(1.0), uniform(-1.0)))  # 2 columns to the right, 1 row up
    torch.testing.assert_close(moved[:, :, :-1, 2:], x[:, :, 1:, :-2], atol=10 * SINGLE, rtol=0)


def test_geometry_interpolates_once() -> None:
    """Two rotations that undo each other give the picture back, though neither keeps the grid."""
    x = pictures()
    back = Augment("rotate")(x, 1.0, given(ON, 0.6, ON, 0.4))
    torch.testing.assert_close(back, x, atol=10 * SINGLE, rtol=0)


def test_tones() -> None:
    x = pictures()
    mean = x.mean(1, keepdim=True)
    for policy, u, expected in [
        ("brightness", uniform(1.0), x + 0.2),
        ("contrast", uniform(-2.0), x / 2),
        ("luma-flip", 0.1, x - 2 * mean),
        ("luma-flip", 0.9, x),
        ("hue", HALF + 1 / 3, x.roll(1, 1)),  # a third of a turn about grey: red becomes green
        ("saturation", uniform(1.0), mean + 2 * (x - mean)),
    ]:
        torch.testing.assert_close(Augment(policy)(x, 1.0, given(ON, u)), expected, atol=SINGLE, rtol=0)


def test_tones_of_grey_pictures() -> None:
    x = pictures(channels=1)
    for policy, u, expected in [("luma-flip", 0.1, -x), ("hue", 0.9, x), ("saturation", 0.9, x)]:
        torch.testing.assert_close(Augment(policy)(x, 1.0, given(ON, u)), expected, atol=SINGLE, rtol=0)


# ---- no leak ----


def learned(strength: float, seed: int) -> tuple[float, float]:
    """A generator of two numbers learns pictures that are light on the left, from an augmented critic.

    It starts with 17 of 20 pictures mirrored and brightnesses that differ by 0.3.

    Returns:
        The share of pictures that is light on the left (the data's: 1), the spread of brightness (the data's: 0).
    """
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    augment, data = Augment("flip,brightness"), torch.tensor([0.5, 0.5, -0.5, -0.5]).expand(1, 4, 4)
    weights = torch.tensor([-0.7, 0.3]).requires_grad_()
    critic = nn.Sequential(*(nn.Flatten(), nn.Linear(16, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)))
    critics = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.0, 0.9))
    generators = torch.optim.Adam([weights], lr=0.03, betas=(0.0, 0.9))

    def noise(*shape: int) -> Tensor:
        return 0.1 * torch.randn(64, 1, *shape, generator=draw)

    def seen(x: Tensor) -> Tensor:
        return augment(x, strength, lambda k: torch.rand(64, k, generator=draw))

    for _ in range(250):
        lean = torch.rand(64, 1, 1, 1, generator=draw) * 2 - 1 + weights[0]
        fake = data * torch.tanh(4 * lean) + weights[1] * 10 * noise(1, 1) + noise(4, 4)
        real = seen(data + noise(4, 4))
        loss = softplus(-critic(real)).mean() + softplus(critic(seen(fake.detach()))).mean() + r1(critic, real, 0.1)
        critics.zero_grad()
        loss.backward()
        critics.step()
        generators.zero_grad()
        softplus(-critic(seen(fake))).mean().backward()
        generators.step()
    lean, spread = weights.tolist()
    return min(max((1 + lean) / 2, 0.0), 1.0), abs(spread)


@pytest.mark.parametrize("seed", [0, 1])
def test_changes_do_not_leak_into_what_is_learned(seed: int) -> None:
    """Half of the pictures changed: what the critic sees is 3/4 light on the left, with a spread of 0.14."""
    left, spread = learned(0.5, seed)
    assert left >= 0.95
    assert spread <= 0.07


def test_changes_that_always_happen_do_leak() -> None:
    """Every second picture flipped: the critic cannot tell left from right, and the mirrored ones stay."""
    left, _ = learned(1.0, 0)
    assert left <= 0.25


# ---- strength ----


def play(strength: AdaptiveStrength, values: dict[str, float], nimg: int, start: int = 0, batch: int = 64) -> None:
    for shown in range(start + batch, start + nimg + 1, batch):
        strength.update(Step(nimg=shown, step=shown // batch, values=values))


def test_strength_rises_and_falls_at_its_rate() -> None:
    strength = AdaptiveStrength(ramp_nimg=64_000)
    play(strength, {"critic/sign": 0.9}, 6400)
    assert strength.p == pytest.approx(0.1) and strength.reading == pytest.approx(0.9)
    play(strength, {"critic/sign": 0.6}, 6400, start=6400)
    assert strength.p == pytest.approx(0.1)  # on target
    play(strength, {"critic/sign": 0.2}, 2560, start=12_800)
    assert strength.p == pytest.approx(0.06)
    play(strength, {"critic/sign": -1.0}, 6400, start=15_360)
    assert strength.p == 0
    play(strength, {"critic/sign": 1.0}, 64_000, start=21_760)
    assert strength.p == 0.8


def test_strength_goes_by_the_mean_of_an_interval() -> None:
    strength = AdaptiveStrength(ramp_nimg=1000, interval_nimg=200)
    strength.update(Step(50, 1, values={"critic/sign": 1.0}))
    strength.update(Step(100, 2, values={"critic/sign": math.nan}))
    assert strength.p == 0 and strength.reading is None
    strength.update(Step(250, 3, values={"critic/sign": 0.2}))
    assert strength.reading == pytest.approx((50 * 1.0 + 150 * 0.2) / 200)  # the step without a value counts as images
    assert strength.p == 0
    strength.update(Step(450, 4, values={"critic/sign": 0.7}))
    assert strength.p == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("signal", "values", "reading"),
    [
        ("sign", {"critic/sign": 0.25}, 0.25),
        ("win", {"critic/win": 0.9}, 0.8),
        ("overfit", {"critic/real": 2.0, "critic/held_out": -1.0, "critic/fake": -2.0}, 0.75),
        ("overfit", {"critic/real": -2.0, "critic/held_out": -1.0, "critic/fake": 2.0}, 0.0),
    ],
)
def test_signals(signal: str, values: dict[str, float], reading: float) -> None:
    strength = AdaptiveStrength(signal)
    play(strength, values, 256)
    assert strength.reading == pytest.approx(reading)


def test_strength_goes_on_exactly_where_it_was() -> None:
    def value(shown: int) -> dict[str, float]:
        return {"critic/win": 0.8 + 0.15 * math.sin(shown / 1000)}

    alone, first = AdaptiveStrength("win", ramp_nimg=3000), AdaptiveStrength("win", ramp_nimg=3000)
    assert isinstance(alone, Stateful)
    for shown in range(64, 10_000, 64):
        alone.update(Step(shown, 0, values=value(shown)))
        if shown < 5000:
            first.update(Step(shown, 0, values=value(shown)))
    resumed = AdaptiveStrength("win", ramp_nimg=3000)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))  # as checkpoints keep it
    assert 0 < resumed.p != alone.p
    for shown in range(5056, 10_000, 64):
        resumed.update(Step(shown, 0, values=value(shown)))
    assert resumed.state_dict() == alone.state_dict()


def test_strength_without_its_signal_says_so() -> None:
    with pytest.raises(UsageError, match=r"expected critic/sign.*gauges\.watch"):
        play(AdaptiveStrength(), {"critic/win": 0.9}, 6400)
    with pytest.raises(UsageError, match="sign or win or overfit"):
        AdaptiveStrength("logits")


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_sign_tells_overfitting_where_a_loss_has_its_zero_between_real_and_fake(name: str) -> None:
    """There real and fake exchange places with their signs, and a constant added to all logits changes the loss."""
    loss, real, fake = adversarial(name), torch.tensor([2.0, 0.3, -0.5]), torch.tensor([-1.0, 0.8, 0.1])
    known = loss.critic(real, fake)
    symmetric = torch.isclose(known, loss.critic(-fake, -real))
    shifted = torch.isclose(known, loss.critic(real + 1, fake + 1))
    assert loss.centred == bool(symmetric and not shifted)
    view = View("color", None, name)
    assert view.adaptive is not None and view.adaptive.signal == ("sign" if loss.centred else "win")
