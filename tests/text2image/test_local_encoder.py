"""Encoders from local folders: BERT's and CLIP's networks against torch's own layers, caching, tuning, bad folders."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gantk_text2image.text import local, pretrained, towers
from gantk_text2image.text.local import Local
from gantoolkit import texts
from gantoolkit.errors import InputError
from tests.tolerances import TOL

from .encoders import BERT, CLIP, check, same, write_folder

pytest.importorskip("tokenizers")
CAPTIONS = [
    f"a {colour} {shape} {i}" for colour in ("red", "blue") for shape in ("square", "circle") for i in range(20)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "bert")
    return tmp_path / "bert"


def made(folder: Path, **more: Any) -> Any:
    return texts.encoder(str(folder), CAPTIONS, **({"width": 32, "layers": 1, "tokens": 8} | more))


# ---- the networks ----


def torchs_own(weights: dict[str, Tensor], index: int, clip: bool) -> nn.TransformerEncoderLayer:
    names = towers.CLIP_NAMES if clip else towers.BERT_NAMES
    prefix = "text_model." if clip else ""
    layer = nn.TransformerEncoderLayer(
        24, 3, 40, 0, towers.quick_gelu if clip else "gelu", 1e-5 if clip else 1e-12, batch_first=True, norm_first=clip
    )
    state = {}
    for kind in ("weight", "bias"):

        def of(part: str, kind: str = kind) -> Tensor:
            return weights[f"{prefix}{names[part].format(index)}.{kind}"]

        state[f"self_attn.in_proj_{kind}"] = torch.cat([of("q"), of("k"), of("v")])
        theirs = {"self_attn.out_proj": "out", "linear1": "fc1", "linear2": "fc2", "norm1": "norm1", "norm2": "norm2"}
        state |= {f"{name}.{kind}": of(part) for name, part in theirs.items()}
    layer.load_state_dict(state)
    return layer.train()  # without dropout; its short cut for inference is another code path


@pytest.mark.parametrize("config", [BERT, CLIP], ids=["bert", "clip"])
@torch.no_grad()
def test_a_tower_is_what_torchs_own_layers_make(tmp_path: Path, config: dict[str, Any]) -> None:
    weights = write_folder(tmp_path / "folder", config)
    clip = config is CLIP
    tower = local.read(tmp_path / "folder").tower
    ids = torch.tensor([[2, 5, 7, 3], [2, 6, 3, 0]])
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    if clip:
        x = weights["text_model.embeddings.token_embedding.weight"][ids]
        x = x + weights["text_model.embeddings.position_embedding.weight"][:4]
        norm = [weights[f"text_model.final_layer_norm.{kind}"] for kind in ("weight", "bias")]
    else:
        x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
        x = x + weights["embeddings.position_embeddings.weight"][:4]
        norm = [weights[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")]
        x = nn.functional.layer_norm(x, (24,), *norm, eps=1e-12)
    ahead = torch.ones(4, 4, dtype=torch.bool).triu(1) if clip else None
    for index in range(2):
        x = torchs_own(weights, index, clip)(x, src_mask=ahead, src_key_padding_mask=~mask)
    if clip:
        x = nn.functional.layer_norm(x, (24,), *norm, eps=1e-5)
    torch.testing.assert_close(tower(ids, mask)[mask], x[mask], rtol=0, atol=TOL["row alone vs in a batch, absolute"])


@pytest.mark.parametrize("tune", [False, True], ids=["frozen", "tuned"])
@pytest.mark.parametrize("config", [BERT, CLIP], ids=["bert", "clip"])
def test_what_holds_for_every_encoder(tmp_path: Path, config: dict[str, Any], tune: bool) -> None:
    write_folder(tmp_path / "folder", config)
    encoder = made(tmp_path / "folder", tune=tune)
    check(encoder, first="red square above blue circle", second="blue circle above red square")
    assert encoder.unknown("a red tree") == ["tree"], "of no caption"


def test_more_tokens_than_positions_are_not_asked_for(folder: Path) -> None:
    assert made(folder, tokens=50).prepare(["a " * 100])["mask"].shape == (1, 20)


# ---- frozen: states are kept ----


def test_captions_go_through_the_network_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTK_HOME", str(tmp_path / "home"))
    first = made(folder).prepare(CAPTIONS)
    assert len(CAPTIONS) >= pretrained.KEPT_FROM and len(list((tmp_path / "home" / "texts").iterdir())) == 1
    monkeypatch.setattr(Local, "_computed", lambda *_: pytest.fail("computed again"))
    again = made(folder)
    assert same(again.prepare(CAPTIONS), first)
    assert same(again.prepare(CAPTIONS[5:7]), {key: value[5:7] for key, value in first.items()}), "remembered"


def test_a_few_prompts_leave_no_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTK_HOME", str(tmp_path / "home"))
    made(folder).prepare(CAPTIONS[:3])
    assert not (tmp_path / "home").exists()


# ---- tuned ----


def test_tuning_starts_from_the_frozen_states_and_moves_slowly(folder: Path) -> None:
    torch.manual_seed(0)
    tuned = made(folder, tune=True)
    network = tuned.network()
    batch = tuned.prepare(CAPTIONS[:4])
    frozen = made(folder).prepare(CAPTIONS[:4])
    before = network(**batch)[1]
    torch.testing.assert_close(before, network.reader(**frozen)[1], rtol=0, atol=5e-3)  # float16 states
    kept = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)
    before.square().mul(torch.arange(32)).sum().backward()
    optimizer.step()
    moved = {key: (p - network.pretrained[key]).abs().max() / 32 for key, p in kept.pretrained.items()}
    assert moved["layers-1-fc1-weight"].item() == pytest.approx(5e-4 / 32, rel=0.01)
    assert torch.equal(kept(**batch)[1], before), "a copy has weights of its own"
    assert not torch.equal(network(**batch)[1], before)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    other = tuned.network()
    other.load_state_dict(state)
    assert torch.equal(other(**batch)[1], network(**batch)[1])


# ---- folders ----


def test_a_folder_that_says_where_its_transformer_lies(folder: Path) -> None:
    outer = folder.parent / "outer"
    outer.mkdir()
    folder.rename(outer / "0_Transformer")
    (outer / "modules.json").write_text(json.dumps([{"path": "0_Transformer"}, {"path": "1_Pooling"}]))
    assert made(outer).prepare(["a"])["mask"].sum() == 3
    (outer / "modules.json").write_text(json.dumps([{"path": "../.."}]))
    with pytest.raises(InputError, match="outside of its own"):
        made(outer)


def test_a_pickle_of_tensors_is_as_good(folder: Path) -> None:
    from safetensors.torch import load_file

    expected = made(folder).prepare(["a red square"])
    weights = load_file(folder / "model.safetensors")
    torch.save({f"bert.{key}": value for key, value in weights.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert same(made(folder).prepare(["a red square"]), expected)


def test_a_hostile_pickle_is_refused_and_not_run(folder: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (folder / "ran",)

    (folder / "model.safetensors").unlink()
    torch.save({"words": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="holds more than tensors and is refused"):
        made(folder)
    assert not (folder / "ran").exists()


def edit(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_text(json.dumps(BERT | changes)) and None


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (drop("config.json"), "holds no config.json; name a folder with"),
        (drop("tokenizer.json"), "holds no tokenizer.json"),
        (drop("model.safetensors"), "holds no model.safetensors"),
        (edit(model_type="mpnet"), "expected a model of the kind bert, clip or clip_text_model, but 'mpnet'"),
        (edit(hidden_act="relu"), "expected an activation among"),
        (edit(position_embedding_type="relative_key"), "expected absolute positions"),
        (edit(num_attention_heads=5), "a width that 5 heads divide"),
        (edit(num_attention_heads=0), "sizes of at least 1"),
        (edit(hidden_size="wide"), "wide"),
        (edit(num_hidden_layers=3), "layer.2.*but nothing"),
        (edit(intermediate_size=41), r"of shape \(41, 24\), but \(40, 24\)"),
        (write("config.json", b"{"), "config.json cannot be read"),
        (write("config.json", b"[]"), "config.json cannot be read, expected a JSON dict"),
        (write("modules.json", b"[]"), "does not name its first module's path"),
        (write("tokenizer.json", b"{}"), "cannot be read as a tokenizer"),
        (write("model.safetensors", b"short"), "cannot be read as weights"),
    ],
)
def test_a_bad_folder_is_said_in_one_line(folder: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=says) as caught:
        made(folder)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "small", BERT | {"vocab_size": 5})
    with pytest.raises(InputError, match="another model, expected ids below 5, got 15"):
        made(tmp_path / "small")


def test_a_model_finds_its_folder_again_or_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = made(folder).to_dict()
    expected = made(folder).prepare(["a"])
    folder.rename(folder.parent / "elsewhere")
    with pytest.raises(InputError, match=f"is not here; name its new place in {local.MOVED}"):
        texts.from_dict(values)
    monkeypatch.setenv(local.MOVED, str(folder.parent / "elsewhere"))
    assert same(texts.from_dict(values).prepare(["a"]), expected)
    (folder.parent / "elsewhere" / "config.json").write_text(json.dumps(BERT | {"other": 1}))
    with pytest.raises(InputError, match="is not the one that the model was trained with, expected weights"):
        texts.from_dict(values)
