"""The policy `classic`: a recipe of albumentations, applied to a picture and all its targets in step."""

from __future__ import annotations

import math
import random
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gantk_augment import recipes
from gantoolkit.errors import GantkError, InputError
from gantoolkit.samples import Box, Made, Request, Sample, Thing

MIN_VISIBILITY = 0.2  # of a box's area; below, what is left of the object is rarely to be told by anyone
SHORT = 64  # numbers: longer parameters (a map of noise) follow from the seed, and the manifest has no room for them
GIVEN = {"shape", "interpolation", "fill", "fill_mask", "output_shape", "result_shape", "bbox_matrix", "matrix_bbox"}
PROBES = np.stack(np.meshgrid([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]), -1).reshape(-1, 2)  # of width and height
# where albumentations uses cv2.resize, whose INTER_NEAREST moves a mask by up to half a pixel, and not a warp
RESIZING = ("albumentations.augmentations.crops.", "albumentations.augmentations.geometric.resize")
# of the transforms that albumentations applies to targets, too, those that leave everything in its place
STILL = ("albumentations.augmentations.dropout.", "albumentations.augmentations.other.", "albumentations.core.")
# these work on 8 bits inside, whatever they are given: a deeper picture would come back with 256 levels
EIGHT_BITS = frozenset({
    "AutoContrast", "CLAHE", "ChromaticAberration", "Downscale", "Equalize", "HistogramMatching",
    "HueSaturationValue", "ImageCompression", "MedianBlur", "Posterize", "RandomFog", "RandomGravel", "RandomRain",
    "RandomShadow", "RandomSnow", "RandomSunFlare", "RandomToneCurve", "Superpixels", "TextImage",
})  # fmt: skip


