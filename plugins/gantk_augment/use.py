"""`gantk run augment`: what was asked for, made by workers, kept whatever happens, and told at the end."""

from __future__ import annotations

import io
import shlex
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gantk_augment import engines, manifest, packing
from gantk_augment.options import RunOptions
from gantk_augment.order import Order, ordered, repeated
from gantk_augment.plan import ORIGINAL, table
from gantk_augment.tree import Tree, is_full
from gantk_augment.work import Job, Outcome
from gantoolkit import images, paths, plugins
from gantoolkit.errors import InputError, Interrupted, UsageError
from gantoolkit.images import Picture
from gantoolkit.runlog import write_atomically
from gantoolkit.signals import Stop
from gantoolkit.task import Console

if TYPE_CHECKING:
    from gantk_augment.source import Source

SHOWN = 20  # failures in full; more are counted
SHEET = 32  # new samples to look at
COLUMNS = 8
CELL = 128  # pixels of a sample's longer side on the sheet
BELONGS = {"model": ("gan", "both"), "gan_share": ("both",)}  # the policies that an option is for
DECIDED = ("policy", "multiply", "per_class", "balance", "recipe", "gan_share", "originals", "seed")  # by a manifest


def run(options: RunOptions, console: Console) -> int:
    """Make what was asked for; 0 done, 3 nothing could be made, 4 some of it could not (a dry run: could not be)."""
    from gantk_augment.source import open_source

    if options.data is None:
        raise UsageError("no data were named", remedy="gantk run augment DATA/ -o OUT/")
    _refuse_idle(options)
    if options.preview is None and not options.dry_run:
        _refuse_place(options)
        if options.manifest is None and options.engine == "local":
            engines.prepare(options.policy, options.workers or engines.cores())
    source = open_source(options.data)
    order = ordered(options, source) if options.manifest is None else repeated(options, source)
    for note in source.notes:
        console.say(f"data: {note}")
    for note in order.notes:
        console.warn(note)
    if options.preview is not None:
        return _preview(order, source, options, console)
    if options.dry_run:
        return _say_plan(order, source, console)
    assert options.out is not None
    format = packing.format_of(options)
    folder = packing.workplace(options.out, format)
    archived = format != "folder" and options.out.exists()
    if archived and packing.is_complete(options.out, format, order.header, options.force):
        packing.discard(folder)  # in case that its removal was what was interrupted
        console.say(f"{options.out} is complete already")
        return 0
    job = Job(source, folder, order.settings, order.suffix, plugins.current().found_by)
    workers = min(options.workers or engines.cores(), len(order.rows))
    with closing(engines.ENGINES[options.engine](job, workers)) as engine:
        if not folder.is_dir() or not any(folder.iterdir()):  # all is still to do
            engine.start()  # and the header, which reads all the data, is made meanwhile
        return _done(order, source, Tree(folder, order.header, options.force), engine, options, console)


def _done(
    order: Order, source: Source, tree: Tree, engine: engines.Engine, options: RunOptions, console: Console
) -> int:
    """The order, or what of it can be done; the exit code."""
    work = _Work(order, source, tree, options, console)
    with closing(tree):
        work.make(engine)
        if work.stop:
            kept = f"{len(tree.done.lines):,} of {len(order.rows):,} pictures are kept in {tree.folder}"
            raise Interrupted(f"interrupted: {kept}", remedy="the same command goes on from there")
        work.finish(packing.format_of(options))
    return work.report()


def _refuse_idle(options: RunOptions) -> None:
    """Nothing is asked for that would change nothing."""
    for name, policies in BELONGS.items():
        if getattr(options, name) is not None and options.manifest is None and options.policy not in policies:
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect with --policy {options.policy}",
                expected=f"--policy {' or '.join(policies)}",
                remedy="leave it out",
            )
    if options.manifest is not None:
        fields = type(options).model_fields
        said = [name for name in DECIDED if getattr(options, name) != fields[name].default]
        if said:
            raise UsageError(
                f"--{said[0].replace('_', '-')} has no effect with --manifest, which says what is made",
                remedy="leave one of them out",
            )


