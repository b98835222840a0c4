"""Checkpoints: exact, atomic, and never trusted when damaged."""

from __future__ import annotations

import json
import os
import resource
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit import checkpoint
from gantoolkit.errors import InputError
from tests.games import differences

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) * 100
    tensor = values.to(draw(st.sampled_from(DTYPES)))
    order = draw(st.permutations(range(tensor.ndim)))
    return tensor.permute(order)


words = st.text("ab/~.0", max_size=3)
leaves = st.one_of(tensors(), st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(words, inner, max_size=3),
        st.dictionaries(st.integers(-2, 20), inner, max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(state=st.dictionaries(words, trees, max_size=4))
def test_round_trip(state):
    with tempfile.TemporaryDirectory() as folder:
        back = checkpoint.load(checkpoint.save(state, Path(folder) / "nimg-1"))
    assert differences(back, state) == []
    assert list(back) == list(state)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(2, 3, 2, 4, 5).to(memory_format=torch.channels_last_3d),
        torch.randn(4, 5).t(),
        torch.randn(2, 3, 4, 5),
    ],
    ids=["channels_last", "channels_last_3d", "transposed", "contiguous"],
)
def test_memory_order_comes_back(tmp_path, tensor):
    back = checkpoint.load(checkpoint.save({"t": tensor}, tmp_path / "c"))["t"]
    assert torch.equal(back, tensor)
    assert back.stride() == tensor.stride()


def test_tied_tensors_are_stored_twice(tmp_path):
    tensor = torch.randn(3)
    assert (
        differences(
            checkpoint.load(checkpoint.save({"a": tensor, "b": tensor}, tmp_path / "c")), {"a": tensor, "b": tensor}
        )
        == []
    )


def test_earlier_files_are_read(tmp_path):
    tensor = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    folder = checkpoint.save({"t": tensor.contiguous()}, tmp_path / "c")
    (folder / "state.json").write_text(json.dumps({"t": {"$tensor": "/t", "channels_last": True}}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["state.json"] = checkpoint._sha256(folder / "state.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    back = checkpoint.load(folder)["t"]
    assert torch.equal(back, tensor)
    assert back.stride() == tensor.stride()


@pytest.mark.parametrize("state", [{"$x": 1}, {"a": {1: 2, "b": 3}}, {"a": {True: 1}}])
def test_keys_that_could_not_come_back_are_refused(tmp_path, state):
    with pytest.raises(ValueError, match="keys"):
        checkpoint.save(state, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_not_json_leave_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        checkpoint.save({"a": object(), "t": torch.ones(2)}, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def full(*_, **__):
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.write_text", "pathlib.Path.rename", "safetensors"])
def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch, where):
    if where == "safetensors":  # really too big: its own code meets the limit, not Python's
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    else:
        monkeypatch.setattr(where, full)
    try:
        with pytest.raises(InputError, match="cannot write the checkpoint"):
            checkpoint.save({"a": torch.ones(100_000)}, tmp_path / "c")
    finally:
        if where == "safetensors":
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_checkpoint_is_not_overwritten(tmp_path):
    checkpoint.save({"a": 1}, tmp_path / "c")
    with pytest.raises(InputError):
        checkpoint.save({"a": 2}, tmp_path / "c")
    assert checkpoint.load(tmp_path / "c") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def spoil_byte(folder: Path) -> None:
    data = bytearray((folder / "state.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "state.safetensors").write_bytes(data)


def spoil_json(folder: Path) -> None:
    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(text.replace("7", "8"))


def spoil_cut(folder: Path) -> None:
    os.truncate(folder / "state.safetensors", 20)


def spoil_missing(folder: Path) -> None:
    (folder / "state.json").unlink()


def spoil_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


@pytest.mark.parametrize("spoil", [spoil_byte, spoil_json, spoil_cut, spoil_missing, spoil_manifest])
def test_damage_is_seen_and_the_one_before_is_used(tmp_path, spoil):
    for nimg in (900, 1000):
        checkpoint.save({"t": torch.arange(9.0), "nimg": nimg, "seven": 7}, tmp_path / f"nimg-{nimg:09d}")
    assert checkpoint.newest(tmp_path).name == "nimg-000001000"
    spoil(tmp_path / "nimg-000001000")
    assert checkpoint.verify(tmp_path / "nimg-000001000")
    with pytest.raises(InputError, match="cannot be used"):
        checkpoint.load(tmp_path / "nimg-000001000")
    assert checkpoint.load(checkpoint.newest(tmp_path))["nimg"] == 900


def test_newest_counts_and_passes_over_what_is_unfinished(tmp_path):
    for name in ("nimg-999999999", "nimg-1000000000", "nimg-1000000001.tmp", "nimg-old"):
        checkpoint.save({"a": 1}, tmp_path / name)
    (tmp_path / "nimg-2000000000").mkdir()
    assert [p.name for p in checkpoint.listed(tmp_path)] == ["nimg-1000000000", "nimg-999999999"]
    assert checkpoint.newest(tmp_path).name == "nimg-1000000000"
    assert checkpoint.newest(tmp_path / "none") is None


def test_prune_keeps_the_newest_and_the_best(tmp_path):
    for nimg in (1, 2, 3, 4):
        checkpoint.save({"a": 1}, tmp_path / f"nimg-{nimg}")
    (tmp_path / "nimg-5.tmp").mkdir()
    checkpoint.prune(tmp_path, 2, {"nimg-1", ""})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nimg-1", "nimg-3", "nimg-4"]
