"""A model on disk: what is saved comes back, what is damaged is refused, and names find it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gantoolkit import model as models
from gantoolkit import plugins
from gantoolkit.entries import ModelEntry
from gantoolkit.errors import InputError, PluginError, UsageError
from gantoolkit.hookspecs import hookimpl
from gantoolkit.model import Model, find, import_folder, imported
from gantoolkit.plugins import Candidate, Plugins


def made(**changes: Any) -> Model:
    weights = {
        "model": {"w": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), "n": torch.tensor(7)},
        "other": {"w": torch.zeros(2, 2).t()},
    }
    return Model(
        **{"task": "dots", "config": {"width": 4}, "weights": weights, "card": "# Dots é\n", "name": "d", **changes}
    )


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plugins:
    """Models by name for the tasks dots and lines, and an empty home."""
    monkeypatch.setenv("GANTK_HOME", str(tmp_path / "home"))

    class Offer:
        @hookimpl
        def gantk_models(self) -> list[ModelEntry]:
            return [
                ModelEntry("round", "dots", "", made, default=True),
                ModelEntry("away", "dots", "", made, available=lambda: "pip install dots"),
                ModelEntry("both", "dots", "", made),
                ModelEntry("both", "lines", "", lambda: made(task="lines")),
                ModelEntry("gone", "lines", "", made, available=lambda: "pip install lines", default=True),
            ]

    found = Plugins()
    assert found.add(Candidate("offer", "here", Offer)).error == ""
    plugins.use(found)
    return found


# ---- the folder ----


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    folder = made().save(tmp_path / "a" / "m", half=False)
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "other.safetensors", "config.json", "README.md"}
    back = Model.load(folder)
    assert (back.task, back.config, back.card, back.name) == ("dots", {"width": 4}, "# Dots é\n", "d")
    for variant, state in made().weights.items():
        for key, value in state.items():
            assert torch.equal(back.weights[variant][key], value) and back.weights[variant][key].dtype == value.dtype
    assert back.describe()["parameters"] == {"model": 13, "other": 4}
    assert [p.name for p in folder.parent.iterdir()] == ["m"], "nothing is left beside it"


def test_half_precision_halves_the_file_but_never_overflows(tmp_path: Path) -> None:
    weights = {"model": {"w": torch.full((64,), 1 / 3), "big": torch.tensor([7e4, 1.0])}}
    back = Model.load(made(weights=weights).save(tmp_path / "m")).weights["model"]
    assert torch.equal(back["w"], torch.full((64,), 1 / 3).half().float())
    assert torch.equal(back["big"], weights["model"]["big"])
    assert all(value.dtype == torch.float32 for value in back.values())


def test_saving_replaces_only_with_force_and_only_a_model(tmp_path: Path) -> None:
    folder = made().save(tmp_path / "m")
    with pytest.raises(UsageError, match="already exists; add --force"):
        made().save(folder)
    assert Model.load(made(name="new").save(folder, force=True)).name == "new"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not a model"):
        made().save(precious, force=True)
    assert (precious / "thesis.txt").exists()


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made().save(tmp_path / "m")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models.os, "fsync", full)
    for target in (folder, tmp_path / "n"):
        with pytest.raises(InputError, match="No space left"):
            made(name="new").save(target, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert Model.load(folder).name == "d"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        made().save(tmp_path / "m")
    tmp_path.chmod(0o700)


def edited(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGE = {
    "truncated weights": lambda f: (f / "model.safetensors").write_bytes(b"12345678"),
    "missing weights": lambda f: (f / "other.safetensors").unlink(),
    "missing config": lambda f: (f / "config.json").unlink(),
    "empty config": lambda f: (f / "config.json").write_bytes(b""),
    "binary config": lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"),
    "a list as config": lambda f: (f / "config.json").write_text("[]"),
    "hashes as a list": lambda f: edited(f, sha256=["model.safetensors"]),
    "a newer format": lambda f: edited(f, format=2),
    "no main weights": lambda f: edited(f, sha256={}),
    "a path out of the folder": lambda f: edited(f, sha256={"../../etc/passwd": "0"}),
    "network as a number": lambda f: edited(f, network=3),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line(damage: str, tmp_path: Path) -> None:
    folder = made().save(tmp_path / "m")
    DAMAGE[damage](folder)
    with pytest.raises(InputError) as caught:
        Model.load(folder)
    assert str(folder) in str(caught.value)


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    import hashlib

    folder = made().save(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"not tensors at all")
    edited(folder, sha256={"model.safetensors": hashlib.sha256(b"not tensors at all").hexdigest()})
    with pytest.raises(InputError, match="cannot be read: SafetensorError"):
        Model.load(folder)


# ---- names ----


def test_the_default_is_taken_when_none_is_named(offered: Plugins) -> None:
    assert find("dots").task == "dots"
    with pytest.raises(InputError, match="'gone' is not installed: pip install lines"):
        find("lines")
    with pytest.raises(UsageError, match="comes with no model; name one with --model"):
        find("stars")


def test_names_folders_and_runs_are_found(offered: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(name="mine").save(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.json").write_text('{"task": "dots"}')
    made(name="brought").save(import_folder("brought"))
    monkeypatch.chdir(tmp_path)
    assert find("dots", "run").name == find("dots", "run/model").name == find(None, tmp_path / "run").name == "mine"
    assert find("dots", "brought").name == find(None, "brought").name == "brought"
    assert list(imported()) == [("brought", "dots")]
    assert find("lines", "both").task == "lines" and find(None, "round").task == "dots"
    with pytest.raises(UsageError, match=r"dots and lines both have a model 'both'; say which with --task"):
        find(None, "both")


def test_a_model_that_is_not_there_gets_a_remedy(offered: Plugins, tmp_path: Path) -> None:
    made().save(import_folder("rounder"))
    with pytest.raises(UsageError, match="no dots model is called 'rond'; did you mean round or rounder"):
        find("dots", "rond")
    with pytest.raises(InputError, match="'away' is not installed: pip install dots"):
        find("dots", "away")
    with pytest.raises(UsageError, match="is for another task, expected lines, got dots"):
        find("lines", "rounder")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="has no model yet; run its training to the end"):
        find("dots", tmp_path / "run")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/tmp/a", ".hidden", "a\\b"])
def test_an_imported_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        import_folder(name)


def test_a_broken_import_hides_no_other(offered: Plugins) -> None:
    made().save(import_folder("good"))
    for name, text in [("torn", "{"), ("odd", "[]"), ("other", "{}")]:
        import_folder(name).mkdir(parents=True)
        (import_folder(name) / "config.json").write_text(text)
    assert list(imported()) == [("good", "dots")]


@pytest.mark.parametrize(
    ("load", "why"), [(lambda: 1 / 0, "ZeroDivisionError"), (dict, "got dict"), (lambda: exit(3), "SystemExit: 3")]
)
def test_a_model_whose_plugin_is_broken(load: Any, why: str, offered: Plugins) -> None:
    class Offer:
        @hookimpl
        def gantk_models(self) -> list[ModelEntry]:
            return [ModelEntry("odd", "dots", "", load)]

    assert offered.add(Candidate("odd", "here", Offer)).error == ""
    with pytest.raises(PluginError, match=f"the model 'odd' cannot be loaded.*{why}"):
        find("dots", "odd")


def test_an_empty_folder_is_no_model_that_would_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    assert Model.load(made().save(tmp_path / "m")).task == "dots"
    with pytest.raises(UsageError, match="already exists"):
        made().save(tmp_path / "m")