def _refuse_place(options: RunOptions) -> None:
    """Before any work: a result has a place, and it is not among the data."""
    assert options.data is not None
    if options.out is None:
        raise UsageError("no place for the result was named", remedy="name one with -o OUT/")
    out, data = options.out.resolve(), options.data.resolve()
    if out == data or data in out.parents:
        raise UsageError(f"{options.out} lies in the data", remedy="name a folder outside of them with -o")
    if out in data.parents and packing.format_of(options) != "folder":
        raise UsageError(f"the data lie in {options.out}", remedy="name another place with -o")


def _say_plan(order: Order, source: Source, console: Console) -> int:
    for label, counts in table(order.rows):
        shown = ", ".join(f"{count:,} {'kept' if name == ORIGINAL else name}" for name, count in counts.items())
        console.say(f"{label:<16} {shown}")
        console.result({"class": label, **counts})
    new = sum(row.policy != ORIGINAL for row in order.rows)
    console.say(f"{len(order.rows):,} pictures, {new:,} of them new; nothing was written")
    for file, why in source.problems[:SHOWN]:
        console.warn(f"error: {file}: {why}")
    return 4 if source.problems else 0


def _preview(order: Order, source: Source, options: RunOptions, console: Console) -> int:
    from gantk_augment import preview

    assert options.preview is not None
    images.format_for(options.preview)
    paths.refuse_targets([options.preview], force=options.force)
    used = {row.policy for row in order.rows}
    policies = [policy for name, policy in order.policies.items() if name in used] or list(order.policies.values())
    images.write(Picture(preview.sheet(source, policies, options.seed)), options.preview, force=options.force)
    console.result({"preview": str(options.preview)})
    console.say(f"wrote {options.preview}")
    return 0