class Classic:
    """Changes samples by a recipe.

    Boxes are cut at the picture's edge, and a thing of whose box less than a fifth is left goes with its mask and
    keypoints. Keypoints that leave the picture are not there any more; those of a mirrored picture change places with
    their partners. Transforms of colour leave alpha and masks alone. A 16-bit picture goes through float32 and stays
    16-bit.

    Args:
        settings: {"recipe": a pipeline as `albumentations.to_dict` gives it}; see `recipes.read`.

    Raises:
        InputError: not a recipe.
    """

    name = "classic"
    needs_source = True
    chunk = 1

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._recipe = settings.get("recipe")
        # One pair of streams for all transforms. Compose.set_random_seed would give each of them its own, from the
        # same seed: then two flips of p = 0.5 happen both or not at all, in every sample.
        self._python = random.Random()
        self._numpy = np.random.Generator(np.random.PCG64())
        self._composes: dict[tuple[bool, bool], Any] = {}
        self._compose(False, False)

    @property
    def moves(self) -> bool:
        """Whether what is seen may be elsewhere in a new picture than in the one that it is made from."""
        from albumentations import DualTransform

        leaves = self._compose(False, False)[1]
        return any(isinstance(leaf, DualTransform) and not type(leaf).__module__.startswith(STILL) for leaf in leaves)

    def make(self, requests: Sequence[Request]) -> list[Made | GantkError]:
        """A new sample for each request, or why there is none."""
        return [self._make(request) for request in requests]

    def _make(self, request: Request) -> Made | GantkError:
        if request.source is None:
            return InputError("the policy classic changes samples", actual="a request without one")
        try:
            sample, applied = self._apply(request.source, request.seed, remember=True)
        except GantkError as error:
            return error
        return Made(sample, {"transforms": [{"name": name, **_condensed(values)} for name, values in applied]})

    def transform(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """A picture changed by the recipe, for a classifier's training: resized where the recipe changes the size.

        Args:
            picture: uint8 (H, W, C), C 1, 3 or 4.
            seed: 0 to 2^63 - 1.

        Raises:
            InputError: the recipe cannot be applied to it.
        """
        changed = self._apply(Sample(picture), seed, remember=False)[0].picture
        if changed.shape != picture.shape:
            import cv2

            size = (picture.shape[1], picture.shape[0])
            changed = cv2.resize(changed, size, interpolation=cv2.INTER_AREA).reshape(picture.shape)
        return changed

    def _compose(self, located: bool, deep: bool) -> tuple[Any, list[Any]]:
        """The recipe and its transforms, built once in a process: for samples with things (located) or without, of 16
        bits (deep) or 8."""
        if (located, deep) in self._composes:
            return self._composes[located, deep]
        pipeline = recipes.build(self._recipe)
        import albumentations as A
        import cv2

        boxes = A.BboxParams("pascal_voc", min_visibility=MIN_VISIBILITY, clip=True, filter_invalid_bboxes=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a recipe that only changes colours, albumentations says so
            compose = A.Compose(
                pipeline.transforms if isinstance(pipeline, A.Compose) else [pipeline],
                p=pipeline.p if isinstance(pipeline, A.Compose) else 1.0,
                bbox_params=boxes if located else None,
                keypoint_params=A.KeypointParams("xy", remove_invisible=False) if located else None,
                additional_targets={"alpha": "mask"},
                is_check_shapes=False,  # a sample's parts have one size: whoever read it saw to that
                mask_interpolation=cv2.INTER_NEAREST,  # between two class ids lies a third class
            )
        compose.set_random_state(self._numpy, self._python)
        leaves = list(_leaves(compose))
        for leaf in leaves:
            # a mirrored border shows objects a second time, which no box would name
            if located and getattr(leaf, "border_mode", cv2.BORDER_CONSTANT) != cv2.BORDER_CONSTANT:
                leaf.border_mode = cv2.BORDER_CONSTANT
            if hasattr(leaf, "mask_interpolation") and type(leaf).__module__.startswith(RESIZING):
                leaf.mask_interpolation = cv2.INTER_NEAREST_EXACT
            if deep and type(leaf).__name__ in EIGHT_BITS:
                raise InputError(
                    f"the transform {type(leaf).__name__} works on 8 bits", actual="a 16-bit picture",
                    remedy="leave it out of the recipe",
                )  # fmt: skip
            # a recipe says white as 255; deep pictures are floats up to 1
            if deep and isinstance(fill := getattr(leaf, "fill", None), int | float | list | tuple):
                leaf.fill = fill / 255 if isinstance(fill, int | float) else [value / 255 for value in fill]
        self._composes[located, deep] = compose, leaves
        return compose, leaves

    def _seed(self, seed: int) -> None:
        """Start both streams; PCG64's state comes from Python's stream, five times as fast as a new generator."""
        self._python.seed(seed)
        bits = self._python.getrandbits
        self._numpy.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": bits(128), "inc": bits(128) | 1},
            "has_uint32": 0,
            "uinteger": 0,
        }

    def _apply(self, sample: Sample, seed: int, *, remember: bool) -> tuple[Sample, list[tuple[str, dict[str, Any]]]]:
        picture = sample.picture
        deep = picture.dtype == np.uint16
        compose, leaves = self._compose(bool(sample.things), deep)
        channels = picture.shape[2]
        image = picture[:, :, :3] if channels == 4 else picture
        data: dict[str, Any] = {"image": image.astype(np.float32) / np.float32(65535) if deep else image}
        if channels == 4:
            data["alpha"] = picture[:, :, 3]
        if sample.mask is not None:
            data["mask"] = sample.mask
        if sample.things:
            data.update(_targets(sample.things, picture.shape[:2]))
        self._seed(seed)
        for leaf in leaves:
            leaf.params = {}  # of the sample before
        try:
            done = compose(**data)
        except Exception as error:
            name = _culprit(error)
            if name is None:
                raise
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"the transform {name} failed on a picture of shape {picture.shape}, {picture.dtype}: {reason}"
            ) from error
        made = Sample(
            _whole(done, picture, "alpha" in data),
            sample.label,
            done.get("mask"),
            _things(sample.things, done) if sample.things else (),
        )
        # what `save_applied_params` would list, for a twentieth of a sample's time less
        return made, [(type(leaf).__name__, leaf.params) for leaf in leaves if leaf.params] if remember else []


def _whole(done: Mapping[str, Any], source: np.ndarray, alpha: bool) -> np.ndarray:
    """The picture of a result, in the depth and channels of its source."""
    image = done["image"]
    if image.ndim == 2:
        image = image[:, :, None]
    if source.dtype == np.uint16 and image.dtype == np.float32:
        image = np.rint(np.clip(image, 0, 1) * np.float32(65535)).astype(np.uint16)
    if alpha:
        image = np.concatenate([image, done["alpha"].reshape(*image.shape[:2], 1)], axis=2)
    if image.dtype != source.dtype or image.shape[2] != source.shape[2]:
        raise InputError(
            "the recipe makes another kind of picture", expected=f"{source.dtype}, {source.shape[2]} channels",
            actual=f"{image.dtype}, {image.shape[2]} channels", remedy="leave out what prepares pictures for a network",
        )  # fmt: skip
    return image


