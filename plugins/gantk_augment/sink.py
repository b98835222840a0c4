"""Where a grown data set goes: files and tables in the layout that the data came in, the same bytes every time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gantk_augment import codec
from gantoolkit.samples import Sample


@dataclass(frozen=True)
class Sink:
    """Writes samples in one layout. Picklable.

    Attributes:
        kind: "folder", "csv", "coco" or "pairs", as of a `Source`.
        classes: the classes there are.
        place: the folder for new pictures, with its `/`.
        palette: the colours of masks of ids, RGB.
    """

    kind: str
    classes: tuple[str, ...] = ()
    place: str = ""
    palette: bytes | None = None

    def files(self, stem: str, label: str | None, sample: Sample, suffix: str) -> dict[str, bytes]:
        """The files of a new sample, name → content; the first one is the picture.

        Args:
            stem: of the names, without a folder.
            label: its class.
            sample: what to write.
            suffix: ".jpg" gives JPEG where the picture can be one (8 bits, no alpha), all others PNG.
        """
        content, suffix = codec.encode(sample.picture, suffix)
        if self.kind == "pairs":
            files = {f"images/{stem}{suffix}": content}
            if sample.mask is not None:
                files[f"masks/{stem}.png"] = codec.encode_mask(sample.mask, self.palette)
            return files
        folder = f"{label}/" if self.kind == "folder" and label is not None else self.place
        return {f"{folder}{stem}{suffix}": content}

    def row(
        self, name: str, label: str | None, sample: Sample | None = None, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What `finish` has to know of a sample, in JSON's own types: a line of the manifest may hold it.

        Args:
            name: of its picture.
            label: its class.
            sample: whose objects are written.
            like: `Source.row` of the sample that it was made from: what else was known of that stays with it.
        """
        row: dict[str, Any] = {"file": name, "label": label}
        if like and "columns" in like:
            row["columns"] = like["columns"]
        return row

    def finish(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
        """The tables over all samples, name → content, from rows in order; {} for layouts without."""
        if self.kind != "csv":
            return {}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "label"])
        writer.writerows([row["file"], row["label"]] for row in rows)
        return {"labels.csv": text.getvalue().encode()}
