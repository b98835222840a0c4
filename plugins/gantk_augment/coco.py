"""COCO's annotation files: what they say of each picture, what is wrong with it, and objects from it and back.

Format: cocodataset.org/#format-data. A box is x, y, width, height there; `samples.Box` is left, top, right, bottom.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gantk_augment import rle
from gantoolkit.errors import InputError
from gantoolkit.samples import Thing

# What a `Thing` has places for, and what is counted anew; all else of an annotation is its `extra`.
OWN = ("id", "image_id", "category_id", "bbox", "segmentation", "keypoints", "num_keypoints", "area")
ROUNDING = 1.0  # pixels: a box that sticks out by less is cut without a word
STARTS = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')  # what a file that ends too early may have been
DIGITS = 3  # of coordinates that are written
# in the name of a keypoint: left_eye, RIGHT KNEE, l_hip, hip-r, LEar, earL
SIDE = re.compile(r"(?i:left|right)|(?<![A-Za-z])[LlRr](?![a-z])|(?<=[a-z])[LR](?![A-Za-z])")
OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


@dataclass
class Document:
    """An annotation file.

    Attributes:
        head: all of it but pictures and annotations.
        categories: name of each number.
        partners: of the keypoints of each category whose names tell left from right, as `Thing` has them.
        images: what it says of each picture, by its name in the file; checked by `tidy` before it is used.
        annotations: of each picture, by the same name.
        problems: in words, by kind: what is left out of the above.
    """

    head: dict[str, Any]
    categories: dict[int, str] = field(default_factory=dict)
    partners: dict[int, tuple[int, ...]] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    annotations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, kind: str, text: str) -> None:
        self.problems.setdefault(kind, []).append(text)


def is_document(content: Any) -> bool:
    """Whether a JSON value looks like COCO's annotations of pictures."""
    keys = ("images", "annotations", "categories")
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys)


def parse(text: str) -> Document | None:
    """The annotations in a JSON file; None where it holds something else.

    Raises:
        InputError: it is not JSON.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file is not JSON: {error}", remedy="it may be cut short") from error
    if not is_document(content):
        return None
    document = Document({key: value for key, value in content.items() if key not in ("images", "annotations")})
    for category in content["categories"]:
        if not isinstance(category, dict) or type(category.get("id")) is not int or not category.get("name"):
            document.refuse("categories", f"a category is malformed: {_shown(category)}")
        elif category["id"] in document.categories:
            document.refuse("categories", f"two categories have the number {category['id']}; the first one counts")
        else:
            document.categories[category["id"]] = str(category["name"])
            if found := partners(category.get("keypoints")):
                document.partners[category["id"]] = found
    names = _images(document, content["images"])
    for annotation in content["annotations"]:
        if not isinstance(annotation, dict) or type(annotation.get("image_id")) not in (int, str):
            document.refuse("annotations", f"an annotation is malformed: {_shown(annotation)}")
        elif annotation["image_id"] not in names:
            picture = annotation["image_id"]
            document.refuse("annotations", f"{_called(annotation)} is of picture {picture}, which is not listed")
        elif name := names[annotation["image_id"]]:
            document.annotations[name].append(annotation)
    return document


def partners(names: Any) -> tuple[int, ...]:
    """Of each keypoint the one whose name says the other side, else itself; () where no name has another side."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    places = {name.casefold(): place for place, name in enumerate(names)}
    mirrored = [SIDE.sub(lambda side: OTHER[side[0].lower()], name).casefold() for name in names]
    found = tuple(places.get(name, place) for place, name in enumerate(mirrored))
    paired = all(found[other] == place for place, other in enumerate(found))  # not where two have one name
    return found if paired and found != tuple(range(len(names))) else ()


def _images(document: Document, images: Sequence[Any]) -> dict[int | str, str]:
    """The name of each picture by its number, "" for those that are left out."""
    names: dict[int | str, str] = {}
    for image in images:
        good = isinstance(image, dict) and type(image.get("id")) in (int, str)
        if not good or not isinstance(image.get("file_name"), str) or not image["file_name"]:
            document.refuse("pictures", f"a picture is malformed: {_shown(image)}")
        elif image["id"] in names:
            document.refuse("pictures", f"{image['file_name']} has the number {image['id']} of another picture")
        elif image["file_name"] in document.images:
            document.refuse("pictures", f"{image['file_name']} is listed twice; the first one counts")
            names[image["id"]] = ""
        else:
            names[image["id"]] = image["file_name"]
            document.images[image["file_name"]] = image
            document.annotations[image["file_name"]] = []
    return names


