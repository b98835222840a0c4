"""Super-resolution networks: sizes known from the papers, how far they look, and where training starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from gantk_superres.catalog import PACKAGED
from gantk_superres.networks import (
    GENERATORS,
    CompactSR,
    PatchCritic,
    RRDBNet,
    SRVGGNetCompact,
    UNetCritic,
    Upscaler,
    build,
    build_critic,
    interpolate,
)
from gantoolkit.errors import InputError, UsageError
from tests.tolerances import TOL

SMALL: list[dict[str, Any]] = [
    {"arch": "compact", "scale": 2, "channels": 8, "blocks": 2},
    {"arch": "compact", "scale": 3, "channels": 8, "blocks": 2},
    {"arch": "compact", "scale": 4, "channels": 8, "blocks": 2},
    {"arch": "srvgg", "scale": 4, "channels": 8, "convs": 2},
    {"arch": "srvgg", "scale": 3, "channels": 8, "convs": 2, "act": "leakyrelu"},
    {"arch": "rrdb", "scale": 4, "channels": 8, "blocks": 1, "growth": 4},
    {"arch": "rrdb", "scale": 2, "channels": 8, "blocks": 1, "growth": 4},
    {"arch": "rrdb", "scale": 1, "channels": 8, "blocks": 1, "growth": 4},
]


def label(config: dict[str, Any]) -> str:
    return f"{config['arch']} x{config['scale']}"


def lively(config: dict[str, Any]) -> Upscaler:
    """The network with a last layer that is not zero, so that what is inside shows."""
    torch.manual_seed(0)
    network = build(config).eval()
    if isinstance(network, CompactSR):
        nn.init.normal_(network.tail.weight, std=0.1)
    return network


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"arch": "srvgg", "scale": 4}, 621_424),
        ({"arch": "rrdb", "scale": 4}, 16_697_987),
        ({"arch": "rrdb", "scale": 4, "blocks": 6}, 4_467_779),
        ({"arch": "compact", "scale": 4}, 375_456),
    ],
)
def test_parameter_counts(config: dict[str, Any], count: int) -> None:
    assert parameters(build(config)) == count


@pytest.mark.parametrize("config", SMALL, ids=label)
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 19), width=st.integers(1, 19), batch=st.integers(1, 2))
def test_any_size_is_enlarged_by_the_scale(config: dict[str, Any], height: int, width: int, batch: int) -> None:
    network = build(json.loads(json.dumps(config))).eval()
    with torch.inference_mode():
        output = network(torch.rand(batch, 3, height, width))
    assert output.shape == (batch, 3, height * config["scale"], width * config["scale"])


def reach(network: Upscaler, size: int) -> int:
    """How far from the middle input pixel an input pixel can lie and still move that pixel's outputs.

    With positive weights and pixels nothing cancels, so a gradient of zero means no path.
    """
    middle = size // 2 // network.multiple * network.multiple
    for value in network.parameters():
        value.data = value.data.abs() + 0.05
    pixels = torch.rand(1, 3, size, size, dtype=torch.float64) + 0.5
    pixels.requires_grad_()
    span = slice(middle * network.scale, (middle + 1) * network.scale)
    network.double()(pixels)[..., span, span].sum().backward()
    assert pixels.grad is not None
    rows = pixels.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    return max(middle - int(rows.min()), int(rows.max()) - middle)


@pytest.mark.parametrize("config", SMALL, ids=label)
def test_radius_is_how_far_the_network_looks(config: dict[str, Any]) -> None:
    network = build(config)
    found = reach(network, 4 * ((2 * network.radius + 20) // 4))
    assert found <= network.radius
    assert found == network.radius or network.multiple > 1, "a radius too large costs time on every tile"
    assert network.overlap <= network.radius
    assert network.overlap % network.multiple == 0


def tile_error(network: Upscaler, pixels: Tensor, lo: int, hi: int) -> float:
    """Largest difference between pixels [lo, hi) of the whole and of a tile with its overlap."""
    scale, context = network.scale, network.overlap
    with torch.inference_mode():
        whole = network(pixels)[..., lo * scale : hi * scale, lo * scale : hi * scale]
        tile = network(pixels[..., lo - context : hi + context, lo - context : hi + context])
    inner = slice(context * scale, (context + hi - lo) * scale)
    return (tile[..., inner, inner] - whole).abs().max().item()


@pytest.mark.parametrize("config", SMALL, ids=label)
def test_a_tile_with_its_overlap_equals_the_whole(config: dict[str, Any]) -> None:
    network = lively(config)
    side = 2 * network.radius + 40
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    middle = side // 2 // 4 * 4
    assert tile_error(network, pixels, middle - 4, middle + 4) <= TOL["tiled vs untiled, fp32 absolute"]


@pytest.mark.parametrize(
    "name",
    [
        "realesr-animevideov3",
        "realesrgan-x4plus-anime",
        pytest.param("realesrgan-x4plus", marks=pytest.mark.slow),
    ],
)
def test_a_tile_of_a_photo_equals_the_whole_with_real_weights(name: str) -> None:
    from skimage.data import astronaut

    model = PACKAGED[name]
    if model.missing():
        pytest.skip(f"not installed: {model.missing()}")
    config, state = model.load()
    network = build(config).eval()
    network.load_state_dict(state)
    crop = astronaut()[60:76, 60:360]  # a strip will do: the network looks as far sideways as up
    pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    scale, context = network.scale, network.overlap
    assert context < 146, "the tile must be smaller than the strip"
    with torch.inference_mode():
        whole = network(pixels)[..., 146 * scale : 154 * scale]
        tile = network(pixels[..., 146 - context : 154 + context])[..., context * scale : (context + 8) * scale]
    assert (whole - tile).abs().max().item() <= TOL["tiled vs untiled, fp32 absolute"]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_training_starts_at_the_bicubic_picture(scale: int) -> None:
    rng = np.random.default_rng(0)
    plane = rng.random((3, 14, 17), dtype=np.float32)
    with torch.inference_mode():
        ours = CompactSR(scale, channels=8, blocks=1)(torch.from_numpy(plane)[None])[0].numpy()
    size = (17 * scale, 14 * scale)
    theirs = np.stack([np.asarray(Image.fromarray(band).resize(size, Image.Resampling.BICUBIC)) for band in plane])
    inner = (
        slice(None),
        slice(2 * scale, -2 * scale),
        slice(2 * scale, -2 * scale),
    )  # borders differ by design
    assert np.abs(ours - theirs)[inner].max() <= TOL["resample, float32 absolute"]


def test_the_bicubic_base_keeps_full_precision_under_autocast() -> None:
    network = CompactSR(4, channels=8, blocks=1).eval()
    pixels = torch.rand(1, 3, 12, 12)
    with torch.inference_mode():
        expected = network(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(pixels)
    assert output.dtype == torch.float32
    assert torch.equal(output, expected)


def test_nothing_but_weights_is_saved() -> None:
    for config in SMALL:
        network = build(config)
        assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"arch": "compct"}, r"unknown network.*expected compact or srvgg or rrdb.*did you mean compact\?"),
        ({"scale": 4}, "unknown network"),
        ({"arch": "compact", "chanels": 8}, r"unknown network option.*did you mean channels\?"),
        ({"arch": "srvgg", "act": "gelu"}, "unknown activation"),
        ({"arch": "rrdb", "scale": 3}, "expected 1, 2 or 4, got 3"),
    ],
)
def test_a_wrong_config_is_a_usage_error(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(config)
    with pytest.raises(UsageError, match="unknown critic"):
        build_critic({"arch": "compact"})


def test_the_table_names_every_generator() -> None:
    assert set(GENERATORS) == {config["arch"] for config in SMALL}
    assert {CompactSR, SRVGGNetCompact, RRDBNet} == set(GENERATORS.values())


def test_interpolation_moves_from_one_network_to_the_other() -> None:
    a, b = build(SMALL[0]).state_dict(), build(SMALL[0]).state_dict()
    assert all(torch.equal(value, a[name]) for name, value in interpolate(a, b, 0.0).items())
    assert all(torch.equal(value, b[name]) for name, value in interpolate(a, b, 1.0).items())
    quarter = interpolate({"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([4.0, 0.0])}, 0.25)
    assert quarter["w"].tolist() == [1.0, 3.0]
    with pytest.raises(InputError, match=r"weight tail\.weight"):
        interpolate(a, {**b, "tail.weight": torch.zeros(1)}, 0.5)


# --- critics ---


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 50)])
def test_the_unet_scores_every_pixel(height: int, width: int) -> None:
    assert UNetCritic(4)(torch.rand(2, 3, height, width)).shape == (2, 1, height, width)


def test_the_patch_critic_scores_patches_of_seventy_pixels() -> None:
    critic = PatchCritic(4, layers=3)
    for value in critic.parameters():
        value.data = value.data.abs()
    pixels = torch.rand(1, 3, 128, 128, requires_grad=True)
    scores = critic(pixels)
    assert scores.shape == (1, 1, 14, 14)
    scores[..., 7, 7].sum().backward()
    assert pixels.grad is not None
    rows = pixels.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70


def test_critic_sizes_follow_their_width() -> None:
    assert parameters(PatchCritic(64)) == 2_764_737
    assert parameters(UNetCritic(64)) == 4_376_897
    assert parameters(build_critic({"arch": "unet", "channels": 24})) == 616_057


@pytest.mark.parametrize("config", [{"arch": "unet"}, {"arch": "patch"}, {"arch": "patch", "spectral": True}])
def test_critics_take_gradient_penalties(config: dict[str, Any]) -> None:
    critic = build_critic({**config, "channels": 4})
    pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(pixels).sum(), pixels, create_graph=True)
    gradient.square().sum().backward()
    # Biases do not move the gradient with respect to the input; every weight does.
    weights = [value for value in critic.parameters() if value.dim() > 1]
    assert all(value.grad is not None and value.grad.isfinite().all() for value in weights)
    assert any(value.grad.abs().max() > 0 for value in weights if value.grad is not None)


@pytest.mark.parametrize(("make", "normed"), [(UNetCritic, 8), (partial(PatchCritic, spectral=True), 5)])
def test_spectral_norm_bounds_the_weights(make: Callable[[int], nn.Module], normed: int) -> None:
    torch.manual_seed(0)  # how fast power iterations converge depends on the weights
    critic = make(4).train()
    for _ in range(100):  # each forward pass is one power iteration
        critic(torch.rand(1, 3, 32, 32))
    critic.eval()
    convs = [m for m in critic.modules() if isinstance(m, nn.Conv2d) and hasattr(m, "parametrizations")]
    assert len(convs) == normed
    for conv in convs:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2).item() == pytest.approx(1.0, abs=0.02)
