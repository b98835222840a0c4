"""Where a grown data set goes: files and tables in the layout that the data came in, the same bytes every time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from gantk_augment import coco, codec
from gantk_augment.shards import pack_webdataset, pack_zip
from gantoolkit.samples import Sample

__all__ = ["Sink", "pack_webdataset", "pack_zip"]


@dataclass(frozen=True)
class Sink:
    """Writes samples in one layout. Picklable.

    Attributes:
        kind: "folder", "csv", "coco" or "pairs", as of a `Source`.
        classes: the classes there are.
        place: the folder for new pictures, with its `/`; below it COCO's names of pictures begin.
        table: name of the table over all samples; "" where the layout has none.
        columns: of that table, for CSV; `file` and `label` are those of the picture's name and of its class.
        head: of that table, for COCO: all but its pictures and annotations.
    """

    kind: str
    classes: tuple[str, ...] = ()
    place: str = ""
    table: str = ""
    columns: tuple[str, ...] = ("file", "label")
    file: str = "file"
    label: str = "label"
    head: Mapping[str, Any] = field(default_factory=dict)

    def files(
        self, stem: str, label: str | None, sample: Sample, suffix: str, palette: bytes | None = None
    ) -> dict[str, bytes]:
        """The files of a new sample, name → content; the first one is the picture, a pair's second one its mask.

        Args:
            stem: of the names, without a folder.
            label: its class.
            sample: what to write.
            suffix: ".jpg" gives JPEG where the picture can be one (8 bits, no alpha), all others PNG.
            palette: `Source.palette` of the sample that it was made from.
        """
        content, suffix = codec.encode(sample.picture, suffix)
        folder = f"{label}/" if self.kind == "folder" and label is not None else self.place
        files = {f"{folder}{stem}{suffix}": content}
        if self.kind == "pairs" and sample.mask is not None:
            files[f"masks/{stem}.png"] = codec.encode_mask(sample.mask, palette)
        return files

    def row(
        self, name: str, label: str | None, sample: Sample, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What `finish` has to know of a new sample, in JSON's own types: a line of the manifest may hold it.

        Args:
            name: of its picture.
            label: its class.
            sample: whose objects are written.
            like: `Source.row` of the sample that it was made from: what else was known of that stays with it.
        """
        row: dict[str, Any] = {"file": name, "label": label}
        like = like or {}
        if self.kind == "csv":
            row["columns"] = {**like.get("columns", {}), self.file: name, self.label: label}
        elif self.kind == "pairs":
            row["mask"] = f"masks/{PurePosixPath(name).stem}.png"
        elif self.kind == "coco":
            height, width = sample.picture.shape[:2]
            told = {"file_name": name.removeprefix(self.place), "height": height, "width": width}
            row["image"] = {**like.get("image", {}), **told}
            things = (coco.from_thing(thing, height, width) for thing in sample.things)
            row["annotations"] = [thing for thing in things if thing is not None]
        return row

    def finish(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
        """The table over all samples, name → content, from what `row` and `Source.row` say of each, in order.

        Numbers of COCO's pictures and annotations follow that order, from 1. {} for layouts without a table.
        """
        if self.kind == "coco":
            return {self.table: coco.write(self.head, [(row["image"], row["annotations"]) for row in rows])}
        if self.kind == "csv":
            text = io.StringIO()
            writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(row["columns"] for row in rows)
            return {self.table: text.getvalue().encode()}
        return {}
