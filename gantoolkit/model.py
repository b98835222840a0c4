"""A trained model as a user keeps and shares it: one folder with weights, config and a card.

    model.safetensors   the weights (fp16 on disk); further variants beside it as NAME.safetensors
    config.json         format, task, what builds the networks, the hash of each weights file
    README.md           the model card
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantoolkit.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
MAIN = "model"


@dataclass(frozen=True)
class Model:
    """What a task needs to use a trained model.

    Attributes:
        task: the task that understands it.
        config: JSON values that build the networks.
        weights: variant -> state dict; "model" is always there (superres keeps "fidelity" beside it).
        card: the model card, Markdown.
        name: for messages.
    """

    task: str
    config: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, Tensor]]
    card: str = ""
    name: str = ""

    def save(self, folder: Path, *, half: bool = True, force: bool = False) -> Path:
        """Write the folder in one move; floating-point weights are stored in fp16 unless `half` is False.

        Raises:
            UsageError: the folder exists and `force` is not set.
            InputError: it cannot be written.
        """
        from safetensors.torch import save_file

        if folder.exists() and not force:
            raise UsageError(f"{folder} already exists", remedy="add --force to replace it")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
        try:
            files = {}
            for variant, state in self.weights.items():
                tensors = {
                    key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu().clone()
                    for key, value in state.items()
                }
                path = temporary / f"{variant}.safetensors"
                save_file(tensors, path)
                files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            config = {"format": FORMAT, "task": self.task, "name": self.name, "network": dict(self.config)}
            (temporary / "config.json").write_text(json.dumps({**config, "sha256": files}, indent=2) + "\n")
            (temporary / "README.md").write_text(self.card or f"# {self.name or self.task}\n")
            temporary.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    @staticmethod
    def load(folder: Path) -> Model:
        """Read a model folder back; weights come as fp32.

        Raises:
            InputError: a missing or damaged file, or a newer format.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load as load_bytes

        try:
            config = json.loads((folder / "config.json").read_text())
            if config["format"] != FORMAT:
                raise InputError(
                    f"model {folder} has another format", expected=FORMAT, actual=config["format"], remedy="update gantoolkit"
                )
            weights: dict[str, dict[str, Tensor]] = {}
            for name, digest in config["sha256"].items():
                data = (folder / name).read_bytes()
                if hashlib.sha256(data).hexdigest() != digest:
                    raise InputError(f"{folder / name} is damaged: it does not match its hash in config.json")
                weights[Path(name).stem] = {
                    key: value.float() if value.is_floating_point() else value for key, value in load_bytes(data).items()
                }
            card = (folder / "README.md").read_text() if (folder / "README.md").exists() else ""
            return Model(config["task"], config["network"], weights, card, config.get("name") or folder.name)
        except FileNotFoundError as error:
            raise InputError(
                f"{folder} is not a model folder: {Path(error.filename).name} is missing",
                expected="config.json and model.safetensors",
            ) from error
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise InputError(f"model {folder} cannot be read: {type(error).__name__}: {error}") from error

    def describe(self) -> dict[str, Any]:
        """What `gantk models show` prints: JSON values."""
        sizes = {v: sum(t.numel() for t in state.values()) for v, state in self.weights.items()}
        return {"name": self.name, "task": self.task, "network": dict(self.config), "parameters": sizes}


@dataclass(frozen=True)
class ModelEntry:
    """A model that a plugin offers by name; nothing is read before `load`.

    Attributes:
        name: what `--model` takes.
        task: the task it belongs to.
        summary: one line for `gantk models list`.
        load: makes the model.
        licence: of the weights.
        available: None when it can be used, else the one line that says what is missing.
        default: the task's model when the user names none.
    """

    name: str
    task: str
    summary: str
    load: Callable[[], Model]
    licence: str = ""
    available: Callable[[], str | None] = field(default=lambda: None)
    default: bool = False


def user_models() -> Path:
    """Where `gantk models import` puts models: GANTK_HOME (default ~/.gantoolkit) / models."""
    return Path(os.environ.get("GANTK_HOME", "~/.gantoolkit")).expanduser() / "models"


def find(task: str, name: str | Path | None = None) -> Model:
    """A model by its name, by its folder, or the task's default.

    Raises:
        UsageError: no such model; near names are listed.
        InputError: it is there but cannot be used.
    """
    from gantoolkit.plugins import current, near

    entries = current().models(task)
    if name is None:
        entry = next((e for e in entries if e.default), None)
        if entry is None:
            raise UsageError(f"the task {task!r} comes with no model", remedy="name one with --model")
        return entry.load()
    folder = Path(name).expanduser()
    for place in (folder, folder / "model", user_models() / str(name)):  # a model, a run, an imported model
        if (place / "config.json").is_file() and "sha256" in (place / "config.json").read_text():
            model = Model.load(place)
            if model.task != task:
                raise UsageError(f"the model {place} is for another task", expected=task, actual=model.task)
            return model
    for entry in entries:
        if entry.name == str(name):
            missing = entry.available()
            if missing:
                raise InputError(f"the model {name!r} is not installed: {missing}")
            return entry.load()
    imported = [p.name for p in user_models().glob("*") if (p / "config.json").is_file()]
    raise UsageError(f"no {task} model is called {str(name)!r}", remedy=near(str(name), [e.name for e in entries] + imported))
