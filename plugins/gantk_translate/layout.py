"""How people lay out two sides of pictures: folders A and B, parts for training and testing, side-by-side pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gantoolkit import arrays, images
from gantoolkit.decoders import is_picture
from gantoolkit.encoders import exif_orientation
from gantoolkit.errors import GantkError, InputError

Kind = Literal["pairs", "sides", "joined"]
Half = Literal["", "left", "right"]
HALVES: tuple[Half, Half] = ("left", "right")
PARTS = ("train", "test", "val")
WHOLE = "all"  # the only part where a folder has no parts
KNOWN = "A/ and B/, trainA/ trainB/, train/A/ train/B/, or pictures with A left and B right"
REMEDY = "`gantk data check` lists all that is wrong"


@dataclass(frozen=True)
class Entry:
    """One picture of a side: a file, a slice of a volume, or a half of a side-by-side picture.

    Attributes:
        file: where it is.
        key: its place below its side's folder without suffix: the same on both sides of a pair.
        slice: its number in a volume; None in a file of one picture.
        half: which half of the file's picture it is.
    """

    file: Path
    key: str
    slice: int | None = None
    half: Half = ""

    @property
    def name(self) -> str:
        """The key, with the slice's number."""
        return self.key if self.slice is None else f"{self.key}#{self.slice:03d}"

    def __str__(self) -> str:
        return str(self.file) if self.slice is None else f"{self.file} (slice {self.slice})"


Both = tuple[list[Entry], list[Entry]]


@dataclass
class Layout:
    """What a folder holds.

    Attributes:
        folder: where it all lies.
        kind: "pairs", "sides" (unpaired) or "joined" (side by side: pairs too).
        form: the layout in words.
        parts: entries of A and B by part: "train", "test" and "val" where there are such, else "all". Those of pairs
            belong together by position.
        unmatched: (file, what is wrong) of pictures without a partner, which are in no part.
        problems: (file, what is wrong): each one keeps training from starting.
        notes: what was decided, in words.
    """

    folder: Path
    kind: Kind = "sides"
    form: str = ""
    parts: dict[str, Both] = field(default_factory=dict)
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def paired(self) -> bool:
        return self.kind != "sides"


def find(folder: Path, *, pairs: bool = True) -> Layout:
    """The layout of a folder, ready to train on; of side-by-side pictures and volumes headers are read.

    Args:
        folder: what the user named.
        pairs: False where partners do not matter: pictures without one are no error then, and `kind` is "sides"
            unless all have one.

    Raises:
        InputError: no such folder, nothing recognisable, an empty side, unequal counts or unmatched names of pairs.
    """
    layout = look(folder)
    wrong = layout.problems + (layout.unmatched if pairs else [])
    if wrong:
        file, text = wrong[0]
        more = f" (and {len(wrong) - 1} more problems)" if len(wrong) > 1 else ""
        raise InputError(f"{text if file in text else f'{file}: {text}'}{more}", remedy=REMEDY)
    if layout.unmatched:
        layout = look(folder, match=False)
    return layout


def look(folder: Path, *, match: bool = True) -> Layout:
    """The same with all that is wrong listed; `match=False` takes two folders as unpaired whatever their names.

    Raises:
        InputError: no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}", expected=f"a folder with {KNOWN}")
    layout = Layout(folder)
    try:
        root = _root(folder, layout)
        sides = _sides(root)
        if sides:
            _two_folders(layout, sides, match)
        else:
            _side_by_side(layout, root)
    except OSError as error:
        raise InputError(f"cannot look into {error.filename or folder}: {error.strerror or error}") from error
    return layout


def _root(folder: Path, layout: Layout) -> Path:
    """The folder, or the only one in it, and so on."""
    root = folder
    while True:
        inside = [path for path in root.iterdir() if not path.name.startswith(".")]
        one = inside[0] if len(inside) == 1 and inside[0].is_dir() else None
        if one is None or one.name.lower() in {"a", "b", *PARTS, *(f"{p}{s}" for p in PARTS for s in "ab")}:
            break
        root = one
    if root != folder:
        layout.notes.append(f"everything lies in {root.relative_to(folder)}/, so that is taken as the root")
    return root


def _folders(root: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}


def _sides(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of A and B by part, {} where there are none; one of them may be missing on disk."""
    here = _folders(root)
    found: dict[str, tuple[Path, Path]] = {}
    for part in PARTS:
        inner = _folders(here[part]) if part in here else {}
        if "a" in inner or "b" in inner:
            found[part] = (inner.get("a", here[part] / "A"), inner.get("b", here[part] / "B"))
        elif f"{part}a" in here or f"{part}b" in here:
            found[part] = (here.get(f"{part}a", root / f"{part}A"), here.get(f"{part}b", root / f"{part}B"))
    if not found and ("a" in here or "b" in here):
        found[WHOLE] = (here.get("a", root / "A"), here.get("b", root / "B"))
    return found


