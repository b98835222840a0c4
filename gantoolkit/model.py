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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantoolkit.entries import ModelEntry
from gantoolkit.errors import InputError, PluginError, UsageError
from gantoolkit.paths import expanded

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
MAIN = "model"
CONFIG = "config.json"


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

        A tensor that fp16 cannot hold (values beyond 65504) keeps its precision.

        Raises:
            UsageError: the folder holds something and `force` is not set, or that is not a model.
            InputError: it cannot be written.
        """
        from safetensors.torch import save as to_bytes

        taken = folder.exists() and not is_empty(folder)
        if taken and not force:
            raise UsageError(f"{folder} already exists", remedy="add --force to replace it")
        if taken and not is_model(folder):
            raise UsageError(f"{folder} is not a model and will not be replaced", remedy="choose another name")
        files = {
            f"{variant}.safetensors": to_bytes({key: _stored(value, half) for key, value in state.items()})
            for variant, state in self.weights.items()
        }
        config = {
            "format": FORMAT,
            "task": self.task,
            "name": self.name,
            "network": dict(self.config),
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        files[CONFIG] = (json.dumps(config, indent=2) + "\n").encode()
        files["README.md"] = (self.card or f"# {self.name or self.task}\n").encode(
            errors="replace"
        )  # names of classes may be no text
        try:
            _write_folder(folder, files)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
        return folder

    @staticmethod
    def load(folder: Path) -> Model:
        """Read a model folder back; weights come as fp32.

        Raises:
            InputError: a missing or damaged file, or a newer format.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load as from_bytes

        try:
            config = json.loads((folder / CONFIG).read_bytes())
            if config["format"] != FORMAT:
                raise InputError(
                    f"the model {folder} has another format",
                    expected=FORMAT,
                    actual=config["format"],
                    remedy="update gantoolkit",
                )
            weights: dict[str, dict[str, Tensor]] = {}
            for name, digest in config["sha256"].items():
                data = (folder / Path(name).name).read_bytes()
                if hashlib.sha256(data).hexdigest() != digest:
                    raise InputError(f"{folder / name} is damaged: it does not match its hash in {CONFIG}")
                weights[Path(name).stem] = {
                    key: value.float() if value.is_floating_point() else value
                    for key, value in from_bytes(data).items()
                }
            if MAIN not in weights:
                raise InputError(f"the model {folder} has no weights", expected=f"{MAIN}.safetensors")
            card = folder / "README.md"
            return Model(
                config["task"],
                dict(config["network"]),
                weights,
                card.read_text(encoding="utf-8", errors="replace") if card.exists() else "",
                config.get("name") or folder.name,
            )
        except FileNotFoundError as error:
            raise InputError(
                f"{folder} is not a model folder: {Path(error.filename).name} is missing",
                expected=f"{CONFIG} and {MAIN}.safetensors",
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise InputError(f"the model {folder} cannot be read: {type(error).__name__}: {error}") from error

    def describe(self) -> dict[str, Any]:
        """What `gantk models show` prints: JSON values."""
        sizes = {v: sum(t.numel() for t in state.values()) for v, state in self.weights.items()}
        return {"name": self.name, "task": self.task, "network": dict(self.config), "parameters": sizes}


def starting_card(title: str, about: str, config: Mapping[str, Any], figures: str) -> str:
    """The start of a model card, Markdown: what is known without the trainer's words.

    Args:
        title: the model's name.
        about: what it does and how large it is, a sentence or two.
        config: how it was trained; values of None are left out.
        figures: the command that measures it.
    """
    lines = [
        f"# {title}",
        "",
        about,
        "",
        "## Training",
        "",
        *(f"- {key}: {value}" for key, value in sorted(config.items()) if value is not None),
        "",
        "## Data and licence",
        "",
        "Not stated. Say here what it was trained on, and under which licence the weights may be used.",
        "",
        "## Figures",
        "",
        f"Not measured. `{figures}` prints them with their protocol.",
        "",
    ]
    return "\n".join(lines)


def is_model(folder: Path) -> bool:
    """Whether a folder looks like a model's (a run has a `config.json` too, but no hashes in it)."""
    return _task_of(folder) is not None


def is_usable(folder: Path) -> bool:
    """Whether a folder holds a model whose files are whole; it reads them."""
    try:
        Model.load(folder)
    except InputError:
        return False
    return True


def is_empty(folder: Path) -> bool:
    """Whether it is a folder with nothing in it."""
    return folder.is_dir() and not any(folder.iterdir())


def user_models() -> Path:
    """Where `gantk models import` puts models: GANTK_HOME (default ~/.gantoolkit) / models."""
    return expanded(os.environ.get("GANTK_HOME") or "~/.gantoolkit") / "models"


def imported() -> Iterator[tuple[str, str]]:
    """(name, task) of each imported model."""
    for path in sorted(user_models().glob("*/" + CONFIG)):
        task = _task_of(path.parent)
        if task is not None:
            yield path.parent.name, task


def import_folder(name: str) -> Path:
    """Where an imported model of that name goes.

    Raises:
        UsageError: the name is not one plain word, and would leave the folder of models.
    """
    if not name or name.startswith(".") or Path(name).name != name or "\\" in name:
        raise UsageError(f"{name!r} cannot name a model", expected="a name without slashes, such as my-model")
    return user_models() / name


def find(task: str | None, name: str | Path | None = None) -> Model:
    """A model by its name, by its folder (a model's or a run's), or the task's default.

    Args:
        task: the task it must be for; None takes any, if the name says which.

    Raises:
        UsageError: no such model; near names are listed.
        InputError: it is there but cannot be used.
        PluginError: the plugin that brings it is broken.
    """
    from gantoolkit.plugins import current, near

    entries = current().models(task)
    if name is None:
        entry = next((e for e in entries if e.default), None)
        if entry is None:
            raise UsageError(f"the task {task!r} comes with no model", remedy="name one with --model")
        return _loaded(entry)
    folder = expanded(name)
    for place in (folder, folder / "model", user_models() / str(name)):  # a model, a run, an imported model
        if is_model(place):
            model = Model.load(place)
            if task not in (None, model.task):
                raise UsageError(f"the model {place} is for another task", expected=task, actual=model.task)
            return model
    named = [entry for entry in entries if entry.name == str(name)]
    if len(named) > 1:
        tasks = " and ".join(entry.task for entry in named)
        raise UsageError(f"{tasks} both have a model {str(name)!r}", remedy="say which with --task")
    if named:
        return _loaded(named[0])
    if (folder / "checkpoints").is_dir():
        raise InputError(f"the run {folder} has no model yet", remedy="run its training to the end")
    known = [e.name for e in entries] + [known for known, of in imported() if task in (None, of)]
    what = f"{task} model" if task else "model"
    raise UsageError(f"no {what} is called {str(name)!r}", remedy=near(str(name), known))


def _loaded(entry: ModelEntry) -> Model:
    from gantoolkit.plugins import loaded

    what = f"the model {entry.name!r}"
    if why := loaded(what, entry.available):
        raise InputError(f"{what} is not installed: {why}")
    model = loaded(what, entry.load)
    if not isinstance(model, Model):
        raise PluginError(f"{what} cannot be loaded", expected="a Model", actual=type(model).__name__)
    return model


def _task_of(folder: Path) -> str | None:
    """The task of the model in a folder; None where there is none."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        return str(config["task"]) if "sha256" in config else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stored(value: Tensor, half: bool) -> Tensor:
    """The tensor as it goes to disk: a contiguous copy, so that no two names share one storage."""
    value = value.detach().cpu().contiguous().clone()
    if half and value.is_floating_point():
        smaller = value.half()
        if bool(smaller.isfinite().all()) or not bool(value.isfinite().all()):
            return smaller
    return value


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files in one folder that appears under its name only when all of it is on the disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        if folder.exists():  # moved aside first, so that a crash in between leaves the old one findable
            aside = temporary.with_name(temporary.name + "-old")
            folder.rename(aside)
            temporary.rename(folder)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


__all__ = [
    "MAIN",
    "Model",
    "ModelEntry",
    "find",
    "import_folder",
    "imported",
    "is_empty",
    "is_model",
    "is_usable",
    "starting_card",
    "user_models",
]
