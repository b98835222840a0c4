"""Networks whose weights a user brings. No real weights here: known names and shapes, filled by a rule, must give the
numbers that the projects the layouts come from gave for the same filling (torch-fidelity's Inception without its
TensorFlow resizing, transformers 5.23's Dinov2Model and CLIPVisionModelWithProjection; equal to the last bit).
"""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import extractor, perceptual_distance
from gantoolkit.featureset import describe
from gantoolkit.inception import Inception, InceptionV3
from gantoolkit.vit import Clip, DinoV2
from tests.tolerances import TOL

Shapes = dict[str, tuple[int, ...]]

DINOV2 = {
    "model_type": "dinov2",
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "image_size": 70,
    "patch_size": 14,
    "mlp_ratio": 4,
    "layer_norm_eps": 1e-6,
}
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 5,
}


def pictures(n: int, size: int) -> Tensor:
    return (torch.arange(n * 3 * size * size).float().reshape(n, 3, size, size) * 0.37).sin() * 0.5 + 0.5


def random(key: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(key.encode()))


def close(found: Tensor, expected: list[float]) -> None:
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=TOL["local features, absolute"])


# ---- Inception ----


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    with torch.device("meta"):
        state = InceptionV3().state_dict()
    weights = {}
    for key, like in state.items():
        if key.endswith("conv.weight"):
            fan = like[0].numel()
            weights[key] = torch.randn(like.shape, generator=random(key)) * (2 / fan) ** 0.5
        elif key.endswith("running_var"):
            weights[key] = torch.rand(like.shape, generator=random(key)) + 0.5
        elif key.endswith("bn.weight"):
            weights[key] = torch.rand(like.shape, generator=random(key)) * 0.5 + 0.75
        elif not key.endswith("num_batches_tracked"):
            weights[key] = torch.randn(like.shape, generator=random(key)) * 0.1
    torch.save(weights, path)
    return path


