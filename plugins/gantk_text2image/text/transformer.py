"""The trained half of every encoder: a small pre-norm transformer over the tokens of a text.

Shapes: N texts, T tokens, D width, K heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 32  # channels of a head, about
SPREAD = 0.1  # of embeddings at the start: small, so that steps of Adam's size move them within a few hundred


class TextTransformer(nn.Module):
    """text, mask (N, T) -> tokens (N, T, D), sentence (N, D), both normalised; tokens are zero where none is.

    Pre-norm blocks (Xiong et al. 2020, arXiv:2002.04745, section 3) over embeddings with learnt positions. The sentence
    is a weighted mean of the tokens in each head, by weights learnt from the tokens (Lin et al. 2017,
    arXiv:1703.03130, equation 1); it starts as the plain mean.

    Args:
        embed: what stands in a batch under "text" -> (N, T, D).
        width: D.
        layers: number of blocks; without any, only positions tell one order of words from another.
        tokens: T at most.
    """

    def __init__(self, embed: nn.Module, width: int, layers: int, tokens: int) -> None:
        super().__init__()
        self.embed = embed
        self.positions = nn.Parameter(torch.randn(tokens, width) * SPREAD)
        self.blocks = nn.ModuleList(Block(width, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.heads = heads(width)
        self.look = nn.Linear(width, self.heads, bias=False)
        nn.init.zeros_(self.look.weight)
        self.join = _linear(width, width)
        self.sentence_norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.embed(text)
        x = embedded + self.positions[: text.shape[1]].to(embedded.dtype)
        for block in self.blocks:
            x = block(x, mask)
        present = mask[:, :, None]
        x = torch.where(present, self.norm(x), 0.0)
        weights = self.look(x).masked_fill(~present, float("-inf")).softmax(1)  # N, T, K
        pooled = (weights[..., None] * x.unflatten(2, (self.heads, -1))).sum(1).flatten(1)
        return x, self.sentence_norm(self.join(pooled))


class Block(nn.Module):
    """x + attention(norm x), then x + mlp(norm x): (N, T, D) -> the same shape.

    What ends a branch starts smaller by the root of the number of branches (Radford et al. 2019, section 2.3).
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.heads = heads(width)
        end = (2 * layers) ** -0.5
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = _linear(width, 3 * width)
        self.attended = _linear(width, width, end)
        self.mlp_norm = nn.LayerNorm(width)
        self.widen = _linear(width, 4 * width)
        self.narrow = _linear(4 * width, width, end)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        parts = self.queries_keys_values(self.attention_norm(x)).chunk(3, 2)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.attended(seen.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.mlp_norm(x))))


def heads(width: int) -> int:
    """How many heads of about 32 channels divide the width."""
    return next(count for count in range(max(1, width // HEAD), 0, -1) if width % count == 0)


def _linear(before: int, after: int, gain: float = 1.0) -> nn.Linear:
    """A linear layer that keeps the variance, times gain²; its bias is zero."""
    layer = nn.Linear(before, after)
    nn.init.normal_(layer.weight, std=gain * before**-0.5)
    nn.init.zeros_(layer.bias)
    return layer
