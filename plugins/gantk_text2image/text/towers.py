"""The text towers of BERT and of CLIP in plain torch, with the weights that their files hold.

Shapes: N texts, T tokens, D0 width, K heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Sizes:
    """Of a transformer over tokens; `like_clip` says which of the two kinds it is."""

    width: int
    depth: int
    heads: int
    hidden: int
    positions: int
    vocabulary: int
    epsilon: float
    activation: str
    like_clip: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Sizes:
        """From a model's `config.json`.

        Raises:
            ValueError: another kind of model, or one with parts that are not built here.
            KeyError, TypeError: sizes are missing or no numbers.
        """
        kind = config.get("model_type")
        if kind not in ("bert", "clip", "clip_text_model"):
            raise ValueError(f"a model of the kind bert, clip or clip_text_model, but {kind!r}")
        clip = kind != "bert"
        said = CLIP_DEFAULTS | dict(config.get("text_config") or config) if clip else dict(config)
        sizes = cls(
            width=int(said["hidden_size"]),
            depth=int(said["num_hidden_layers"]),
            heads=int(said["num_attention_heads"]),
            hidden=int(said["intermediate_size"]),
            positions=int(said["max_position_embeddings"]),
            vocabulary=int(said["vocab_size"]),
            epsilon=float(said.get("layer_norm_eps", 1e-12)),
            activation=str(said.get("hidden_act", "gelu")),
            like_clip=clip,
        )
        if sizes.activation not in ACTIVATIONS:
            raise ValueError(f"an activation among {', '.join(ACTIVATIONS)}, but {sizes.activation!r}")
        if said.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError(f"absolute positions, but {said['position_embedding_type']!r}")
        if min(sizes.width, sizes.depth, sizes.heads, sizes.hidden, sizes.positions, sizes.vocabulary) < 1:
            raise ValueError(f"sizes of at least 1, but {sizes}")
        if sizes.width % sizes.heads:
            raise ValueError(f"a width that {sizes.heads} heads divide, but {sizes.width}")
        return sizes


# What a config of CLIP leaves out: ViT-B/32.
CLIP_DEFAULTS: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def quick_gelu(x: Tensor) -> Tensor:
    """x σ(1.702 x): Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


class Tower(nn.Module):
    """ids, mask (N, T) -> states (N, T, D0).

    Like BERT (Devlin et al. 2019, arXiv:1810.04805): every token sees every other, and norms follow the sums. Like
    CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4): a token sees those before it, and norms precede.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.words = nn.Embedding(sizes.vocabulary, sizes.width)
        self.positions = nn.Embedding(sizes.positions, sizes.width)
        self.kinds = None if sizes.like_clip else nn.Embedding(2, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, sizes.epsilon)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.depth))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.words(ids) + self.positions.weight[:length]
        if self.kinds is not None:
            x = self.norm(x + self.kinds.weight[0])
        seen = mask[:, None, None, :]
        if self.sizes.like_clip:
            seen = seen & torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        for layer in self.layers:
            x = layer(x, seen)
        return self.norm(x) if self.sizes.like_clip else x


class Layer(nn.Module):
    """Attention and an MLP with their sums and norms: (N, T, D0) -> the same shape."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.q, self.k, self.v, self.out = (nn.Linear(sizes.width, sizes.width) for _ in range(4))
        self.norm1, self.norm2 = (nn.LayerNorm(sizes.width, sizes.epsilon) for _ in range(2))
        self.fc1, self.fc2 = nn.Linear(sizes.width, sizes.hidden), nn.Linear(sizes.hidden, sizes.width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        if self.sizes.like_clip:
            x = x + self._attention(self.norm1(x), seen)
            return x + self._mlp(self.norm2(x))
        x = self.norm1(x + self._attention(x, seen))
        return self.norm2(x + self._mlp(x))

    def _attention(self, x: Tensor, seen: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(2, (self.sizes.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2))

    def _mlp(self, x: Tensor) -> Tensor:
        return self.fc2(ACTIVATIONS[self.sizes.activation](self.fc1(x)))


BERT_NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "kinds": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "q": "encoder.layer.{}.attention.self.query",
    "k": "encoder.layer.{}.attention.self.key",
    "v": "encoder.layer.{}.attention.self.value",
    "out": "encoder.layer.{}.attention.output.dense",
    "norm1": "encoder.layer.{}.attention.output.LayerNorm",
    "fc1": "encoder.layer.{}.intermediate.dense",
    "fc2": "encoder.layer.{}.output.dense",
    "norm2": "encoder.layer.{}.output.LayerNorm",
}
CLIP_NAMES = {
    "words": "embeddings.token_embedding",
    "positions": "embeddings.position_embedding",
    "norm": "final_layer_norm",
    "q": "encoder.layers.{}.self_attn.q_proj",
    "k": "encoder.layers.{}.self_attn.k_proj",
    "v": "encoder.layers.{}.self_attn.v_proj",
    "out": "encoder.layers.{}.self_attn.out_proj",
    "norm1": "encoder.layers.{}.layer_norm1",
    "fc1": "encoder.layers.{}.mlp.fc1",
    "fc2": "encoder.layers.{}.mlp.fc2",
    "norm2": "encoder.layers.{}.layer_norm2",
}
PREFIXES = ("", "bert.", "text_model.")  # what a file may put before its names


def load(weights: Mapping[str, Tensor], sizes: Sizes) -> Tower:
    """A tower with these weights, frozen; a file may hold more (a pooler, a picture tower).

    Raises:
        ValueError: a tensor is missing or has another shape.
    """
    names = CLIP_NAMES if sizes.like_clip else BERT_NAMES
    prefix = next((p for p in PREFIXES if f"{p}{names['words']}.weight" in weights), "")
    with torch.device("meta"):
        tower = Tower(sizes)
    state = {}
    for key, parameter in tower.named_parameters():
        *above, part, kind = key.split(".")
        theirs = f"{prefix}{names[part].format(above[-1] if above else '')}.{kind}"
        found = tuple(weights[theirs].shape) if theirs in weights else "nothing"
        if found != tuple(parameter.shape):
            raise ValueError(f"{theirs} of shape {tuple(parameter.shape)}, but {found}")
        state[key] = weights[theirs].detach().float().clone()
    tower.load_state_dict(state, assign=True)
    return tower.requires_grad_(False).eval()