def _two_folders(layout: Layout, sides: dict[str, tuple[Path, Path]], match: bool) -> None:
    shown = ", ".join(f"{path.relative_to(layout.folder)}/" for pair in sides.values() for path in pair)
    found = {part: tuple(entries_in(layout, path) for path in pair) for part, pair in sides.items()}
    for part, pair in sides.items():
        for path, entries in zip(pair, found[part], strict=True):
            if not entries:
                what = "holds no pictures" if path.is_dir() else "is missing"
                layout.problems.append((str(path), f"this side {what}"))
    keys = {part: tuple({entry.name for entry in side} for side in pair) for part, pair in found.items()}
    common = {part: a & b for part, (a, b) in keys.items()}
    shared, fewer = sum(map(len, common.values())), sum(min(len(a), len(b)) for a, b in keys.values())
    if match and shared and 2 * shared >= fewer:
        layout.kind = "pairs"
        layout.form = f"{shown}: pairs of the same name"
        layout.notes.append("the same names are on both sides, so they are taken as pairs")
        for part, (a, b) in found.items():
            layout.unmatched += _alone(sides[part], (a, b), common[part])
            layout.parts[part] = tuple([e for e in side if e.name in common[part]] for side in (a, b))  # type: ignore[assignment]
        return
    layout.form = f"{shown}: two sets of pictures, unpaired"
    if match and shared:
        layout.notes.append(f"only {shared} names are on both sides, so they are not taken as pairs")
    layout.parts = {part: (list(a), list(b)) for part, (a, b) in found.items()}


def _alone(pair: tuple[Path, Path], found: Both, common: set[str]) -> Iterator[tuple[str, str]]:
    """Pictures that have no partner, with the counts where these differ."""
    counts = f"; {pair[0].name}/ has {len(found[0])}, {pair[1].name}/ {len(found[1])}"
    counts = "" if len(found[0]) == len(found[1]) else counts
    for side, other in zip(found, reversed(pair), strict=True):
        for entry in side:
            if entry.name not in common:
                yield str(entry), f"no picture of the same name in {other}{counts}"


def _files(folder: Path) -> list[Path]:
    """Pictures and arrays in a folder and those inside it, in a stable order."""
    if not folder.is_dir():
        return []
    found = (p for p in folder.rglob("*") if is_picture(p) or arrays.kind_of(p))
    return sorted(p for p in found if p.is_file() and not p.name.startswith("."))


def _key(file: Path, folder: Path) -> str:
    name = file.relative_to(folder).as_posix()
    suffix = ".nii.gz" if name.lower().endswith(".nii.gz") else file.suffix
    return name[: -len(suffix)]


def entries_in(layout: Layout, folder: Path) -> list[Entry]:
    """The pictures of a side, slices of volumes one by one; two files of one name are a problem of the layout."""
    named: dict[str, Entry] = {}
    for file in _files(folder):
        key = _key(file, folder)
        slices: Sequence[int | None] = [None]
        if arrays.kind_of(file) == "NIFTI":
            try:
                slices = range(arrays.count(file))
            except GantkError as error:
                layout.problems.append((str(file), str(error)))
                continue
        for entry in (Entry(file, key, index) for index in slices):
            if entry.name in named:
                layout.problems.append((str(file), f"has the name of {named[entry.name].file.name}; keep one"))
                break
            named[entry.name] = entry
    return list(named.values())


def _side_by_side(layout: Layout, root: Path) -> None:
    """Pictures at least twice as wide as high, of even width, all of them: A and B next to each other."""
    here = _folders(root)
    parts = {part: here[part] for part in PARTS if part in here and _files(here[part])} or {WHOLE: root}
    found = {part: _files(folder) for part, folder in parts.items()}
    files = [file for part in found.values() for file in part]
    sizes = {file: _size(file) for file in files}
    odd = [why for file, size in sizes.items() if size and (why := _no_halves(file, *size))]
    damaged = [file for file, size in sizes.items() if not size]
    if odd or len(damaged) == len(files):
        shown = f"; {odd[0]}" if odd else ""
        layout.problems.append((str(layout.folder), f"two sides are not to be seen, expected {KNOWN}{shown}"))
        return
    layout.problems += [(str(file), "this side-by-side picture is damaged, or is none") for file in damaged]
    layout.kind, layout.form = "joined", "side-by-side pictures, A left and B right"
    layout.notes.append("each picture is taken as two halves, A left and B right")
    for part, inside in found.items():
        entries = [[Entry(f, _key(f, parts[part]), half=h) for f in inside if sizes[f]] for h in HALVES]
        layout.parts[part] = entries[0], entries[1]


def _no_halves(file: Path, width: int, height: int) -> str:
    """Why a picture is not two next to each other; "" if it may be."""
    if width < 2 * height:
        why = "less than twice as wide as high"
    elif width % 2:
        why = "of odd width"
    else:
        return ""
    return f"{file} is no picture of two halves: {width}×{height}, {why}"


def _size(file: Path) -> tuple[int, int] | None:
    """(width, height) as it is read, from the header where that can be; None for what is no picture."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size  # of a TIFF upright already
            turned = exif_orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0")) >= 5
            return (height, width) if turned else (width, height)
    except Exception:  # Pillow does not know all that `images.read` does
        try:
            height, width = images.read(file).pixels.shape[:2]
        except GantkError:
            return None
        return width, height
