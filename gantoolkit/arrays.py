"""Arrays of numbers as a second kind of picture: .npy, TIFF of any channels and type, slices of NIfTI volumes.

Type and values of what is read are what the file holds, and what is written is of the same kind. `images` reads and
writes pictures for people; this module what it does not take. Shapes: H, W pixels, C channels, Z slices.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gantoolkit import nifti
from gantoolkit.decoders import pixel_limit, quiet
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.runlog import write_atomically

Kind = Literal["NPY", "TIFF", "NIFTI"]
SUFFIXES: dict[str, Kind] = {".npy": "NPY", ".nii": "NIFTI", ".nii.gz": "NIFTI", ".tif": "TIFF", ".tiff": "TIFF"}
FEW = 16  # a first axis up to here before a last axis beyond it is taken for channels in front


@dataclass(frozen=True)
class Array:
    """Numbers of one picture, and what of its file must survive.

    Attributes:
        values: (H, W, C) of the file's type: integers or floats, native byte order; bool became uint8.
        kind: of the file.
        flat: the file has no axis for channels, and gets none while there is one channel.
        first: channels come first in the file (TIFF with a page a channel).
        logical: the file holds bool: true is 1, and not white.
        extra: what a file of that kind says beside its numbers; only `write` looks into it.
    """

    values: np.ndarray
    kind: Kind = "NPY"
    flat: bool = False
    first: bool = False
    logical: bool = False
    extra: Any = None


def kind_of(path: Path | str) -> Kind | None:
    """The kind that a name ends as; None for all others. A TIFF may also be a picture, see `is_array`."""
    name = str(path).lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), None)


def is_array(path: Path | str) -> bool:
    """Whether `read` is for this file: .npy and NIfTI by name, TIFF if `images.read` would not take it whole.

    A TIFF's header is read; one that is damaged is left to `images.read`, which says so.
    """
    kind = kind_of(path)
    if kind != "TIFF":
        return kind is not None
    import tifffile

    try:
        with quiet(), tifffile.TiffFile(path) as file:
            return not _is_picture(file)
    except Exception:
        return False


def _is_picture(file: Any) -> bool:
    """One page of grey or colour, with or without alpha, in 8 or 16 bits or 32-bit float."""
    page = file.pages.first
    if len(file.pages) > 1 and len(file.series) == 1:  # pages of one size and type
        return False
    if len(file.pages) > 1 or (
        page.bitspersample <= 8 and page.sampleformat == 1 and page.photometric not in (0, 1, 2)
    ):
        return True  # `images` refuses the first by its own words, and knows palettes, CMYK, YCbCr
    plain = (page.bitspersample in (1, 2, 4, 8, 16) and page.sampleformat == 1) or page.dtype == np.float32
    colours = 3 if page.photometric == 2 else 1
    alpha = bool(page.extrasamples) and page.extrasamples[0] in (1, 2)
    return plain and page.photometric in (0, 1, 2) and page.samplesperpixel == colours + alpha


def count(path: Path | str) -> int:
    """Slices in a file: Z of a NIfTI volume, whose header is read, and 1 of all others.

    Raises:
        InputError: as `read`.
    """
    if kind_of(path) != "NIFTI":
        return 1
    try:
        with quiet():
            shape = nifti.shape(path)
    except GantkError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    return shape[2] if len(shape) > 2 else 1


def read(path: Path | str, index: int | None = None) -> Array:
    """The numbers of a file; of a NIfTI volume those of slice `index`, which may be None where there is only one.

    Raises:
        InputError: missing, damaged, empty, pickled or complex, NaN or infinite values, other axes than H×W or H×W×C
            (NIfTI: X×Y or X×Y×Z), more pixels than GANTK_MAX_PIXELS, nibabel missing.
    """
    arrays = read_all(path)
    if index is None and len(arrays) > 1:
        raise InputError(f"{path} has {len(arrays)} slices", expected="one picture")
    return arrays[index or 0]


def read_all(path: Path | str) -> Sequence[Array]:
    """All slices of a file, in order; one Array where there are none. Values of slices are read-only.

    Raises:
        InputError: as `read`.
    """
    path, kind = Path(path), kind_of(path)
    if kind is None:
        raise InputError(f"{path} is no array", expected=f"a name that ends in {', '.join(SUFFIXES)}")
    try:
        if path.is_dir():
            raise InputError(f"cannot read {path}", expected="an array", actual="a folder")
        status = path.stat()
        if not status.st_size:
            raise InputError(f"cannot read {path}", expected="an array", actual="an empty file")
        with quiet():
            if kind == "NIFTI":
                return _read_nifti(path, status.st_mtime_ns, status.st_size)
            return [_read_npy(path) if kind == "NPY" else _read_tiff(path)]
    except GantkError:
        raise
    except MemoryError:
        raise InputError(f"cannot read {path}: it does not fit in memory") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        raise _damaged(path, error) from error


def _damaged(path: Path | str, error: Exception) -> InputError:
    """Readers raise whatever comes to their mind on damaged bytes: zlib.error, struct.error, IndexError..."""
    return InputError(
        f"cannot decode {path}: {str(error).rstrip('.')}", remedy="the file is damaged or of another kind"
    )


def _read_npy(path: Path) -> Array:
    # mapped: the shape that a header claims is compared with the file's size before memory is asked for
    found = np.lib.format.open_memmap(path, mode="r")
    shape = "×".join(map(str, found.shape)) or "a single number"
    if found.ndim not in (2, 3):
        raise InputError(f"{path} has {found.ndim} axes", expected="H×W or H×W×C", actual=shape)
    if found.ndim == 3 and found.shape[0] <= FEW < found.shape[2]:
        remedy = "numpy.moveaxis(a, 0, 2)"
        raise InputError(f"{path} seems to have its channels first", expected="H×W×C", actual=shape, remedy=remedy)
    _limit(path, found.shape[0] * found.shape[1])
    values = _checked(path, found if found.ndim == 3 else found[..., None])
    return Array(values, "NPY", flat=found.ndim == 2, logical=found.dtype.kind == "b")


def _read_tiff(path: Path) -> Array:
    import tifffile

    with tifffile.TiffFile(path) as file:
        _refuse_half(file)
        series, page = file.series[0], file.pages.first
        kept = [(a, n) for a, n in zip(series.axes, series.shape, strict=True) if n > 1 or a in "YX"]
        axes, shape = "".join(axis for axis, _ in kept), [length for _, length in kept]
        if page.photometric == 3:
            raise InputError(f"{path} is a palette TIFF of {page.bitspersample} bits", expected="values as they are")
        if len(file.series) > 1 or axes not in ("YX", "YXS", "SYX", "CYX", "QYX"):
            actual = f"{len(file.series)} pictures of axes {series.axes} and sizes {'×'.join(map(str, series.shape))}"
            raise InputError(f"{path} is a stack", expected="one picture, its pages channels", actual=actual)
        first = len(axes) == 3 and axes[0] != "Y"
        _limit(path, series.size // (shape[0] if first else shape[2] if len(axes) == 3 else 1))
        found = series.asarray().reshape(shape)
        extra = {"resolution": page.resolution, "resolutionunit": page.resolutionunit}
        extra = extra if page.resolution != (1, 1) else {}
    values = np.moveaxis(found, 0, 2) if first else found if found.ndim == 3 else found[..., None]
    return Array(_checked(path, values), "TIFF", flat=found.ndim == 2, first=first, extra=extra)


def _refuse_half(file: Any) -> None:
    """tifffile passes over pages that a file which was cut short has lost: its last page names a next one."""
    layout, handle = file.tiff, file.filehandle
    handle.seek(file.pages[len(file.pages) - 1].offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(tags * layout.tagsize, os.SEEK_CUR)
    if struct.unpack(layout.offsetformat, handle.read(layout.offsetsize)) != (0,):
        raise ValueError("pages are missing")


@lru_cache(maxsize=2)  # slices are asked for one by one, and their volume is unpacked once
def _read_nifti(path: Path, changed: int, size: int) -> tuple[Array, ...]:
    """Slices along the third axis, turned so that front is up in the usual orientation."""
    _limit(path, math.prod(nifti.shape(path)))
    volume, extra = nifti.load(path)
    volume = _checked(path, volume)
    volume.flags.writeable = False
    slices = (volume[:, ::-1, z].T[..., None] for z in range(volume.shape[2]))
    return tuple(Array(values, "NIFTI", True, extra=extra) for values in slices)


def _limit(path: Path, pixels: int) -> None:
    if pixels > pixel_limit():
        remedy = "set GANTK_MAX_PIXELS if you trust the file"
        raise InputError(
            f"{path} has too many pixels", expected=f"at most {pixel_limit():,}", actual=f"{pixels:,}", remedy=remedy
        )


def _checked(path: Path, values: np.ndarray) -> np.ndarray:
    """A native copy of finite real numbers, any axes."""
    if not values.size:
        raise InputError(f"{path} is empty", expected="H×W numbers", actual="×".join(map(str, values.shape)))
    if values.dtype.kind not in "buif" or values.dtype.itemsize > 8:
        raise InputError(f"{path} holds no real numbers", expected="integers or floats", actual=values.dtype)
    native = np.uint8 if values.dtype.kind == "b" else values.dtype.newbyteorder("=")
    values = np.array(values, native, order="C", subok=False)
    if values.dtype.kind == "f" and (bad := int((~np.isfinite(values)).sum())):
        raise InputError(f"{path} has {bad:,} values that are not finite", remedy="replace NaN and infinity by numbers")
    return values


def write(array: Array | Sequence[Array], target: Path | str, *, force: bool = False) -> None:
    """Write an array, all or nothing, as the kind that the name ends as; a NIfTI volume from all its slices in order.

    Types stay; NIfTI knows no float16, which becomes float32. Missing folders are made.

    Raises:
        UsageError: the file exists, an unknown name, or several slices for a kind that holds one.
        InputError: the target cannot be written (read-only, disk full, ...).
    """
    path, slices = Path(target), [array] if isinstance(array, Array) else list(array)
    kind = kind_of(path)
    if kind is None:
        raise UsageError(f"no kind of array for {path}", expected=f"a name that ends in {', '.join(SUFFIXES)}")
    if kind != "NIFTI" and len(slices) != 1:
        raise UsageError(f"{path} cannot hold {len(slices)} slices", expected="a name that ends in .nii or .nii.gz")
    if path.is_dir():
        raise UsageError(f"cannot write {path}", expected="a file name", actual="a folder")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already", remedy="overwrite it with --force")
    content = {"NPY": _npy, "TIFF": _tiff, "NIFTI": _nifti}[kind](slices)
    if path.name.lower().endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _npy(slices: Sequence[Array]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, _flat(slices[0]), allow_pickle=False)
    return stream.getvalue()


def _tiff(slices: Sequence[Array]) -> bytes:
    import tifffile

    array, stream = slices[0], io.BytesIO()
    values = _flat(array)
    first = array.first and values.ndim == 3
    tifffile.imwrite(
        stream,
        np.moveaxis(values, 2, 0) if first else values,
        photometric="minisblack",
        planarconfig="contig" if values.ndim == 3 and not first else None,
        compression="zlib",
        **(array.extra if array.kind == "TIFF" and array.extra else {}),
    )
    return stream.getvalue()


def _flat(array: Array) -> np.ndarray:
    """The values, without an axis for channels where the file had none."""
    return array.values[..., 0] if array.flat and array.values.shape[2] == 1 else array.values


def _nifti(slices: Sequence[Array]) -> bytes:
    first = slices[0]
    if any(array.values.shape != (*first.values.shape[:2], 1) for array in slices):
        raise UsageError("a NIfTI volume cannot hold these", expected="slices of one size and one channel")
    volume = np.stack([array.values[..., 0].T[:, ::-1] for array in slices], 2)
    return nifti.encode(volume, first.extra if first.kind == "NIFTI" else None)