def tidy(
    annotation: Mapping[str, Any], categories: Mapping[int, str], size: tuple[int, int] | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """(what can be used of an annotation, None for nothing; what is wrong with it, in words).

    Args:
        annotation: as it is in the file.
        categories: that there are.
        size: (H, W) of the picture; None where it is not known.
    """
    called, kept, problems = _called(annotation), dict(annotation), []
    if type(kept.get("category_id")) is not int or kept["category_id"] not in categories:
        return None, [f"{called} is of the unknown category {_shown(kept.get('category_id'))}"]
    if (box := kept.get("bbox")) is not None:
        cut, problem = _tidy_box(box, size)
        if problem:
            problems.append(f"the box of {called} {problem}")
        if cut is None:
            return None, problems
        kept["bbox"] = cut
    if (points := kept.get("keypoints")) is not None:
        good = isinstance(points, list) and len(points) % 3 == 0 and all(_is_number(value) for value in points)
        if not good:
            problems.append(f"the keypoints of {called} are malformed, so they are left out")
        if not good or not points:
            del kept["keypoints"]
    if kept.get("segmentation") in (None, []):
        kept.pop("segmentation", None)
    else:
        try:
            rle.check(kept["segmentation"], size)
        except InputError as error:
            problems.append(f"the mask of {called} is left out: {error}")
            del kept["segmentation"]
    if not {"bbox", "keypoints", "segmentation"} & kept.keys():
        return None, [*problems, f"{called} has no usable box, mask or keypoints"]
    return kept, problems


def _tidy_box(box: Any, size: tuple[int, int] | None) -> tuple[list[float] | None, str]:
    """(the part of x, y, width, height that is inside the picture, what was wrong with it)."""
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return None, f"is malformed: {_shown(box)}"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return None, f"has a size of {width} x {height}"
    if size is None:
        return box, ""
    left, top, right, bottom = max(0, x), max(0, y), min(size[1], x + width), min(size[0], y + height)
    if right <= left or bottom <= top:
        return None, f"lies outside the picture: {_shown(box)} in {size[1]} x {size[0]}"
    if (left, top, right, bottom) == (x, y, x + width, y + height):
        return box, ""
    far = max(left - x, top - y, x + width - right, y + height - bottom) >= ROUNDING
    cut = [_rounded(value) for value in (left, top, right - left, bottom - top)]
    return cut, f"sticks out of the picture and is cut: {_shown(box)} in {size[1]} x {size[0]}" if far else ""


def size_of(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H, W) of a picture as the file says it, or None."""
    height, width = image.get("height"), image.get("width")
    if type(height) is int and type(width) is int and 0 < height < rle.FARTHEST and 0 < width < rle.FARTHEST:
        return height, width
    return None


def to_thing(
    annotation: Mapping[str, Any], height: int, width: int, partners: Mapping[int, tuple[int, ...]] | None = None
) -> Thing:
    """The object of a tidy annotation, in a picture of that size; `partners` are a document's.

    Raises:
        InputError: its mask is malformed.
    """
    box, mask, points = annotation.get("bbox"), annotation.get("segmentation"), annotation.get("keypoints")
    keypoints = None if points is None else np.array(points, np.float32).reshape(-1, 3)
    pairs = (partners or {}).get(annotation["category_id"], ())
    return Thing(
        annotation["category_id"],
        None if box is None else (box[0], box[1], box[0] + box[2], box[1] + box[3]),
        None if mask is None else rle.to_mask(mask, height, width),
        keypoints,
        {key: value for key, value in annotation.items() if key not in OWN},
        pairs if keypoints is not None and len(keypoints) == len(pairs) else (),
    )


def from_thing(thing: Thing, height: int, width: int) -> dict[str, Any] | None:
    """An annotation without numbers of its own and of its picture; None where nothing of the object is left.

    The box is cut at the picture's edges, the mask becomes run lengths, the area is counted anew: of the mask where
    there is one, else of the box. Keypoints outside the picture are not there any more.
    """
    row: dict[str, Any] = {"category_id": thing.category, **thing.extra}
    box = thing.box
    if thing.mask is not None:
        if not thing.mask.any():
            return None
        rows, columns = np.flatnonzero(thing.mask.any(1)), np.flatnonzero(thing.mask.any(0))
        box = box or (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        row["segmentation"] = rle.from_mask(thing.mask)
        row["area"] = int(thing.mask.sum())
    if box is not None:
        left, top, right, bottom = max(0.0, box[0]), max(0.0, box[1]), min(width, box[2]), min(height, box[3])
        if right <= left or bottom <= top:
            return None
        row["bbox"] = [_rounded(value) for value in (left, top, right - left, bottom - top)]
        row.setdefault("area", _rounded((right - left) * (bottom - top)))
    if thing.keypoints is not None:
        there = [x >= 0 and y >= 0 and x <= width and y <= height and v > 0 for x, y, v in thing.keypoints.tolist()]
        points = np.where(np.array(there, bool)[:, None], thing.keypoints, 0)
        row["keypoints"] = [_rounded(float(value)) for value in points.reshape(-1)]
        row["num_keypoints"] = sum(there)
    return row if box is not None or row.get("num_keypoints") else None


def write(head: Mapping[str, Any], rows: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]) -> bytes:
    """An annotation file from (what it says of a picture, its annotations) in order, numbered anew from 1."""
    images = [{**image, "id": number} for number, (image, _) in enumerate(rows, 1)]
    things = [(number, thing) for number, (_, all_of_one) in enumerate(rows, 1) for thing in all_of_one]
    annotations = [{**thing, "id": index, "image_id": number} for index, (number, thing) in enumerate(things, 1)]
    document = {**head, "images": images, "annotations": annotations}
    return json.dumps(document, ensure_ascii=True, sort_keys=True).encode()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= rle.FARTHEST  # of NaN this is not true either


def _rounded(value: float) -> float | int:
    """A coordinate without the noise of float32; whole numbers stay short."""
    value = round(value, DIGITS)
    return int(value) if value == int(value) else value


def _called(annotation: Mapping[str, Any]) -> str:
    return f"annotation {_shown(annotation.get('id', '?'))}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
