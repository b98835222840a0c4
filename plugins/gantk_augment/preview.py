"""A sheet to look at before anything is made: samples, and what a policy makes of them, with their targets drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from gantoolkit.errors import GantkError, InputError
from gantoolkit.samples import Policy, Request, Sample, Thing

SMALL, LARGE = 112, 256  # pixels of a picture's longer side on the sheet
COLOURS = ((230, 60, 60), (40, 160, 240), (250, 190, 30), (60, 190, 90), (190, 90, 220), (250, 120, 40))


class Source(Protocol):
    """What the sheet needs of a data set: `gantk_augment.source.open_source` gives one."""

    @property
    def names(self) -> Sequence[str]: ...

    def sample(self, i: int) -> Sample: ...

    def label(self, i: int) -> str | None: ...


def sheet(source: Source, policies: Sequence[Policy], seed: int, count: int = 6, new: int = 5) -> np.ndarray:
    """Rows of a sample of the data and new ones that each policy makes of it, or of its class.

    Args:
        source: the data; samples are taken from all over it, and damaged ones are passed over.
        policies: make the new samples, each equally many.
        seed: the same seed gives the same sheet.
        count: rows.
        new: new samples in a row; of several policies, as many more as makes them equal.

    Returns:
        uint8 (H, W, 3). Boxes are outlined, masks tinted, keypoints dotted, hidden ones as rings.

    Raises:
        InputError: no sample of the data can be used, or a policy cannot make one.
    """
    from gantoolkit.images import contact_sheet

    rng = np.random.default_rng(seed)
    each = -(-new // len(policies))
    tiles, captions = [], []
    for i, sample in _samples(source, count):
        label = source.label(i)
        tiles.append(overlay(sample))
        captions.append(label or source.names[i].rpartition("/")[2])
        for policy in policies:
            seeds = [int(value) for value in rng.integers(0, 2**63, each)]
            for result in policy.make([Request(s, sample if policy.needs_source else None, label) for s in seeds]):
                if isinstance(result, GantkError):
                    raise result
                tiles.append(overlay(result.sample))
                captions.append("new" if len(policies) == 1 else policy.name)
    # contact_sheet sets captions at a sixteenth of a cell's width, never below 11 pixels
    room = max(6, int(max(tile.shape[1] for tile in tiles) / 7))
    return contact_sheet(
        tiles, len(policies) * each + 1, [text if len(text) <= room else text[: room - 1] + "…" for text in captions]
    )


def _samples(source: Source, count: int) -> list[tuple[int, Sample]]:
    """Up to `count` samples, spread evenly over the data; in place of a damaged one comes the next."""
    total = len(source.names)
    found: list[tuple[int, Sample]] = []
    problem: InputError | None = None
    for indices in np.array_split(np.arange(total), max(1, min(count, total))):
        for i in indices.tolist():
            try:
                found.append((i, source.sample(i)))
                break
            except InputError as error:
                problem = error
    if not found:
        raise problem or InputError("there is no picture to show")
    return found


def overlay(sample: Sample) -> np.ndarray:
    """A sample's picture with its targets drawn in, at a size to look at: uint8 (H, W, 3)."""
    import cv2

    from gantoolkit.images import eight_bits

    picture = eight_bits(sample.picture)
    height, width = picture.shape[:2]
    longer = max(height, width)
    scale = LARGE / longer if longer > LARGE else max(1, SMALL // longer)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    canvas = _rgb(grown.reshape(size[1], size[0], picture.shape[2]))
    if sample.mask is not None:
        canvas = _tinted(canvas, _colours(eight_bits(sample.mask) if sample.mask.ndim == 3 else sample.mask))
    for i, thing in enumerate(sample.things):
        _draw(canvas, thing, COLOURS[i % len(COLOURS)], (size[0] / width, size[1] / height))
    return canvas


def _draw(canvas: np.ndarray, thing: Thing, colour: tuple[int, int, int], scale: tuple[float, float]) -> None:
    import cv2

    if thing.mask is not None:
        where = cv2.resize(thing.mask.astype(np.uint8), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST) != 0
        canvas[where] = (0.6 * canvas[where] + 0.4 * np.array(colour)).astype(np.uint8)
    if thing.box is not None:
        left, top, right, bottom = (round(v * s) for v, s in zip(thing.box, (*scale, *scale), strict=True))
        for ink, width in (((0, 0, 0), 3), (colour, 1)):  # seen on a ground of its own colour too
            cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), ink, width)
    for x, y, seen in thing.keypoints if thing.keypoints is not None else ():
        if seen:
            # a keypoint names a pixel: its middle is half a pixel further
            spot = (int((x + 0.5) * scale[0]), int((y + 0.5) * scale[1]))
            cv2.circle(canvas, spot, 3, (255, 255, 255), -1 if seen == 2 else 1)
            cv2.circle(canvas, spot, 2, colour, -1 if seen == 2 else 1)


def _rgb(picture: np.ndarray) -> np.ndarray:
    """Grey as three channels; transparent parts over a light grey."""
    if picture.shape[2] == 4:
        alpha = picture[:, :, 3:].astype(np.float32) / 255
        return np.rint(picture[:, :, :3] * alpha + 224 * (1 - alpha)).astype(np.uint8)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture.copy()


def _colours(mask: np.ndarray) -> np.ndarray:
    """A mask as a picture: class ids get a colour each, 0 stays black; colours stay."""
    if mask.ndim == 3:
        return mask
    table = np.array([(0, 0, 0), *COLOURS], np.uint8)
    return table[np.where(mask == 0, 0, (mask.astype(int) - 1) % len(COLOURS) + 1)]


def _tinted(canvas: np.ndarray, mask: Any) -> np.ndarray:
    import cv2

    mask = cv2.resize(mask, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    marked = mask.any(axis=2, keepdims=True)
    return np.where(marked, (0.6 * canvas + 0.4 * mask).astype(np.uint8), canvas)


__all__ = ["overlay", "sheet"]