@dataclass
class _Work:
    """One call's part of the work."""

    order: Order
    source: Source
    tree: Tree
    options: RunOptions
    console: Console
    failures: list[tuple[int, str]] = field(default_factory=list)
    made: int = 0
    stop: Stop = field(default_factory=Stop)
    full: bool = False
    sheet: Path | None = None
    started: float = field(default_factory=time.perf_counter)

    def make(self, engine: engines.Engine) -> None:
        """All rows that are not done yet, until a signal or a full disk ends it."""
        todo = [row for row in self.order.rows if row.index not in self.tree.done.lines]
        if (kept := len(self.order.rows) - len(todo)) and todo:
            self.console.say(f"going on: {kept:,} of {len(self.order.rows):,} pictures are done")
        if not todo:
            return
        with (
            closing(engine.outcomes(todo, self.order.together)) as outcomes,
            self.stop,
            self.console.progress(len(todo), "pictures", "making pictures") as bar,
        ):
            for some in outcomes:
                for outcome in some:
                    self._take(outcome)
                bar.advance(len(some))
                if self.stop or self.full:
                    return

    def _take(self, outcome: Outcome) -> None:
        if outcome.line is None:
            self.full |= outcome.full
            self.failures.append((outcome.index, outcome.error or ""))
            return
        if expected := self.order.expected.get(outcome.index):
            row = manifest.parse(outcome.line)
            if manifest.files(row) != expected:
                self.failures.append((outcome.index, f"{row['file']}: made again, it is not what the manifest says"))
                return
        try:
            self.tree.take(outcome)
            self.made += 1
        except InputError as error:
            self._fill(error)

    def finish(self, format: packing.Format) -> None:
        """The tables, the manifest, the sheet and the archive, if there is anything to put into them."""
        if not self.tree.done.lines or self.full:
            return
        assert self.options.out is not None
        try:
            self.tree.finish(self.source.sink)
            try:
                self.sheet = _sheet(self.order, self.source, self.tree, self.options.out, self.options.force)
            except (InputError, UsageError) as error:  # the place beside the result may not be ours
                self.console.warn(f"no sheet: {error}")
            if format != "folder":
                packing.pack(self.tree, self.source.sink, self.options.out, format)
        except InputError as error:
            self._fill(error)

    def _fill(self, error: InputError) -> None:
        """Only a full disk lets the call end in good order: what is there is whole."""
        if not is_full(error):
            raise error
        self.full = True
        self.failures.append((-1, str(error)))

    def report(self) -> int:
        """What was made, where, what is wrong, and what to do next."""
        options, console, done = self.options, self.console, self.tree.done.lines
        seconds = time.perf_counter() - self.started
        failures = [f"{file}: {why}" for file, why in self.source.problems] + [
            text for _, text in sorted(self.failures)
        ]
        told = Counter(failures)  # a damaged picture fails whatever is to be made of it
        for text, times in list(told.items())[:SHOWN]:
            console.warn(f"error: {text}" + (f" ({times:,} times)" if times > 1 else ""))
        if len(told) > SHOWN:
            console.warn(f"error: and {len(told) - SHOWN:,} more")
        for text, times in told.items():
            console.result({"error": text, **({"times": times} if times > 1 else {})})
        new = sum(row.policy != ORIGINAL for row in self.order.rows if row.index in done)
        row = {"out": str(options.out), "pictures": len(done), "new": new, "made": self.made, "failed": len(failures)}
        console.result({**row, "sheet": self.sheet and str(self.sheet), "seconds": round(seconds, 3)})
        if not done:
            console.warn("nothing could be made")
            return 3
        if self.full:
            left = len(self.order.rows) - len(done)
            console.warn(f"the disk is full: {left:,} pictures are missing; make room, and the same command goes on")
            return 4
        rate = f", {self.made / seconds:,.0f} pictures/s" if self.made else "; all were there already"
        console.say(f"{len(done):,} pictures, {new:,} of them new, in {options.out}{rate}")
        if self.sheet:
            console.say(f"some of the new ones on one sheet: {self.sheet}")
        if self.source.classes and options.manifest is None:
            # a model that learnt from all of the data can be judged on other data alone
            model = (
                "" if "gan" not in self.order.settings else f" --model {shlex.quote(str(options.model))} --test TEST/"
            )
            console.say(f"next: gantk eval augment {shlex.quote(str(options.data))}{model}")
        return 4 if failures else 0


def _sheet(order: Order, source: Source, tree: Tree, out: Path, force: bool) -> Path | None:
    """A picture of new samples from all over the result, with their targets drawn in; None where there are none.

    It lies beside the result: among class folders it would be a picture without a class.

    Raises:
        InputError: it cannot be written.
        UsageError: another file has its name, and it is not to be replaced.
    """
    from gantk_augment.preview import overlay

    new = [row for row in order.rows if row.policy != ORIGINAL and row.index in tree.done.lines]
    if not new:
        return None
    some = [new[int(i)] for i in np.linspace(0, len(new) - 1, min(SHEET, len(new)))]
    made = source.made(tree.folder, [manifest.parse(tree.done.lines[row.index]) for row in some])
    tiles = [_small(overlay(made.sample(index))) for index in range(len(made))]
    out = out.resolve()  # "." has no name
    target = out.with_name(f"{out.name}-sheet.png")
    sheet = io.BytesIO()
    images.write(Picture(images.contact_sheet(tiles, COLUMNS)), sheet)
    if not target.is_file() or target.read_bytes() != sheet.getvalue():
        if target.exists() and not force:
            raise UsageError(f"{target} exists already", remedy="overwrite it with --force")
        write_atomically(target, sheet.getvalue())
    return target


def _small(tile: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) in the size of the sheet's cells; small ones stay as they are."""
    import cv2

    factor = CELL / max(tile.shape)
    size = (max(1, round(tile.shape[1] * factor)), max(1, round(tile.shape[0] * factor)))
    return cv2.resize(tile, size, interpolation=cv2.INTER_AREA) if factor < 1 else tile
