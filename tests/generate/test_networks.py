"""Generators and critics: every size, rows that do not depend on their batch, second derivatives, known answers."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_generate.networks import ARCHITECTURES, Critic, Generator, build_critic, build_generator, nearest
from gantk_generate.networks.base import doublings
from gantk_generate.networks.residual import LEAK, Block, ResidualGenerator
from gantoolkit.errors import UsageError
from gantoolkit.losses import zero_centred_gradient
from tests.generate.tiny import TINY, awake, pair
from tests.tolerances import TOL


def shape_of(name: str) -> list[int]:
    """Of one sample."""
    return [2] if name == "mlp" else [3, *TINY[name]["size"]]


def labels(n: int, classes: int) -> Tensor | None:
    return torch.arange(n) % classes if classes else None


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (16, 64), (48, 32), (64, 256)])
@pytest.mark.parametrize("arch", ["dcgan", "residual", "style"])
def test_pictures_of_every_size_and_channel_count_have_a_logit_each(arch: str, size: tuple[int, int]) -> None:
    for channels, classes in ((1, 0), (3, 3), (4, 0)):
        config = {"arch": arch, "size": size, "channels": channels, "classes": classes, "latent": 8, "width": 4}
        generator, critic = pair(config)
        with torch.no_grad():
            pictures = generator(torch.randn(3, 8), labels(3, classes))
            logits = critic(pictures, labels(3, classes))
        assert pictures.shape == (3, channels, *size) and pictures.dtype == torch.float32
        assert logits.shape == (3,) and logits.isfinite().all() and pictures.isfinite().all()


@pytest.mark.parametrize("features", [1, 2, 7])
def test_points_have_a_logit_each(features: int) -> None:
    generator, critic = pair(TINY["mlp"] | {"features": features, "classes": 2})
    points = generator(torch.randn(5, 8), labels(5, 2))
    assert points.shape == (5, features) and critic(points, labels(5, 2)).shape == (5,)


@settings(max_examples=150, deadline=None)
@given(st.integers(16, 1024), st.integers(16, 1024))
def test_a_size_is_a_small_map_doubled_or_the_error_names_one_that_is(height: int, width: int) -> None:
    near = nearest(height, width)
    first, count = doublings(near)
    assert (first[0] << count, first[1] << count) == near and 4 <= min(first) < 8
    try:
        first, count = doublings((height, width))
    except UsageError as error:
        assert near != (height, width) and f"{near[0]}x{near[1]}" in str(error)
    else:
        assert near == (height, width) == (first[0] << count, first[1] << count)


def test_no_possible_size_is_nearer_than_the_nearest() -> None:
    def possible(height: int, width: int) -> bool:
        step = 2 ** next(count for count in range(2, 9) if min(height, width) // 2**count < 8)
        return height % step == 0 and width % step == 0

    sides = range(16, 129)
    every = [(h, w) for h, w in itertools.product(sides, sides) if possible(h, w)]
    for height, width in itertools.product(range(17, 120, 13), range(16, 120, 11)):
        near = nearest(height, width)
        best = min(abs(h - height) + abs(w - width) for h, w in every)
        assert abs(near[0] - height) + abs(near[1] - width) == best


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("classes", [0, 3])
def test_a_sample_is_the_same_alone_and_in_a_batch_of_64(name: str, classes: int) -> None:
    generator, critic = pair(TINY[name] | {"classes": classes})
    awake(generator).eval()
    awake(critic).eval()
    z, label = torch.randn(64, 8), labels(64, classes)
    with torch.no_grad():
        many, one = generator(z, label), generator(z[5:6], label[5:6] if label is not None else None)
        torch.testing.assert_close(many[5:6], one, rtol=0, atol=TOL["row alone vs in a batch, absolute"])
        if TINY[name]["arch"] != "style":  # minibatch deviation
            logits, logit = critic(many, label), critic(one, label[5:6] if label is not None else None)
            torch.testing.assert_close(logits[5:6], logit, rtol=0, atol=TOL["row alone vs in a batch, absolute"])


@pytest.mark.parametrize("name", TINY)
def test_networks_say_whether_rows_depend_on_each_other_while_training(name: str) -> None:
    generator, critic = pair(TINY[name])
    z, x = torch.randn(8, 8), torch.rand(8, *shape_of(name))
    networks: list[tuple[Generator | Critic, Tensor]] = [(critic, x), (generator, z)]
    if name == "style":
        assert not generator.couples_batch
        networks = networks[:1]  # the generator's noise is random while training
    for network, batch in networks:
        awake(network)
        with torch.no_grad():
            network(batch)
            state = {key: value.clone() for key, value in network.state_dict().items()}
            first = network(batch)
            network.load_state_dict(state)  # spectral norm moves with every call
            other = network(torch.cat([batch[:4], 3 * batch[4:]]))
        same = torch.allclose(first[:4], other[:4], atol=TOL["row alone vs in a batch, absolute"])
        assert same is not network.couples_batch


@pytest.mark.parametrize("name", TINY)
def test_classes_change_samples_and_logits_and_are_required(name: str) -> None:
    generator, critic = pair(TINY[name] | {"classes": 3})
    awake(generator).eval()
    critic.eval()
    z = torch.randn(1, 8).expand(3, -1)
    with torch.no_grad():
        samples = generator(z, torch.arange(3))
        assert (samples[0] - samples[1]).abs().max() > 1e-3
        logits = critic(samples[:1].expand(3, *samples.shape[1:]), torch.arange(3))
        assert logits.unique().numel() == 3
    with pytest.raises(UsageError, match="label"):
        generator(z)
    with pytest.raises(UsageError, match="label"):
        critic(samples)


@pytest.mark.parametrize("name", TINY)
def test_unconditional_networks_ignore_labels_and_probability_is_the_logits_sigmoid(name: str) -> None:
    generator, critic = pair(TINY[name])
    generator.eval()
    critic.eval()
    z = torch.randn(4, 8)
    x = generator(z)
    assert torch.equal(x, generator(z, torch.arange(4)))
    p = critic.probability(x)
    torch.testing.assert_close(torch.logit(p), critic(x), rtol=0, atol=1e-4)
    assert ((p > 0) & (p < 1)).all()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("autocast", [False, True])
def test_both_orders_of_derivatives_are_finite_and_reach_every_parameter(name: str, autocast: bool) -> None:
    generator, critic = pair(TINY[name] | {"classes": 2})
    awake(generator)
    awake(critic)
    label = labels(4, 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        fake = generator(torch.randn(4, 8), label)
        assert fake.dtype == torch.float32
        x = fake.detach().requires_grad_()
        logits = critic(x, label)
        assert logits.dtype == torch.float32
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        (F.softplus(logits).mean() + gradient.square().sum()).backward()
        critic.requires_grad_(False)
        F.softplus(-critic(fake, label)).mean().backward()
    for parameter in [*generator.parameters(), *critic.parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any()


@pytest.mark.parametrize("name", ["dcgan spectral", "residual", "style", "mlp"])
def test_the_penalty_s_gradient_agrees_with_finite_differences(name: str) -> None:
    critic = awake(pair(TINY[name])[1]).double().eval()  # eval: spectral norm stands still
    x = torch.rand(4, *shape_of(name), dtype=torch.float64)
    parameter = max(critic.parameters(), key=torch.numel)
    zero_centred_gradient(critic, x).mean().backward()
    step = torch.randn_like(parameter)
    assert parameter.grad is not None
    slope = (parameter.grad * step).sum()
    values = []
    for way in (1e-6, -2e-6):
        parameter.data.add_(way * step)
        values.append(zero_centred_gradient(critic, x).mean().detach())
    assert abs((values[0] - values[1]) / 2e-6 - slope) <= TOL["penalty's slope, relative"] * slope.abs()


@pytest.mark.parametrize("name", TINY)
def test_a_seed_makes_one_network_and_channels_last_changes_nothing(name: str) -> None:
    generator, critic = pair(TINY[name], seed=3)
    again = pair(TINY[name], seed=3)
    for network, other in zip((generator, critic), again, strict=True):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        network.eval()
        other.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    z = torch.randn(4, 8)
    with torch.no_grad():
        x = generator(z)
        torch.testing.assert_close(again[0](z), x, rtol=0, atol=TOL["row alone vs in a batch, absolute"])
        if x.ndim == 4:
            turned = again[1](x.contiguous(memory_format=torch.channels_last))
            torch.testing.assert_close(turned, critic(x), rtol=0, atol=TOL["row alone vs in a batch, absolute"])


@pytest.mark.parametrize("name", TINY)
def test_synthesis_of_mapping_is_forward_and_keeps_double_precision(name: str) -> None:
    generator = awake(pair(TINY[name] | {"classes": 2})[0]).double().eval()
    z, label = torch.randn(3, 8, dtype=torch.float64), labels(3, 2)
    w = generator.mapping(z, label)
    x = generator(z, label)
    assert torch.equal(generator.synthesis(w), x) and x.dtype == torch.float64


@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        ({"arch": "dcgan", "size": [32, 32]}, 0.1, 0.4),
        ({"arch": "dcgan", "size": [32, 32], "upsample": True}, 0.1, 0.4),
        ({"arch": "residual", "size": [32, 32]}, 0.2, 0.9),
        ({"arch": "residual", "size": [64, 32], "width": 16, "blocks": 3}, 0.2, 0.9),
        ({"arch": "residual", "size": [32, 32], "patch": 2, "finish": 16}, 0.2, 0.9),
        ({"arch": "style", "size": [32, 32]}, 0.7, 2.5),
        ({"arch": "mlp", "features": 2}, 0.3, 1.7),
    ],
)
def test_samples_start_in_the_stated_range(config: dict[str, Any], low: float, high: float) -> None:
    for seed in range(2):
        generator, critic = pair(config, seed)
        with torch.no_grad():
            x = generator(torch.randn(8, generator.latent))
            assert low < x.std() < high
            assert critic(x).abs().max() < 10


def test_a_generator_driven_far_past_black_can_come_back() -> None:
    class Far(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.tensor(-50.0))  # where a tanh has a gradient of 0 in fp32

        def forward(self, x: Tensor) -> Tensor:
            return self.level.expand(len(x), 3, *x.shape[2:])

    generator = cast(ResidualGenerator, pair(TINY["residual"])[0])
    generator.pixels = far = Far()
    generator(torch.randn(2, 8)).mean().backward()
    assert far.level.grad is not None and float(far.level.grad) == pytest.approx(LEAK)
    assert torch.equal(generator.eval()(torch.randn(2, 8)), torch.full((2, 3, 16, 16), -1.0))


@pytest.mark.parametrize(
    ("config", "generator", "critic"),
    [
        # Radford et al.'s layers: 100*4096 + (256*128 + 128*64 + 64*3)*16 + 3, and two numbers a normalised channel.
        (
            {"arch": "dcgan", "size": [32, 32], "width": 64},
            100 * 4096 + (256 * 128 + 128 * 64 + 64 * 3) * 16 + 3 + 2 * (256 + 128 + 64),
            (3 * 64 + 64 * 128 + 128 * 256) * 16 + 64 + 2 * (128 + 256) + 256 * 16 + 1,
        ),
        ({"arch": "mlp", "features": 2, "width": 128}, 64 * 128 + 128 + 2 * (128**2 + 128) + 258, 33_537),
        ({"arch": "residual", "size": [32, 32], "width": 64}, 1_321_920, 1_060_033),
        ({"arch": "residual", "size": [32, 32], "width": 32, "blocks": 2}, 854_880, 723_937),
        ({"arch": "style", "size": [32, 32], "width": 32}, 1_424_362, 2_265_889),
    ],
)
def test_parameter_counts(config: dict[str, Any], generator: int, critic: int) -> None:
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in pair(config)]
    assert counts == [generator, critic]


def test_dcgan_has_the_paper_s_widths_at_64() -> None:
    generator, critic = pair({"arch": "dcgan", "size": [64, 64], "width": 128})
    ups = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels) for m in ups] == [(1024, 512), (512, 256), (256, 128), (128, 3)]
    downs = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in downs] == [128, 256, 512, 1024, 1]


def test_spectral_norm_bounds_every_layer_of_the_critic() -> None:
    critic = pair(TINY["dcgan spectral"] | {"classes": 3})[1]
    for _ in range(100):  # a power iteration a call
        critic(torch.rand(2, 3, 16, 16), labels(2, 3))
    layers = [m for m in critic.modules() if isinstance(m, nn.Conv2d | nn.Embedding)]
    assert len(layers) == 4
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert abs(largest - 1) < TOL["largest singular value"]


def test_a_residual_block_starts_as_the_identity_and_keeps_its_branch_small() -> None:
    torch.manual_seed(0)
    block = Block(32, 2, 16, blocks=16)
    x = torch.randn(8, 32, 8, 8)
    assert torch.equal(block(x), x)
    # Fixup: with 16 blocks each of the first two layers has half of He's gain.
    assert block.squeeze(x).detach().std().item() == pytest.approx((2 / 1.04) ** 0.5 / 2, rel=0.1)


@pytest.mark.parametrize("name", ["dcgan", "residual", "style", "mlp"])
def test_generators_can_be_exported_for_any_batch(name: str) -> None:
    generator = awake(pair(TINY[name] | {"classes": 2})[0]).eval()
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(
        generator, (torch.randn(2, 8), labels(2, 2)), dynamic_shapes=({0: batch}, {0: batch}), strict=False
    )
    z, label = torch.randn(5, 8), labels(5, 2)
    torch.testing.assert_close(
        program.module()(z, label), generator(z, label), rtol=0, atol=TOL["onnx parity, absolute"]
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"arch": "resnet", "size": [32, 32]}, "dcgan"),
        ({"size": [32, 32]}, "arch"),
        ({"arch": "dcgan"}, "size"),
        ({"arch": "dcgan", "size": [50, 50]}, "48x48"),
        ({"arch": "style", "size": [8, 8]}, "from 16 to 1024"),
        ({"arch": "style", "size": [32]}, "from 16 to 1024"),
        ({"arch": "residual", "size": [32, 32], "widht": 8}, "width"),
        ({"arch": "residual", "size": [32, 32], "width": 20, "group": 16}, "multiple"),
        ({"arch": "residual", "size": [32, 32], "critic_size": [32, 32]}, "critic_size"),
        ({"arch": "dcgan", "size": [32, 32], "channels": 0}, "channels"),
        ({"arch": "dcgan", "size": [32, 32], "width": 2.5}, "width"),
        ({"arch": "mlp", "features": 2, "classes": -1}, "classes"),
    ],
)
def test_a_configuration_that_cannot_be_built_says_why_in_one_line(config: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_generator(config)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_critic_has_its_own_width_where_the_configuration_gives_one() -> None:
    config = TINY["residual"] | {"critic_width": 16, "critic_blocks": 2}
    alone = build_critic(TINY["residual"] | {"width": 16, "blocks": 2})
    sizes = [sum(p.numel() for p in network.parameters()) for network in (build_critic(config), alone)]
    assert sizes[0] == sizes[1]
    assert set(ARCHITECTURES) == {config["arch"] for config in TINY.values()}