def test_inception_has_the_size_and_names_of_the_standard_file() -> None:
    with torch.device("meta"):
        net = InceptionV3()
    # Torchvision's Inception v3 without its auxiliary classifier, 23,834,568, with 8 more classes.
    assert sum(p.numel() for p in net.parameters()) == 23_834_568 + 8 * 2049
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert len([key for key in shapes if key.endswith("conv.weight")]) == 94
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_5b.branch5x5_2.conv.weight"] == (64, 48, 5, 5)
    assert shapes["Mixed_6c.branch7x7dbl_5.conv.weight"] == (192, 160, 1, 7)
    assert shapes["Mixed_7a.branch7x7x3_3.conv.weight"] == (192, 192, 7, 1)
    assert shapes["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    assert shapes["fc.weight"] == (1008, 2048)


def test_inception_computes_the_reference(inception: Path) -> None:
    network = extractor(f"inception:{inception}")
    with torch.no_grad():
        found = network.vectors(pictures(1, 20))
        assert [m.shape[1] for m in network.stages(torch.rand(1, 3, 75, 80))] == [64, 192, 288, 768, 2048]
    assert found.shape == (1, 2048) and found.mean().item() == pytest.approx(2.194286823, rel=1e-5)
    close(found[0, :4], [14.87648, 0.04202, 0.00048, 0.74912])
    assert (network.name, network.resizer) == ("Inception", "bicubic, antialiased, 299²")


@pytest.mark.parametrize("size", [32, 340])
def test_inception_resizes_as_pillow_does_with_floats(inception: Path, size: int) -> None:
    network = Inception(inception)
    x = torch.rand(1, 3, size, size + 7, generator=random("x")) * 255
    channels = [Image.fromarray(c.numpy(), mode="F").resize((299, 299), Image.Resampling.BICUBIC) for c in x[0]]
    resized = torch.from_numpy(np.stack([np.asarray(c).clip(0, 255) for c in channels]))[None]
    with torch.no_grad():
        assert torch.allclose(network.vectors(x / 255), network.vectors(resized / 255), atol=1e-3, rtol=1e-3)


def test_files_that_are_not_inception_are_one_line(inception: Path, tmp_path: Path) -> None:
    weights = torch.load(inception, weights_only=True)
    less, other = tmp_path / "less.pth", tmp_path / "other.safetensors"
    torch.save({key: value for key, value in weights.items() if key != "Mixed_6b.branch_pool.conv.weight"}, less)
    save_file({"a": torch.zeros(2)}, other)
    bad, text = tmp_path / "bad.pth", tmp_path / "text.pth"
    bad.write_bytes(pickle.dumps(Path("evil")))
    text.write_text("no weights")
    with pytest.raises(InputError, match=r"Mixed_6b.branch_pool.conv.weight, expected \(192, 768, 1, 1\), got nothing"):
        Inception(less)
    with pytest.raises(InputError, match="has another layout"):
        Inception(other)
    for path in (bad, text):
        with pytest.raises(InputError, match="cannot be read as weights"):
            Inception(path)
    with pytest.raises(InputError, match="is no file"):
        extractor("inception:/nowhere.pth")
    with pytest.raises(UsageError, match="at least 75 pixels"):
        Inception(inception).stages(torch.zeros(1, 3, 32, 32))


# ---- transformers ----


def folder(path: Path, config: dict[str, object], shapes: Shapes) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    save_file({k: torch.randn(s, generator=random(k)) * 0.2 for k, s in shapes.items()}, path / "model.safetensors")
    return path


def layers(width: int, hidden: int, matrices: str, norms: str, names: tuple[str, ...], depth: int) -> Shapes:
    shapes: Shapes = {}
    for index in range(depth):
        for name in names:
            shapes |= {f"{matrices}.{index}.{name}.weight": (width, width), f"{matrices}.{index}.{name}.bias": (width,)}
        for norm in ("1", "2"):
            key = f"{matrices}.{index}.{norms}{norm}"
            shapes |= {f"{key}.weight": (width,), f"{key}.bias": (width,)}
        key = f"{matrices}.{index}.mlp"
        shapes |= {f"{key}.fc1.weight": (hidden, width), f"{key}.fc1.bias": (hidden,)}
        shapes |= {f"{key}.fc2.weight": (width, hidden), f"{key}.fc2.bias": (width,)}
    return shapes


@pytest.fixture
def dinov2(tmp_path: Path) -> Path:
    names = (
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
        "attention.output.dense",
    )
    shapes = layers(24, 96, "encoder.layer", "norm", names, 4)
    shapes |= {f"encoder.layer.{i}.layer_scale{s}.lambda1": (24,) for i in range(4) for s in (1, 2)}
    shapes |= {
        "embeddings.cls_token": (1, 1, 24),
        "embeddings.mask_token": (1, 24),
        "embeddings.position_embeddings": (1, 26, 24),
        "embeddings.patch_embeddings.projection.weight": (24, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (24,),
        "layernorm.weight": (24,),
        "layernorm.bias": (24,),
    }
    return folder(tmp_path / "dinov2", DINOV2, shapes)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
    shapes = layers(24, 40, "vision_model.encoder.layers", "layer_norm", names, 3)
    shapes |= {
        "vision_model.embeddings.class_embedding": (24,),
        "vision_model.embeddings.patch_embedding.weight": (24, 3, 8, 8),
        "vision_model.embeddings.position_embedding.weight": (17, 24),
        "vision_model.pre_layrnorm.weight": (24,),
        "vision_model.pre_layrnorm.bias": (24,),
        "vision_model.post_layernorm.weight": (24,),
        "vision_model.post_layernorm.bias": (24,),
        "visual_projection.weight": (5, 24),
    }
    return folder(tmp_path / "clip", CLIP, shapes)


def test_dinov2_computes_the_reference_with_interpolated_positions(dinov2: Path) -> None:
    network = extractor(f"dinov2:{dinov2}")
    found = network.vectors(pictures(2, 30))
    assert found.shape == (2, 24)
    close(found[0, :4], [0.15438, 0.09319, -0.67531, 0.07582])
    assert (network.name, network.resizer) == ("DINOv2-24x4/14@224", "bicubic, antialiased, 224²")
    assert [tuple(m.shape) for m in network.stages(pictures(1, 30))] == [(1, 24, 2, 2)] * 4


def test_clip_computes_the_reference(clip: Path) -> None:
    network = extractor(f"clip:{clip}")
    found = network.vectors(pictures(2, 30))
    close(found[0], [0.16068, 0.22348, -0.12681, 0.15297, -0.3497])
    assert (network.name, network.resizer) == ("CLIP-24x3/8@32", "bicubic, antialiased, 32²")
    assert [tuple(m.shape) for m in network.stages(pictures(1, 30))] == [(1, 24, 3, 3)] * 3


def test_clips_tower_within_a_whole_model_is_the_same(clip: Path) -> None:
    alone = Clip(clip).vectors(pictures(1, 32))
    tower = {key: value for key, value in CLIP.items() if key not in ("model_type", "projection_dim")}
    (clip / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": tower, "projection_dim": 5}))
    assert torch.equal(Clip(clip).vectors(pictures(1, 32)), alone)


def test_they_are_extractors_like_any_other(dinov2: Path, clip: Path) -> None:
    for network in (DinoV2(dinov2), Clip(clip)):
        x = pictures(1, 28).requires_grad_()
        perceptual_distance(x, 1 - x.detach(), network).sum().backward()
        assert x.grad is not None and torch.isfinite(x.grad).all() and x.grad.abs().max() > 0
        grey = [np.full((9, 7, 1), v, np.uint8) for v in (3, 250)]
        found = describe(grey, network)
        assert found.feature == network.name and found.weights == network.weights_hash and len(found.weights) == 12
        with pytest.raises(UsageError, match="colour pictures"):
            network.vectors(torch.zeros(1, 1, 32, 32))


def test_a_changed_file_is_another_hash_and_is_read_again(clip: Path) -> None:
    before, file = Clip(clip), clip / "model.safetensors"
    rows, weights = before.vectors(pictures(1, 32)), load_file(file)
    save_file(weights | {"visual_projection.weight": -weights["visual_projection.weight"]}, file)
    after = Clip(clip)
    assert before.weights_hash != after.weights_hash
    assert torch.equal(after.vectors(pictures(1, 32)), -rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "bert"}, "another kind of model, expected dinov2, got bert"),
        (
            {"num_hidden_layers": 5},
            "does not fit its config: encoder.layer.4.norm1|does not fit its config: encoder.layer.4",
        ),
        ({"hidden_size": 48}, "does not fit its config"),
        ({"use_swiglu_ffn": True}, "does not say an MLP with one gate"),
        ({"hidden_size": "wide"}, "does not say invalid literal"),
        ({"patch_size": None}, "does not say int"),
    ],
)
def test_folders_that_do_not_fit_are_one_line(dinov2: Path, change: dict[str, object], said: str) -> None:
    (dinov2 / "config.json").write_text(json.dumps(DINOV2 | change))
    with pytest.raises(InputError, match=said) as caught:
        DinoV2(dinov2)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_one_line(dinov2: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as a model's config: FileNotFoundError"):
        extractor(f"clip:{tmp_path / 'nowhere'}")
    (dinov2 / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="cannot be read as weights"):
        DinoV2(dinov2)
    (dinov2 / "model.safetensors").unlink()
    with pytest.raises(InputError, match="is missing"):
        DinoV2(dinov2)
    (dinov2 / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as a model's config"):
        DinoV2(dinov2)
