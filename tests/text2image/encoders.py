"""What the tests of pretrained encoders share: folders with tiny networks, and what holds for every encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantoolkit.texts import TextEncoder, from_dict
from tests.tolerances import TOL

ALONE = "row alone vs in a batch, absolute"
WORDS = ["a", "the", "red", "blue", "square", "circle", "above", "below", "two"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", ",", "."]
STRANGE = ["", "a red square", "A  RED square, above!", "🍎 日本 \ud800 हिन्दी", "x" * 3_000, "\0", "a " * 500]
BERT = {
    "model_type": "bert",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "vocab_size": len(VOCABULARY),
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
CLIP = {"model_type": "clip", "text_config": BERT | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}}


def write_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.enable_padding(length=16)  # as published folders have it
    tokenizer.save(str(path))


def write_folder(folder: Path, config: dict[str, Any] = BERT) -> dict[str, Tensor]:
    """A folder as published ones are, with random weights, which are returned by the names in the file."""
    from safetensors.torch import save_file

    from gantk_text2image.text import towers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder / "tokenizer.json")
    sizes = towers.Sizes.read(config)
    names, prefix = (towers.CLIP_NAMES, "text_model.") if sizes.like_clip else (towers.BERT_NAMES, "")
    torch.manual_seed(0)
    weights = {}
    for key, value in towers.Tower(sizes).named_parameters():
        *above, part, kind = key.split(".")
        name = f"{prefix}{names[part].format(above[-1] if above else '')}.{kind}"
        weights[name] = torch.randn_like(value) * (0.3 if value.ndim == 2 else 0.1) + ("norm" in part.lower())
    save_file(weights | {"pooler.dense.bias": torch.zeros(3)}, folder / "model.safetensors")
    return weights


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in ("text", "mask"))


def check(encoder: TextEncoder, *, first: str, second: str) -> None:
    """What holds for every encoder; `first` and `second` are of the same words in another order."""
    batch = encoder.prepare([*STRANGE, first, second])
    count, tokens = batch["mask"].shape
    assert count == len(STRANGE) + 2 and batch["text"].shape[:2] == (count, tokens)
    assert batch["mask"].dtype == torch.bool and batch["mask"].any(1).all() and not batch["mask"].all()
    again = from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert same(again.prepare([*STRANGE, first, second]), batch)
    for row, text in enumerate(STRANGE):
        assert same(encoder.prepare([text]), {key: value[row : row + 1] for key, value in batch.items()}), text
        encoder.unknown(text)

    torch.manual_seed(0)
    network = encoder.network().eval()
    states, sentence = network(**batch)
    assert states.shape == (count, tokens, encoder.width) and sentence.shape == (count, encoder.width)
    assert not states[~batch["mask"]].any()
    assert (sentence[-1] - sentence[-2]).norm() > 0.01 * sentence[-1].norm(), "order"
    short = int(batch["mask"][-1].sum())
    alone = network(batch["text"][-1:, :short], batch["mask"][-1:, :short])
    torch.testing.assert_close(alone[0][0], states[-1, :short], rtol=0, atol=TOL[ALONE])
    torch.testing.assert_close(alone[1][0], sentence[-1], rtol=0, atol=TOL[ALONE])

    (sentence.square().sum() + states.sin().sum()).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]
