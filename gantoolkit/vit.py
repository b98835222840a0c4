"""Vision transformers whose weights the user has: DINOv2 and the picture tower of CLIP.

Both are the ViT of Dosovitskiy et al. 2021, arXiv:2010.11929 (eq. 1–4): a class token and patches with learnt
positions, then blocks of attention and MLP, each behind a layer norm and added to its input. They are read from a
local folder as the Hugging Face hub lays it out: `config.json` and `model.safetensors`.
Shapes: pictures N,3,H,W in [0, 1]; tokens N,T,W with T = 1 + patches and W the width.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, layer_norm, linear, scaled_dot_product_attention

from gantoolkit.errors import InputError
from gantoolkit.features import check_pictures

SIZES = {384: "S", 768: "B", 1024: "L", 1536: "g"}  # how the papers call a width
Weights = dict[str, Tensor]

# Where the tensors of block {} are.
DINOV2_NAMES: dict[str, str] = {
    "norm1": "encoder.layer.{}.norm1",
    "q": "encoder.layer.{}.attention.attention.query",
    "k": "encoder.layer.{}.attention.attention.key",
    "v": "encoder.layer.{}.attention.attention.value",
    "out": "encoder.layer.{}.attention.output.dense",
    "scale1": "encoder.layer.{}.layer_scale1.lambda1",
    "norm2": "encoder.layer.{}.norm2",
    "fc1": "encoder.layer.{}.mlp.fc1",
    "fc2": "encoder.layer.{}.mlp.fc2",
    "scale2": "encoder.layer.{}.layer_scale2.lambda1",
}
CLIP_NAMES: dict[str, str] = {
    "norm1": "vision_model.encoder.layers.{}.layer_norm1",
    "q": "vision_model.encoder.layers.{}.self_attn.q_proj",
    "k": "vision_model.encoder.layers.{}.self_attn.k_proj",
    "v": "vision_model.encoder.layers.{}.self_attn.v_proj",
    "out": "vision_model.encoder.layers.{}.self_attn.out_proj",
    "norm2": "vision_model.encoder.layers.{}.layer_norm2",
    "fc1": "vision_model.encoder.layers.{}.mlp.fc1",
    "fc2": "vision_model.encoder.layers.{}.mlp.fc2",
}
# What a config of CLIP leaves out: ViT-B/32.
CLIP_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


class _Folder(ABC):
    """A frozen transformer in a local folder. Its weights are used by the names that they have in the file.

    `vectors` resizes to `input_size`² (bicubic, antialiased) and gives one row a picture. `stages` gives, at the
    picture's own size cut to whole patches, the patch tokens as maps after each quarter of the blocks.

    Args:
        folder: holds `config.json` and `model.safetensors`.

    Raises:
        InputError: a file is missing, of another kind of model, or tensors are missing or of another shape.
    """

    kind: str  # what the config's `model_type` begins with
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "model.safetensors"
        config = _config(folder, self.kind)
        try:
            self._read(config)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / 'config.json'} does not say {error}", expected=f"a {self.kind} model"
            ) from error
        if not self._path.is_file():
            raise InputError(f"{self._path} is missing", remedy="name a folder with config.json and model.safetensors")
        with self._path.open("rb") as file:
            self.weights_hash = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        _check(_loaded(self._path, self.weights_hash, torch.device("cpu")), self._shapes(), self._path)
        self.resizer = f"bicubic, antialiased, {self.input_size}²"
        self.name = f"{self.label}-{SIZES.get(self.width, f'{self.width}x{self.depth}')}/{self.patch}@{self.input_size}"

    label: str
    input_size: int
    width: int
    depth: int
    heads: int
    hidden: int  # of the MLP
    patch: int  # pixels
    grid: int  # patches a side that positions were learnt for
    epsilon: float

    def stages(self, x: Tensor) -> list[Tensor]:
        """Four maps N,W,H/patch,W/patch of pictures of at least one patch."""
        check_pictures(x, self.name, self.patch)
        rows, columns = (side // self.patch for side in x.shape[-2:])
        x = x[..., : rows * self.patch, : columns * self.patch]
        ends = {-(-self.depth * quarter // 4) for quarter in range(1, 5)}
        tokens = self._tokens(self._normalised(x))
        return [t[:, 1:].transpose(1, 2).unflatten(2, (rows, columns)) for i, t in enumerate(tokens, 1) if i in ends]

    def vectors(self, x: Tensor) -> Tensor:
        """One row a picture; see the class."""
        check_pictures(x, self.name)
        if x.shape[-2:] != (self.input_size, self.input_size):
            x = interpolate(x, (self.input_size,) * 2, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        *_, last = self._tokens(self._normalised(x))
        return self._pooled(last)

    def _normalised(self, x: Tensor) -> Tensor:
        mean, deviation = (x.new_tensor(v, dtype=torch.float32)[:, None, None] for v in (self.mean, self.deviation))
        return (x.float() - mean) / deviation

    def _weights(self, x: Tensor) -> Weights:
        return _loaded(self._path, self.weights_hash, x.device)

    def _blocks(self, tokens: Tensor, w: Weights, names: dict[str, str], act: Any) -> Any:
        """Tokens after each block: t + s₁·attention(norm t), then t + s₂·mlp(norm t); scales only where learnt."""
        for index in range(self.depth):

            def of(part: str, index: int = index) -> tuple[Tensor, Tensor]:
                name = names[part].format(index)
                return w[f"{name}.weight"], w[f"{name}.bias"]

            def scale(part: str, index: int = index) -> Tensor | float:
                return w[names[part].format(index)] if part in names else 1.0

            normal = layer_norm(tokens, (self.width,), *of("norm1"), self.epsilon)
            q, k, v = (
                linear(normal, *of(part)).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in ("q", "k", "v")
            )
            seen = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            tokens = tokens + scale("scale1") * linear(seen, *of("out"))
            normal = layer_norm(tokens, (self.width,), *of("norm2"), self.epsilon)
            tokens = tokens + scale("scale2") * linear(act(linear(normal, *of("fc1"))), *of("fc2"))
            yield tokens

    def _positions(self, learnt: Tensor, rows: int, columns: int) -> Tensor:
        """Learnt positions T,W for another grid: the class token's stays, the patches' are interpolated (bicubic)."""
        if (rows, columns) == (self.grid, self.grid):
            return learnt
        grid = learnt[1:].unflatten(0, (self.grid, self.grid)).permute(2, 0, 1)[None]
        grid = interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([learnt[:1], grid[0].flatten(1).T])

    def _block_shapes(self, names: dict[str, str]) -> dict[str, tuple[int, ...]]:
        """The shapes of every block's tensors."""
        width = self.width
        shapes: dict[str, tuple[int, ...]] = {}
        matrices: dict[str, tuple[int, ...]] = {
            "q": (width, width),
            "k": (width, width),
            "v": (width, width),
            "out": (width, width),
        }
        matrices |= {"fc1": (self.hidden, width), "fc2": (width, self.hidden), "norm1": (width,), "norm2": (width,)}
        for index in range(self.depth):
            for part, shape in matrices.items():
                name = names[part].format(index)
                shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
            shapes |= {names[part].format(index): (width,) for part in ("scale1", "scale2") if part in names}
        return shapes

    @abstractmethod
    def _read(self, config: dict[str, Any]) -> None:
        """Set the sizes from the config; KeyError for what it lacks."""

    @abstractmethod
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that is used."""

    @abstractmethod
    def _tokens(self, x: Tensor) -> Any:
        """Tokens after each block."""

    @abstractmethod
    def _pooled(self, tokens: Tensor) -> Tensor:
        """The row of a picture."""


class DinoV2(_Folder):
    """DINOv2 (Oquab et al. 2023, arXiv:2304.07193): the class token behind the last norm, of pictures of 224².

    As Stein et al. 2023, arXiv:2306.04675, use it for Fréchet distances. Positions learnt for another grid are
    interpolated.
    """

    kind, label = "dinov2", "DINOv2"
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet

    def _read(self, config: dict[str, Any]) -> None:
        if config.get("use_swiglu_ffn"):
            raise ValueError("an MLP with one gate (the giant model's SwiGLU is not built here)")
        self.width, self.depth = int(config["hidden_size"]), int(config["num_hidden_layers"])
        self.heads, self.patch = int(config["num_attention_heads"]), int(config["patch_size"])
        self.hidden = int(self.width * config.get("mlp_ratio", 4))
        self.epsilon = float(config.get("layer_norm_eps", 1e-6))
        self.grid = int(config["image_size"]) // self.patch
        self.input_size = 224 // self.patch * self.patch

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        width = self.width
        return {
            "embeddings.cls_token": (1, 1, width),
            "embeddings.position_embeddings": (1, 1 + self.grid**2, width),
            "embeddings.patch_embeddings.projection.weight": (width, 3, self.patch, self.patch),
            "embeddings.patch_embeddings.projection.bias": (width,),
            **self._block_shapes(DINOV2_NAMES),
            "layernorm.weight": (width,),
            "layernorm.bias": (width,),
        }

    def _tokens(self, x: Tensor) -> Any:
        w, prefix = self._weights(x), "embeddings.patch_embeddings.projection"
        patches = nn.functional.conv2d(x, w[f"{prefix}.weight"], w[f"{prefix}.bias"], self.patch)
        positions = self._positions(w["embeddings.position_embeddings"][0], *patches.shape[-2:])
        patches = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([w["embeddings.cls_token"].expand(len(x), -1, -1), patches], 1) + positions
        return self._blocks(tokens, w, DINOV2_NAMES, gelu)

    def _pooled(self, tokens: Tensor) -> Tensor:
        w = self._weights(tokens)
        return layer_norm(tokens[:, 0], (self.width,), w["layernorm.weight"], w["layernorm.bias"], self.epsilon)


class Clip(_Folder):
    """The picture tower of CLIP (Radford et al. 2021, arXiv:2103.00020): the class token in the joint space.

    Not scaled to length 1. Pictures are resized whole: none of the centre crop of CLIP's own preparation.
    """

    kind, label = "clip", "CLIP"
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    TOWER = "vision_model"

    def _read(self, config: dict[str, Any]) -> None:
        said = CLIP_DEFAULTS | dict(config.get("vision_config") or (config if "hidden_size" in config else {}))
        self.width, self.depth = int(said["hidden_size"]), int(said["num_hidden_layers"])
        self.heads, self.patch = int(said["num_attention_heads"]), int(said["patch_size"])
        self.hidden, self.epsilon = int(said["intermediate_size"]), float(said["layer_norm_eps"])
        self.input_size = int(said["image_size"])
        self.grid = self.input_size // self.patch
        self.projected = int(config.get("projection_dim", said.get("projection_dim", 512)))
        acts = {"quick_gelu": _quick_gelu, "gelu": gelu}
        if said["hidden_act"] not in acts:
            raise ValueError(f"an activation among {', '.join(acts)}, but {said['hidden_act']}")
        self._act = acts[said["hidden_act"]]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        width, tower = self.width, self.TOWER
        norms = [f"{tower}.{norm}.{part}" for norm in ("pre_layrnorm", "post_layernorm") for part in ("weight", "bias")]
        return {
            f"{tower}.embeddings.class_embedding": (width,),
            f"{tower}.embeddings.patch_embedding.weight": (width, 3, self.patch, self.patch),
            f"{tower}.embeddings.position_embedding.weight": (1 + self.grid**2, width),
            **dict.fromkeys(norms, (width,)),
            **self._block_shapes(CLIP_NAMES),
            "visual_projection.weight": (self.projected, width),
        }

    def _tokens(self, x: Tensor) -> Any:
        w, at = self._weights(x), f"{self.TOWER}.embeddings"
        patches = nn.functional.conv2d(x, w[f"{at}.patch_embedding.weight"], None, self.patch)
        positions = self._positions(w[f"{at}.position_embedding.weight"], *patches.shape[-2:])
        patches = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([w[f"{at}.class_embedding"].expand(len(x), 1, -1), patches], 1) + positions
        return self._blocks(self._norm(tokens, w, "pre_layrnorm"), w, CLIP_NAMES, self._act)  # the file's own spelling

    def _pooled(self, tokens: Tensor) -> Tensor:
        w = self._weights(tokens)
        return linear(self._norm(tokens[:, 0], w, "post_layernorm"), w["visual_projection.weight"])

    def _norm(self, x: Tensor, w: Weights, name: str) -> Tensor:
        at = f"{self.TOWER}.{name}"
        return layer_norm(x, (self.width,), w[f"{at}.weight"], w[f"{at}.bias"], self.epsilon)


def _quick_gelu(x: Tensor) -> Tensor:
    """x σ(1.702 x): Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2."""
    return x * torch.sigmoid(1.702 * x)


def _config(folder: Path, kind: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as a model's config: {type(error).__name__}",
            remedy="name a folder with config.json and model.safetensors",
        ) from error
    if found not in (kind, f"{kind}_vision_model"):
        raise InputError(f"{folder} holds another kind of model", expected=kind, actual=found)
    return config


@lru_cache(maxsize=2)
def _loaded(path: Path, weights_hash: str, device: torch.device) -> Weights:
    """The tensors of a file in fp32, one copy a content and device in the process."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with torch.inference_mode(False):
            return {key: tensor.to(device=device, dtype=torch.float32) for key, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as weights: {error}") from error


def _check(weights: Weights, shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Every tensor that is used must be there; a file may hold more (a text tower, a mask token)."""
    for key, shape in shapes.items():
        found = tuple(weights[key].shape) if key in weights else "nothing"
        if found != shape:
            raise InputError(f"{path} does not fit its config: {key}", expected=shape, actual=found)
