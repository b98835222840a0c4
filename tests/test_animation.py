"""Animations: written, read back, compared; whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gantoolkit.animation import write_animation
from gantoolkit.errors import InputError, UsageError
from tests.tolerances import TOL

KINDS = ["gif", "webp", "mp4"]


def frames(count: int = 6, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Soft colours that move."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        [128 + 100 * np.sin(x / 20 + i / 3), 128 + 100 * np.cos(y / 15), 128 + 60 * np.sin((x + y) / 30 + i / 4)]
        for i in range(count)
    ]
    return [np.stack(wave, 2).astype(np.uint8) for wave in waves]


def read_back(path: Path) -> tuple[list[np.ndarray], float]:
    """The frames and their rate in frames a second."""
    if path.suffix == ".mp4":
        import cv2

        video, found = cv2.VideoCapture(str(path)), []
        while True:
            more, frame = video.read()
            if not more:
                return found, video.get(cv2.CAP_PROP_FPS)
            found.append(frame[:, :, ::-1])
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        found = [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
        assert len(found) == 1 or image.info["loop"] == 0
        return found, 1000 / image.info["duration"] if len(found) > 1 else 0


@pytest.mark.parametrize("kind", KINDS)
def test_frames_come_back(kind: str, tmp_path: Path) -> None:
    made = frames()
    path = write_animation(iter(made), tmp_path / "new" / f"film.{kind}", fps=10)
    found, fps = read_back(path)
    assert len(found) == len(made)
    assert fps == pytest.approx(10)
    for frame, other in zip(found, made, strict=True):
        assert frame.shape == other.shape
        assert np.abs(frame.astype(int) - other).mean() <= TOL["animation, mean of 0..255"]
    assert not np.array_equal(found[0], found[-1])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_sheets_with_few_colours_keep_them_in_a_gif(tmp_path: Path) -> None:
    made = [np.full((8, 8, 3), 255, np.uint8) for _ in range(3)]
    for i, frame in enumerate(made):
        frame[i : i + 4] = (30 * i, 200, 10)
    found, _ = read_back(write_animation(made, tmp_path / "sheet.gif", 5))
    assert np.array_equal(found, made)


def test_odd_sides_grow_by_one_in_an_mp4(tmp_path: Path) -> None:
    found, _ = read_back(write_animation(frames(height=33, width=47), tmp_path / "odd.mp4", 10))
    assert {frame.shape for frame in found} == {(34, 48, 3)}


@pytest.mark.parametrize("kind", KINDS)
def test_one_frame_is_enough_and_none_is_too_few(kind: str, tmp_path: Path) -> None:
    assert len(read_back(write_animation(frames(1), tmp_path / f"one.{kind}", 10))[0]) == 1
    with pytest.raises(UsageError, match="at least one"):
        write_animation([], tmp_path / f"none.{kind}", 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_leaves_the_old_file_and_nothing_else(kind: str, tmp_path: Path) -> None:
    def broken():
        yield from frames(2)
        yield np.zeros((9, 9, 3), np.uint8)

    path = tmp_path / f"film.{kind}"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="frame 2 does not fit"):
        write_animation(broken(), path, 10)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    write_animation(frames(2), path, 10)
    assert path.read_bytes() != b"old"


@pytest.mark.parametrize(
    ("frame", "name", "fps", "text"),
    [
        (np.zeros((8, 8, 3), np.uint8), "film.avi", 10, r"expected \.gif or \.webp or \.mp4"),
        (np.zeros((8, 8, 3), np.uint8), "film", 10, "'film'"),
        (np.zeros((8, 8, 3), np.uint8), "film.gif", 0, "rate"),
        (np.zeros((8, 8, 3), np.uint8), "film.gif", 101, "up to 100"),
        (np.zeros((8, 8, 1), np.uint8), "film.gif", 10, r"\(8, 8, 1\)"),
        (np.zeros((8, 8, 3), np.float32), "film.mp4", 10, "float32"),
    ],
)
def test_misuse_is_one_line(frame: np.ndarray, name: str, fps: float, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        write_animation([frame], tmp_path / name, fps)
    assert not list(tmp_path.iterdir())


def test_without_an_encoder_the_remedy_is_gif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantoolkit.animation.MP4_CODEC", "none")
    with pytest.raises(InputError, match=r"\.gif"):
        write_animation(frames(2), tmp_path / "film.mp4", 10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_is_a_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_animation(frames(1), tmp_path / "file" / f"film.{kind}", 10)
