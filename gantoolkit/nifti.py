"""NIfTI volumes through nibabel, which a user installs who has such files. Shapes: X, Y, Z voxels, as stored.

Who reads many files asks `arrays`, which checks values and says what is wrong in one line.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from gantoolkit.errors import InputError

Header = tuple[np.ndarray, Any, tuple[int, ...]]  # affine, nibabel's header, the axes that the file has


def shape(path: Path | str) -> tuple[int, ...]:
    """The axes of a file, from its header; those beyond the third are left out where they are 1 long.

    Raises:
        InputError: nibabel is not installed, or there are other than two or three axes.
        Exception: whatever nibabel raises on damaged files.
    """
    found = tuple(_nibabel().load(path).shape)
    axes = found
    while len(axes) > 3 and axes[-1] == 1:
        axes = axes[:-1]
    if len(axes) not in (2, 3):
        actual = "×".join(map(str, found))
        raise InputError(f"{path} has {len(found)} axes", expected="a volume X×Y×Z", actual=actual)
    return axes


def load(path: Path | str) -> tuple[np.ndarray, Header]:
    """((X, Y, Z) in the file's type, or in float32 where the header scales values; what else the file says).

    Raises: as `shape`.
    """
    axes = shape(path)
    image = _nibabel().load(path)
    volume = np.asanyarray(image.dataobj).reshape(*axes, *([1] * (3 - len(axes))))
    if (image.dataobj.slope, image.dataobj.inter) != (1, 0):  # the header forgets them on loading
        volume = volume.astype(np.float32)
    return volume, (image.affine, image.header.copy(), axes)


def encode(volume: np.ndarray, header: Header | None) -> bytes:
    """A file with a volume (X, Y, Z) in its own type, float16 as float32, at the place in space that `header` says.

    Raises:
        InputError: nibabel is not installed.
    """
    nibabel = _nibabel()
    volume = volume.astype(np.float32) if volume.dtype == np.float16 else volume
    affine, like, axes = header or (np.eye(4), None, volume.shape)
    if len(axes) == 2 and volume.shape[2] == 1:
        volume = volume[..., 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nibabel.Nifti1Image(volume, affine, like, dtype=volume.dtype)
        image.header.set_slope_inter(1, 0)
        return image.to_bytes()


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise InputError("NIfTI files need the package nibabel", remedy="pip install nibabel") from None
    return nibabel