def _targets(things: Sequence[Thing], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Boxes, masks and keypoints as albumentations takes them; the last column says whose they are.

    Where a mirrored picture would have other keypoints, nine points of the picture (H, W) go along, numbered from -1
    down: they tell what was done to it, by whatever transforms.
    """
    data = {}
    boxes = [(*thing.box, i) for i, thing in enumerate(things) if thing.box is not None]
    if boxes:
        data["bboxes"] = np.array(boxes, np.float64)
    masks = [thing.mask.view(np.uint8) for thing in things if thing.mask is not None]
    if masks:
        data["masks"] = np.stack(masks)
    points = [thing.keypoints for thing in things if thing.keypoints is not None and len(thing.keypoints)]
    if points:
        rows = np.concatenate(points)
        there = np.flatnonzero(rows[:, 2] > 0)
        if len(there):
            data["keypoints"] = np.column_stack([rows[there, :2], there]).astype(np.float64)
            if any(thing.partners for thing in things):
                probes = np.column_stack([PROBES * size[::-1], -1 - np.arange(len(PROBES))])
                data["keypoints"] = np.concatenate([data["keypoints"], probes])
    return data


def _is_mirrored(points: Mapping[int, np.ndarray]) -> bool:
    """Whether the probes among the keypoints (x, y by number) are mirrored: the map that fits them best turns over."""
    there = [number for number in points if number < 0]
    if len(there) < 3:  # most were in holes that were cut out
        return False
    before = np.column_stack([PROBES[[-1 - number for number in there]], np.ones(len(there))])
    after = np.array([points[number] for number in there])
    return bool(np.linalg.det(np.linalg.lstsq(before, after, rcond=None)[0][:2]) < -1e-6)


def _things(things: Sequence[Thing], done: Mapping[str, Any]) -> tuple[Thing, ...]:
    """The things of a result: those whose box, mask or keypoints are still in the picture."""
    height, width = done["image"].shape[:2]
    # the first of a number is the thing itself
    boxes = {int(row[4]): tuple(round(float(v), 3) for v in row[:4]) for row in reversed(done.get("bboxes", ()))}
    points = {int(row[2]): row[:2] for row in reversed(done.get("keypoints", ()))}
    mirrored = _is_mirrored(points)
    masks = iter(done.get("masks", ()))
    kept, first = [], 0
    for i, thing in enumerate(things):
        box = boxes.get(i)
        mask = None if thing.mask is None else next(masks) != 0
        keypoints = None
        if thing.keypoints is not None:
            keypoints = np.zeros_like(thing.keypoints)
            for k, (_, _, seen) in enumerate(thing.keypoints):
                x, y = points.get(first + k, (-1.0, -1.0))
                if 0 <= x < width and 0 <= y < height:
                    keypoints[thing.partners[k] if mirrored and thing.partners else k] = x, y, seen
            first += len(thing.keypoints)
        if thing.box is not None and box is None:
            continue
        if mask is not None and not mask.any():
            if box is None or thing.mask.any():  # type: ignore[union-attr]
                continue
            mask = None  # it never had a pixel, a thin one that no pixel's centre is in: the box says where it is
        if box is None and mask is None and (keypoints is None or not keypoints[:, 2].any()):
            continue
        if box is not None and mask is not None:
            box = _snug(box, mask, thing)
        kept.append(Thing(thing.category, box, mask, keypoints, thing.extra, thing.partners))  # type: ignore[arg-type]
    return tuple(kept)


def _snug(box: Sequence[float], mask: np.ndarray, source: Thing) -> Box:
    """A moved box with no more air round the thing's mask than the source's box had.

    The upright box round a turned box is wider than the thing in it; the mask knows better.
    """
    before = _extent(source.mask)  # type: ignore[arg-type]
    if before is None or source.box is None:
        return tuple(box)  # type: ignore[return-value]
    air = max(abs(a - b) for a, b in zip(source.box, before, strict=True))
    left, top, right, bottom = _extent(mask)  # type: ignore[misc]
    return (
        max(box[0], left - air), max(box[1], top - air), min(box[2], right + air), min(box[3], bottom + air),
    )  # fmt: skip


def _extent(mask: np.ndarray) -> Box | None:
    """The tight box of a mask; None where it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _leaves(pipeline: Any) -> Iterator[Any]:
    """The transforms of a composition, through all its levels."""
    from albumentations.core.composition import BaseCompose

    for child in pipeline.transforms:
        if isinstance(child, BaseCompose):
            yield from _leaves(child)
        else:
            yield child


def _culprit(error: BaseException) -> str | None:
    """The transform in which an error arose, if it did in one or in albumentations' checks of the data."""
    from albumentations.core.composition import BaseCompose
    from albumentations.core.transforms_interface import BasicTransform

    name = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, BasicTransform | BaseCompose):
            name = type(owner).__name__
    return name


def _condensed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A transform's parameters in JSON's own types, without what follows from the recipe and the picture."""
    return {key: _plain(value) for key, value in values.items() if key not in GIVEN}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind in (str, int, bool) or value is None:
        return value
    if kind is np.ndarray:
        if value.size > SHORT:
            return {"shape": list(value.shape)}
        finite = value.dtype.kind in "biu" or (value.dtype.kind == "f" and np.isfinite(value).all())
        return value.tolist() if finite else _plain(value.tolist())
    if kind is tuple or kind is list:
        return [_plain(item) for item in value] if len(value) <= SHORT else {"shape": [len(value)]}
    return {str(key): _plain(item) for key, item in value.items()} if kind is dict else kind.__name__


__all__ = ["Classic"]
