"""Frames as a file that moves: GIF and WebP through Pillow, MP4 through OpenCV. A file appears whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from gantoolkit.errors import InputError, UsageError

ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".mp4": "MP4"}
"""What can be written, by suffix."""

MP4_CODEC = "mp4v"  # MPEG-4 part 2: the one that OpenCV's wheels can encode everywhere


def write_animation(frames: Iterable[np.ndarray], path: Path | str, fps: float) -> Path:
    """Write frames at a steady rate; an existing file is replaced, missing folders are made.

    GIF has 256 colours a frame and counts in 1/100 s, so that 30 frames a second become 33; equal frames in a row
    become one that is shown longer. GIF and WebP start over at their end. MP4 is MPEG-4 part 2, lossy; sides of odd
    length grow by one repeated row or column, since it stores colour for pairs of pixels.

    Args:
        frames: uint8 H,W,3, all of one size; taken one at a time, though WebP keeps all in memory.
        path: `.gif`, `.webp` or `.mp4`.
        fps: frames a second, above 0; at most 100 in a GIF.

    Returns:
        The path.

    Raises:
        UsageError: another suffix, no frame, frames of other types or sizes, a rate that cannot be kept.
        InputError: the path cannot be written, or OpenCV has no encoder for MP4 here.
    """
    path = Path(path)
    kind = kind_of(path)
    fastest = 100 if kind == "GIF" else 1000
    if not 0 < fps <= fastest:
        raise UsageError(f"{kind} cannot keep this rate", expected=f"up to {fastest} frames a second", actual=fps)
    checked = _checked(frames)
    first = next(checked, None)
    if first is None:
        raise UsageError("an animation needs frames", expected="at least one", actual="none")
    everything = chain([first], checked)
    temporary = path.with_name(f".gantk-{secrets.token_hex(8)}{path.suffix.lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if kind == "MP4":
                _write_mp4(everything, temporary, fps)
            else:
                _write_pillow(everything, temporary, kind, fps)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def kind_of(path: Path) -> str:
    """ "GIF", "WEBP" or "MP4", as the suffix says.

    Raises:
        UsageError: another suffix.
    """
    kind = ANIMATED.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"no kind of animation is called {path.suffix or path.name!r}",
            expected=" or ".join(ANIMATED),
            remedy="choose another name",
        )
    return kind


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape = None
    for number, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or shape not in (None, frame.shape):
            raise UsageError(
                f"frame {number} does not fit into the animation",
                expected=f"uint8 of shape {shape or '(H, W, 3)'}",
                actual=f"{frame.dtype} of shape {frame.shape}",
            )
        shape = frame.shape
        yield frame


def _write_pillow(frames: Iterator[np.ndarray], path: Path, kind: str, fps: float) -> None:
    from PIL import Image

    images = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    if kind == "GIF":  # a palette of its own for every frame, by median cut, its errors spread
        images = (image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG) for image in images)
        duration, options = 10 * round(100 / fps), {}
    else:
        duration, options = round(1000 / fps), {"quality": 90}
    next(images).save(path, kind, save_all=True, append_images=images, duration=duration, loop=0, **options)


def _write_mp4(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    import cv2

    writer = None
    try:
        for frame in frames:
            height, width = frame.shape[:2]
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if writer is None:
                code = cv2.VideoWriter.fourcc(*MP4_CODEC)
                writer = cv2.VideoWriter(str(path), code, fps, (even.shape[1], even.shape[0]))
                if not writer.isOpened():
                    raise InputError(
                        f"OpenCV cannot write {path.parent}/*.mp4",
                        expected=f"a folder that can be written and the codec {MP4_CODEC}",
                        remedy="choose a name that ends with .gif",
                    )
            writer.write(np.ascontiguousarray(even[:, :, ::-1]))
    finally:
        if writer is not None:
            writer.release()
