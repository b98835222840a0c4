"""Arrays come back as they went: numbers, types, axes and what else files say; what cannot be is said in one line."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gantoolkit import arrays, images
from gantoolkit.arrays import Array
from gantoolkit.errors import InputError, UsageError

TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def finite(dtype: str, shape: Any) -> st.SearchStrategy[np.ndarray]:
    kind = np.dtype(dtype)
    elements: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if kind.kind == "f" else {}
    return hnp.arrays(kind, shape, elements=hnp.from_dtype(kind, **elements))


def planar(values: np.ndarray) -> str | None:
    return "contig" if values.ndim == 3 else None


def tiff(path: Path, values: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig=planar(values), **options)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as error:
        arrays.read_all(path)
    line = str(error.value)
    assert "\n" not in line and all(word in line for word in words), line


# ---- round trips ----


@QUICK
@given(st.data())
def test_numpy_files_come_back(tmp_path: Path, data: st.DataObject) -> None:
    dtype, order = data.draw(st.sampled_from(TYPES)), data.draw(st.sampled_from("<>"))
    shape = data.draw(st.sampled_from([(5, 7), (5, 7, 1), (5, 7, 4), (1, 1), (20, 3, 17)]))
    values = data.draw(finite(dtype, shape))
    np.save(tmp_path / "a.npy", values.astype(np.dtype(dtype).newbyteorder(order)))
    found = arrays.read(tmp_path / "a.npy")
    assert found.values.ndim == 3 and found.values.dtype == dtype and found.values.dtype.isnative
    arrays.write(found, tmp_path / "b.npy", force=True)
    back = np.load(tmp_path / "b.npy")
    assert back.dtype == dtype and back.shape == shape
    np.testing.assert_array_equal(back, values)


@QUICK
@given(st.data())
def test_tiff_comes_back(tmp_path: Path, data: st.DataObject) -> None:
    values = data.draw(
        finite(data.draw(st.sampled_from(TYPES)), data.draw(st.sampled_from([(5, 7), (5, 7, 2), (5, 7, 9)])))
    )
    found = arrays.read(tiff(tmp_path / "a.tif", values))
    arrays.write(found, tmp_path / "b.tif", force=True)
    back = tifffile.imread(tmp_path / "b.tif")
    assert back.dtype == values.dtype and back.shape == values.shape
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("imagej", [True, False])
def test_pages_of_a_tiff_are_channels(tmp_path: Path, imagej: bool) -> None:
    pages = np.random.default_rng(0).integers(0, 4000, (3, 6, 5), np.uint16)
    options: dict[str, Any] = {"imagej": True, "metadata": {"axes": "CYX"}} if imagej else {"resolution": (300, 300)}
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", **options)
    assert arrays.is_array(tmp_path / "a.tif")
    found = arrays.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.values, pages.transpose(1, 2, 0))
    arrays.write(found, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.asarray(), pages)
        assert imagej or file.pages.first.resolution == (300, 300)
    arrays.write(found, tmp_path / "b.npy")
    assert np.load(tmp_path / "b.npy").shape == (6, 5, 3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_a_volume_comes_back_slice_by_slice(tmp_path: Path, suffix: str, dtype: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = (np.random.default_rng(0).random((6, 5, 4)) * 100).astype(dtype)
    affine = np.array([[0, 2, 0, 7], [3, 0, 0, -1], [0, 0, 4, 9], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(volume, affine)
    image.header["descrip"] = b"patient 7"
    nibabel.save(image, tmp_path / f"a{suffix}")
    assert arrays.is_array(tmp_path / f"a{suffix}") and arrays.count(tmp_path / f"a{suffix}") == 4
    slices = arrays.read_all(tmp_path / f"a{suffix}")
    assert [array.values.shape for array in slices] == [(5, 6, 1)] * 4
    assert slices[2].values.dtype == dtype
    np.testing.assert_array_equal(slices[2].values[::-1, :, 0].T, volume[:, :, 2])
    np.testing.assert_array_equal(arrays.read(tmp_path / f"a{suffix}", 2).values, slices[2].values)
    arrays.write(slices, tmp_path / f"b{suffix}")
    back = nibabel.load(tmp_path / f"b{suffix}")
    assert back.get_data_dtype() == dtype and back.header["descrip"] == b"patient 7"
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), volume)
    np.testing.assert_array_equal(back.affine, affine)


def test_scaled_volumes_are_read_in_their_units(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(4, 3, 2), np.eye(4))
    image.header.set_slope_inter(1, -1024)
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([1, -1024], "<f4").tobytes()  # NIfTI-1, section 3: scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(raw)
    first = arrays.read(tmp_path / "a.nii", 0)
    assert first.values.dtype == np.float32 and first.values.min() == -1024
    arrays.write(arrays.read_all(tmp_path / "a.nii"), tmp_path / "b.nii")
    np.testing.assert_array_equal(arrays.read(tmp_path / "b.nii", 1).values, arrays.read(tmp_path / "a.nii", 1).values)


def test_slices_are_read_only_since_they_are_shared(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 3, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="read-only"):
        arrays.read(tmp_path / "a.nii", 0).values[:] = 0
    with pytest.raises(InputError, match="2 slices"):
        arrays.read(tmp_path / "a.nii")


def test_a_slice_without_a_volume_and_a_plane(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    arrays.write(Array(np.ones((4, 3, 1), np.float16)), tmp_path / "a.nii.gz")
    assert nibabel.load(tmp_path / "a.nii.gz").shape == (3, 4, 1)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 3), np.int16), np.eye(4)), tmp_path / "b.nii")
    arrays.write(arrays.read(tmp_path / "b.nii"), tmp_path / "c.nii")
    assert nibabel.load(tmp_path / "c.nii").shape == (4, 3)


def test_truth_values_become_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3, dtype=bool))
    found = arrays.read(tmp_path / "a.npy").values
    assert found.dtype == np.uint8 and found.sum() == 3


# ---- which TIFF is a picture ----


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (np.zeros((4, 5), np.uint8), {}, False),
        (np.zeros((4, 5), np.uint16), {}, False),
        (np.zeros((4, 5), np.float32), {}, False),
        (np.zeros((4, 5, 3), np.uint16), {"photometric": "rgb"}, False),
        (np.zeros((4, 5, 4), np.uint8), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, False),
        (np.zeros((4, 5), np.int16), {}, True),
        (np.zeros((4, 5), np.uint32), {}, True),
        (np.zeros((4, 5), np.float64), {}, True),
        (np.zeros((4, 5, 2), np.uint16), {"photometric": "minisblack", "planarconfig": "contig"}, True),
        (np.zeros((4, 5, 6), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, True),
    ],
)
def test_what_images_read_takes_whole_is_no_array(tmp_path: Path, values: Any, options: Any, expected: bool) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    assert arrays.is_array(tmp_path / "a.tif") is expected
    if not expected:
        picture = images.read(tmp_path / "a.tif")
        whole = picture.pixels.shape[2] + (picture.alpha is not None)
        assert picture.pixels.dtype == values.dtype and whole == (values.shape[2] if values.ndim == 3 else 1)


def test_names_decide_for_other_files(tmp_path: Path) -> None:
    assert arrays.is_array("a.NPY") and arrays.is_array("b.nii.gz") and not arrays.is_array("c.png")
    (tmp_path / "a.tif").write_bytes(b"no TIFF")
    assert not arrays.is_array(tmp_path / "a.tif")


# ---- what cannot be read ----


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[None, 1]]), "Python objects"),
        (np.zeros((3, 3), complex), "no real numbers"),
        (np.array([["a"]]), "no real numbers"),
        (np.array(3.0), "0 axes"),
        (np.zeros((2, 2, 2, 2)), "4 axes"),
        (np.zeros((0, 4)), "empty"),
        (np.array([[np.nan, np.inf, 1]]), "2 values that are not finite"),
        (np.zeros((3, 64, 64)), "channels first"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path: Path, values: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    refused(tmp_path / "a.npy", "a.npy", words)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".nii", ".nii.gz"])
@pytest.mark.parametrize("content", [b"", b"hello world" * 10])
def test_files_that_hold_something_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    if "nii" in suffix:
        pytest.importorskip("nibabel")
    (tmp_path / f"a{suffix}").write_bytes(content)
    refused(tmp_path / f"a{suffix}", f"a{suffix}")


@pytest.mark.parametrize("kind", ["npy", "planes", "pages", "nii", "nii.gz"])
def test_no_file_that_was_cut_short_is_read(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(0).random((20, 12, 5))
    path = tmp_path / f"a.{'tif' if kind in ('planes', 'pages') else kind}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "planes":
        tiff(path, values)
    elif kind == "pages":
        tifffile.imwrite(path, values.transpose(2, 0, 1), photometric="minisblack", compression="zlib")
    else:
        pytest.importorskip("nibabel")
        arrays.write([Array(values[:, :, z : z + 1]) for z in range(5)], path)
    whole = path.read_bytes()
    assert arrays.read_all(path)
    for share in range(0, 100, 7):
        path.write_bytes(whole[: len(whole) * share // 100])
        refused(path, path.name)


def test_a_stack_and_a_palette_are_no_picture(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((3, 6, 5), np.uint16), imagej=True, metadata={"axes": "ZYX"})
    refused(tmp_path / "z.tif", "stack", "ZYX")
    tifffile.imwrite(tmp_path / "many.tif", np.zeros((2, 3, 6, 5), np.uint16), photometric="minisblack")
    refused(tmp_path / "many.tif", "stack")


def test_missing_files_folders_and_other_names(tmp_path: Path) -> None:
    refused(tmp_path / "none.npy", "No such file")
    (tmp_path / "folder.npy").mkdir()
    refused(tmp_path / "folder.npy", "a folder")
    refused(tmp_path / "a.png", "no array", ".npy")


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTK_MAX_PIXELS", "100")
    np.save(tmp_path / "a.npy", np.zeros((10, 11)))
    refused(tmp_path / "a.npy", "too many pixels", "GANTK_MAX_PIXELS")
    refused(tiff(tmp_path / "a.tif", np.zeros((10, 11, 2))), "too many pixels")


def test_volumes_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "nibabel":
            raise ImportError(name)
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.nii").write_bytes(b"anything")
    refused(tmp_path / "a.nii", "pip install nibabel")
    with pytest.raises(InputError, match="pip install nibabel"):
        arrays.count(tmp_path / "a.nii")


def test_volumes_over_time_are_refused(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 3, 2, 5), np.float32), np.eye(4)), tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "4 axes", "4×3×2×5")
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 3, 2, 1), np.float32), np.eye(4)), tmp_path / "b.nii")
    assert arrays.count(tmp_path / "b.nii") == 2


# ---- writing ----


def test_nothing_is_overwritten_or_half_written(tmp_path: Path) -> None:
    array = Array(np.ones((3, 4, 1), np.int16))
    arrays.write(array, tmp_path / "new" / "a.npy")
    with pytest.raises(UsageError, match="--force"):
        arrays.write(array, tmp_path / "new" / "a.npy")
    arrays.write(array, tmp_path / "new" / "a.npy", force=True)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.npy"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        arrays.write(array, tmp_path / "file" / "a.npy")
    with pytest.raises(UsageError, match="folder"):
        (tmp_path / "b.npy").mkdir()
        arrays.write(array, tmp_path / "b.npy")


def test_kinds_that_cannot_hold_it(tmp_path: Path) -> None:
    array = Array(np.ones((3, 4, 1), np.int16))
    with pytest.raises(UsageError, match="2 slices"):
        arrays.write([array, array], tmp_path / "a.npy")
    with pytest.raises(UsageError, match="no kind of array"):
        arrays.write(array, tmp_path / "a.png")
    with pytest.raises(UsageError, match="one size and one channel"):
        arrays.write([array, Array(np.ones((3, 5, 1), np.int16))], tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())
