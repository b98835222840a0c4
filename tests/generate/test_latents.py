"""Latent tools on generators whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gantk_generate import latents
from gantk_generate.networks import Generator, build_generator
from gantk_generate.sampler import Sampler
from gantoolkit.errors import UsageError
from gantoolkit.model import MAIN, Model
from tests.tolerances import TOL

EXACT = TOL["latents, fp64 absolute"]
ARCHITECTURES = {
    "dcgan": {"arch": "dcgan", "size": [16, 16], "channels": 1, "latent": 8, "width": 8},
    "residual": {"arch": "residual", "size": [16, 16], "channels": 3, "latent": 8, "classes": 2, "width": 16},
    "style": {"arch": "style", "size": [16, 16], "channels": 3, "latent": 8, "classes": 2, "width": 8, "widest": 2},
}


def built(name: str, seed: int = 0) -> Generator:
    """A random network, made to vary as a trained one does: branches that start as zero, statistics of norms."""
    torch.manual_seed(seed)
    generator = build_generator(ARCHITECTURES[name])
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(0, 0.1)
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        generator(torch.randn(256, 8), torch.arange(256) % 2)
    return generator.eval()


def sampler(name: str) -> Sampler:
    classes = ["cat", "dog"] if ARCHITECTURES[name].get("classes") else []
    config = {**ARCHITECTURES[name], **({"labels": classes} if classes else {})}
    return Sampler(Model("generate", config, {MAIN: built(name).state_dict()}), device="cpu")


class Linear(Generator):
    """4×4 grey pictures A z, A with singular values 8, 4, 2, 1 and known directions."""

    def __init__(self) -> None:
        super().__init__(latent=4, classes=0)
        torch.manual_seed(3)
        left, right = torch.linalg.qr(torch.randn(16, 4))[0], torch.linalg.qr(torch.randn(4, 4))[0]
        self.right = right
        self.layer = nn.Linear(4, 16)
        with torch.no_grad():
            self.layer.weight.copy_(left @ torch.diag(torch.tensor([8.0, 4, 2, 1])) @ right.T)

    def synthesis(self, w: Tensor, noise: str = "fixed") -> Tensor:
        return self.layer(w).unflatten(1, (1, 4, 4))


class Mapped(Linear):
    """The same behind a mapping network w = B z, whose largest directions are known, too."""

    def __init__(self) -> None:
        super().__init__()
        self.main = torch.linalg.qr(torch.randn(4, 4))[0]

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return (z * torch.tensor([5.0, 3, 1.5, 0.5])) @ self.main.T + 7


# ---- between and towards ----


def test_truncation_moves_towards_the_mean() -> None:
    w, mean = torch.randn(5, 3, 4), torch.randn(1, 3, 4)
    assert torch.equal(latents.truncate(w, mean, 1.0), w)
    assert torch.equal(latents.truncate(w, mean, 0.0), mean.expand_as(w))
    torch.testing.assert_close(latents.truncate(w, mean, 0.7), mean + 0.7 * (w - mean))


def test_the_mean_latent_is_the_mean() -> None:
    mean = latents.mean_latent(Mapped(), n=4000, seed=1)
    assert mean.shape == (1, 4)
    assert (mean - 7).abs().max() < 4 * 5 / math.sqrt(4000)  # four standard errors of the widest direction
    generator = built("residual")
    of_class = latents.mean_latent(generator, n=16, label=1)
    assert torch.equal(of_class[0, 8:], generator.embedding.weight[1].detach())  # type: ignore[union-attr]
    torch.testing.assert_close(latents.mean_latent(generator, n=16)[0, 8:], generator.embedding.weight.detach().mean(0))  # type: ignore[union-attr]


def test_spherical_and_linear() -> None:
    a, b = torch.tensor([1.0, 0, 0], dtype=torch.float64), torch.tensor([0.0, 1, 0], dtype=torch.float64)
    for t in (0.0, 0.25, 0.5, 1.0):
        angle = t * math.pi / 2
        on_circle = torch.tensor([math.cos(angle), math.sin(angle), 0], dtype=torch.float64)
        torch.testing.assert_close(latents.slerp(a, b, t), on_circle, atol=EXACT, rtol=0)
        torch.testing.assert_close(latents.lerp(a, b, t), (1 - t) * a + t * b, atol=EXACT, rtol=0)
    # Parallel and opposite ones have no circle.
    torch.testing.assert_close(latents.slerp(a, 3 * a, 0.5), 2 * a, atol=EXACT, rtol=0)
    torch.testing.assert_close(latents.slerp(a, -a, 0.25), 0.5 * a, atol=EXACT, rtol=0)


def test_spherical_keeps_the_length_that_normal_latents_have() -> None:
    z = torch.randn(2, 512, dtype=torch.float64)
    middle = latents.slerp(z[0], z[1], 0.5)
    assert abs(middle.norm() / math.sqrt(512) - 1) < 0.1
    assert latents.lerp(z[0], z[1], 0.5).norm() / math.sqrt(512) < 0.8


def test_a_path_goes_through_its_points() -> None:
    points = torch.randn(3, 4)
    path = latents.interpolate(points, 5)
    assert path.shape == (11, 4)
    torch.testing.assert_close(path[::5], points)
    torch.testing.assert_close(path[7], latents.slerp(points[1], points[2], 0.4))
    loop = latents.interpolate(points, 5, loop=True, between=latents.lerp)
    assert loop.shape == (15, 4)
    torch.testing.assert_close(loop[12], latents.lerp(points[2], points[0], 0.4))


@pytest.mark.parametrize("name", ["residual", "style"])
def test_between_two_pictures_of_a_class_the_class_stays(name: str) -> None:
    made = sampler(name)
    inputs = made.inputs(made.latents(2, 0), torch.tensor([1, 1]))
    path = latents.interpolate(inputs, 4, between=latents.between_inputs(made.generator))
    assert torch.equal(path[0], inputs[0]) and torch.equal(path[-1], inputs[1])
    if name == "residual":
        torch.testing.assert_close(path[:, made.latent :], inputs[:1, made.latent :].expand(5, -1))
        known = latents.slerp(inputs[0, : made.latent], inputs[1, : made.latent], 0.5)
        torch.testing.assert_close(path[2, : made.latent], known)


def test_styles_of_layers() -> None:
    a, b = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    mixed = latents.mix_styles(a, b, [0, 3])
    assert torch.equal(mixed[:, [0, 3]], b[:, [0, 3]]) and torch.equal(mixed[:, [1, 2, 4]], a[:, [1, 2, 4]])
    with pytest.raises(UsageError, match="0 to 4"):
        latents.mix_styles(a, b, [5])
    with pytest.raises(UsageError, match="--arch style"):
        latents.mix_styles(a[:, 0], b[:, 0], [0])


# ---- projection ----


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_picture_that_the_generator_made_is_found_again(name: str) -> None:
    generator = built(name)
    label = torch.tensor([1]) if generator.classes else None
    with torch.no_grad():
        z = torch.randn(1, generator.latent, generator=torch.Generator().manual_seed(99))
        own = latents._rounded(generator(z, label))[0].astype(np.uint8)
    own_state = {key: value.clone() for key, value in generator.state_dict().items()}
    found = latents.project(own, generator, steps=40, label=label)
    assert found.psnr >= 25
    assert found.psnr >= latents.project(own, generator, steps=1, label=label).psnr + 10  # where it starts
    assert found.picture.shape == own.shape and found.picture.dtype == np.uint8
    error = (found.picture.astype(float) - own) ** 2
    assert found.psnr == pytest.approx(10 * math.log10(255**2 / error.mean()))
    with torch.no_grad():
        assert np.array_equal(latents._rounded(generator.synthesis(found.latent))[0], found.picture)
    assert all(torch.equal(value, own_state[key]) for key, value in generator.state_dict().items())


def test_what_lies_beyond_white_is_no_error() -> None:
    """A file holds no more than white and black, so that a generator may go beyond them where the picture is that."""
    target = torch.tensor([1.0, -1.0, 1.0, 0.5]).view(1, 1, 2, 2)
    made = torch.tensor([1.5, -1.5, 0.8, 1.0]).view(1, 1, 2, 2)
    assert float(latents._error(made, target)) == pytest.approx((0.2**2 + 0.5**2) / 4)


def test_projection_repeats_and_refuses_other_sizes() -> None:
    generator = Linear()
    picture = np.full((4, 4, 1), 90, np.uint8)
    one, other = (latents.project(picture, generator, steps=5, seed=4) for _ in range(2))
    assert torch.equal(one.latent, other.latent) and one.psnr == other.psnr
    with pytest.raises(UsageError, match=r"expected C,H,W \(1, 4, 4\), got \(3, 8, 8\)"):
        latents.project(np.zeros((8, 8, 3), np.uint8), generator)


def test_a_class_is_kept() -> None:
    generator = built("residual")
    found = latents.project(np.full((16, 16, 3), 128, np.uint8), generator, steps=3, label=torch.tensor([1]))
    torch.testing.assert_close(found.latent[0, 8:], generator.embedding.weight[1].detach())  # type: ignore[union-attr]


# ---- directions ----


def aligned(found: Tensor, known: Tensor) -> float:
    """The smallest |cosine| between rows."""
    return float((found * known).sum(1).abs().min())


def test_closed_form_finds_the_singular_vectors() -> None:
    generator = Linear()
    found = latents.closed_form_directions(generator, 3)
    assert found.shape == (3, 4)
    assert aligned(found, generator.right.T[:3]) == pytest.approx(1, abs=TOL["latents, fp32 absolute"])
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


def test_closed_form_looks_at_every_layer_that_takes_w() -> None:
    generator = built("style")
    found = latents.closed_form_directions(generator, 2)
    layers = [layer.conv.style for layer in generator.styled] + [layer.style for layer in generator.pictures]  # type: ignore[union-attr]
    weights = torch.cat([layer.weight * layer.scale for layer in layers]).detach()
    known = torch.linalg.eigh(weights.T @ weights).eigenvectors.flip(1).T[:2]
    assert aligned(found, known) == pytest.approx(1, abs=TOL["latents, fp32 absolute"])


@pytest.mark.parametrize("name", ["dcgan", "residual"])
def test_closed_form_of_real_networks(name: str) -> None:
    generator = built(name)
    found = latents.closed_form_directions(generator, 2)
    known = torch.linalg.svd(generator.dense.weight[:, :8].detach()).Vh[:2]  # type: ignore[index, union-attr]
    assert aligned(found[:, :8], known) == pytest.approx(1, abs=TOL["latents, fp32 absolute"])
    assert not found[:, 8:].any()  # the class stays
    assert not latents.closed_form_directions(generator, 8)[:, 8:].any()
    with pytest.raises(UsageError, match="not as many directions, expected 8 at most, got 9"):
        latents.closed_form_directions(generator, 9)


def test_components_without_a_mapping_are_brought_back() -> None:
    generator = Linear()
    assert aligned(latents.pca_directions(generator, 3), generator.right.T[:3]) > 0.99


def test_components_of_a_mapping() -> None:
    generator = Mapped()
    assert aligned(latents.pca_directions(generator, 3), generator.main.T[:3]) > 0.99


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("find", [latents.closed_form_directions, partial(latents.pca_directions, n=128)])
def test_directions_have_length_1_and_repeat(name: str, find: Callable[[Generator, int], Tensor]) -> None:
    generator = built(name).train()
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    found = find(generator, 3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert torch.equal(found, find(generator, 3))
    assert generator.training
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())


# ---- sheets ----


@pytest.mark.parametrize("name", ["residual", "style"])
@pytest.mark.parametrize(
    "draw", [latents.truncation_sheet, latents.interpolation_sheet, latents.mixing_sheet, latents.directions_sheet]
)
def test_sheets(name: str, draw: Callable[..., np.ndarray]) -> None:
    if draw is latents.mixing_sheet and name != "style":
        with pytest.raises(UsageError, match="layer by layer"):
            draw(sampler(name), 2)
        return
    sheet = draw(sampler(name), 3, seed=1, label="dog")
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[2] == 3
    assert sheet.std() > 1
    assert np.array_equal(sheet, draw(sampler(name), 3, seed=1, label="dog"))


def test_mixed_pictures_stand_between_their_row_and_column() -> None:
    """The sheet's first row holds sources, its first column targets; with one of each, the rest is their mixture."""
    maker = sampler("style")
    w = maker.inputs(maker.latents(2, 5), maker.labels(2, "cat"))
    mixed = maker.render(latents.mix_styles(w[1:], w[:1], range(w.shape[1] // 2)))[0]
    white = np.full_like(mixed, 255)
    from gantk_generate.show import sheet

    expected = sheet([white, *maker.render(w), mixed], 2)
    assert np.array_equal(latents.mixing_sheet(maker, 1, seed=5, label="cat"), expected)
