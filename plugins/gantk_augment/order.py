"""What a command asks for: rows, the policies that make them, and the header that says so to whoever comes later."""

from __future__ import annotations

import importlib.metadata as metadata
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantk_augment import manifest
from gantk_augment.options import RunOptions
from gantk_augment.plan import ORIGINAL, Amount, Part, Row, plan
from gantoolkit import __version__, plugins
from gantoolkit.errors import InputError, UsageError
from gantoolkit.samples import Policy

if TYPE_CHECKING:
    from gantk_augment.source import Source

FIT = "fit one with: gantk train augment {}"
HEADER = ("versions", "data", "policies", "models")  # what making again needs


@dataclass(frozen=True)
class Order:
    """Work to do.

    Attributes:
        rows: what is to be made, by index.
        settings: policy → what it is made from.
        policies: made from them, in this process.
        suffix: of the files of samples that come from no picture.
        describe: gives the header; it may read all the data.
        expected: index → the files' hashes, where they are known beforehand.
        notes: what the user should know, in lines.
    """

    rows: list[Row]
    settings: Mapping[str, Mapping[str, Any]]
    policies: Mapping[str, Policy]
    suffix: str
    describe: Callable[[], Mapping[str, Any]]
    expected: dict[int, dict[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def header(self) -> dict[str, Any]:
        """Of the manifest, as a reader of it will see it; two commands with one header make the same tree."""
        return json.loads(json.dumps(self.describe()))

    @property
    def together(self) -> int:
        """Rows in which each policy finds as many as it likes to make together."""
        counts = Counter(row.policy for row in self.rows)
        wishes = [
            policy.chunk * len(self.rows) / counts[name] for name, policy in self.policies.items() if counts[name]
        ]
        return round(max(wishes, default=1))


def ordered(options: RunOptions, source: Source) -> Order:
    """The order of a command with options.

    Raises:
        UsageError: options that contradict each other, an unknown policy, a model that is missing.
        InputError: the data have not what a policy needs.
    """
    amount = Amount(options.multiply, options.per_class, options.balance)
    names = ("classic", "gan") if options.policy == "both" else (options.policy,)
    if "gan" in names:
        _refuse_unlabelled(options, source)
    settings = {name: _settings(name, options) for name in names}
    policies = _policies(settings)
    notes: tuple[str, ...] = ()
    share = 1.0
    if "gan" in names:
        _refuse_other_classes(policies["gan"], options, source)
        chosen: float = policies["gan"].fitted.share  # type: ignore[attr-defined]
        if not chosen and options.gan_share is None:
            then = ", so classic makes all" if options.policy == "both" else ""
            notes = (f"the model's share is 0: its pictures did not help on validation data{then}",)
    if options.policy == "both":
        share = _of_the_new(chosen, amount, source) if options.gan_share is None else options.gan_share
    parts = [Part(name, policies[name].needs_source, share) for name in names]
    rows = plan(source.names, source.labels, amount, parts, seed=options.seed, originals=options.originals)
    if not rows:
        raise UsageError("nothing would be made", remedy="leave out --no-originals, or ask for more with --multiply")
    if all(row.policy == ORIGINAL for row in rows):
        notes += ("nothing new is asked for: each class has as many pictures already",) if amount.per_class else ()
    notes += _left_behind(source, [policies[name] for name in {row.policy for row in rows} - {ORIGINAL}])
    suffix = _usual_suffix(source)
    told = {
        "policy": options.policy,
        "multiply": 1.0 if amount == Amount() else amount.multiply,
        "per_class": amount.per_class,
        "balance": amount.balance,
        "gan_share": share if options.policy == "both" else None,
        "originals": options.originals,
        "seed": options.seed,
    }
    return Order(rows, settings, policies, suffix, partial(_header, source, settings, told, suffix), notes=notes)


def _header(
    source: Source, settings: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], suffix: str
) -> dict[str, Any]:
    return {
        "manifest": manifest.VERSION,
        "versions": _versions(),
        "data": {"kind": source.kind, "pictures": len(source.names), "fingerprint": source.fingerprint},
        "policies": settings,
        "models": _models(settings),
        "options": options,
        "suffix": suffix,
        "tables": sorted(source.sink.finish(())),
    }


def _of_the_new(share: float, amount: Amount, source: Source) -> float:
    """The part of the new pictures that has a model's share of all, the data's own included."""
    new = sum(amount.of(Counter(source.labels)).values())
    return min(1.0, share * (len(source) + new) / max(1, new))


def repeated(options: RunOptions, source: Source) -> Order:
    """The order of a manifest: all that it lists, once more.

    `--model` says where a model is now, if it is not where it was.

    Raises:
        InputError: a damaged manifest, or other data or another model than those that it was made from.
        UsageError: a policy that is not installed.
    """
    assert options.manifest is not None
    found = manifest.read(options.manifest)
    header = found.header
    wrong = [name for name in HEADER if not isinstance(header.get(name), dict)]
    if wrong or not all(isinstance(values, dict) for values in header["policies"].values()):
        raise InputError(f"the header of {options.manifest} is damaged: {', '.join(wrong or ['policies'])}")
    settings = {name: dict(values) for name, values in header["policies"].items()}
    if "gan" in settings and options.model is not None:
        settings["gan"]["model"] = options.model
    if (known := header["data"].get("fingerprint")) != source.fingerprint:
        raise InputError(
            f"{source.path} is not what {options.manifest} was made from",
            expected=f"{header['data'].get('pictures')} pictures, fingerprint {str(known)[:12]}",
            actual=f"{len(source.names):,} pictures, fingerprint {source.fingerprint[:12]}",
        )
    policies = _policies(settings)
    for name, sha in _models(settings).items():
        if header["models"].get(name) != sha:
            raise InputError(
                f"the model {settings[name]['model']} is not the one of {options.manifest}",
                remedy="name the right one with --model",
            )
    rows, expected = [], {}
    for line in found.rows():
        row = Row(**{key: line[key] for key in Row.__dataclass_fields__})
        if row.policy not in (ORIGINAL, *settings) or row.label not in (None, *source.classes):
            raise InputError(f"{options.manifest}: the line of {line['file']} fits neither header nor data")
        rows.append(row)
        expected[row.index] = manifest.files(line)
    notes: tuple[str, ...] = ()
    if changed := [f"{k} {v}" for k, v in header["versions"].items() if _versions().get(k) != v]:
        notes = (f"the manifest was made with {', '.join(changed)}, which is not what is here: files may differ",)
    suffix = str(header.get("suffix") or _usual_suffix(source))
    return Order(rows, settings, policies, suffix, lambda: header, expected, notes)


def _refuse_unlabelled(options: RunOptions, source: Source) -> None:
    if source.kind not in ("folder", "csv"):
        raise InputError(
            f"the policy {options.policy} makes pictures of classes", expected="class folders or labels.csv",
            actual="boxes and masks" if source.kind == "coco" else "masks", remedy="take --policy classic",
        )  # fmt: skip
    if not source.classes:
        raise InputError(f"the pictures of {source.path} have no classes", remedy="take --policy classic")
    if options.model is None:
        raise UsageError(f"--policy {options.policy} needs a --model", remedy=FIT.format(source.path))


def _refuse_other_classes(policy: Any, options: RunOptions, source: Source) -> None:
    if missing := [name for name in source.classes if name not in policy.fitted.classes]:
        raise InputError(
            f"the model {options.model} does not know the class {', '.join(missing[:5])}",
            expected=", ".join(policy.fitted.classes[:12]), remedy=FIT.format(source.path),
        )  # fmt: skip


def _left_behind(source: Source, policies: Sequence[Policy]) -> tuple[str, ...]:
    """What of a table would be wrong of new pictures, on a line."""
    from gantk_augment.classic import Classic
    from gantk_augment.kinds import Table

    moving = any(policy.needs_source and (not isinstance(policy, Classic) or policy.moves) for policy in policies)
    if not moving or not isinstance(source, Table) or not (places := source.places):
        return ()
    what = f"{', '.join(places)} of {source.sink.table} look like places in the pictures and are copied as they are"
    return (f"{what}, while new pictures are moved and mirrored; convert them to COCO",)


def _settings(name: str, options: RunOptions) -> dict[str, Any]:
    """What a policy is made from, as JSON has it."""
    from gantk_augment import recipes

    if name == "gan":
        return {"model": options.model}
    if name == "classic":
        return recipes.read(options.recipe)
    given = options.recipe != RunOptions.model_fields["recipe"].default
    return recipes.parse(Path(options.recipe)) if given else {}


def _policies(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Policy]:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for news of itself
    offered = plugins.current().augmentations()
    for name in settings:
        if name not in offered:
            raise UsageError(f"no policy is called {name!r}", remedy=plugins.near(name, [*offered, "both"]))
    return {name: offered[name](values) for name, values in settings.items()}


def _versions() -> dict[str, str]:
    """Of all that has a part in the bytes of a result."""
    import cv2

    packages = {name: metadata.version(name) for name in ("albumentations", "numpy", "torch")}
    return {"gantoolkit": __version__, **packages, "opencv": cv2.__version__}


def _models(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A hash of each policy's model."""
    if "gan" not in settings:
        return {}
    from gantk_augment.fit import model_hash
    from gantoolkit.model import find

    return {"gan": model_hash(find(None, settings["gan"]["model"]))}


def _usual_suffix(source: Source) -> str:
    """That of most pictures, for those that come from none."""
    counts = Counter(os.path.splitext(name)[1].lower() for name in source.names)  # noqa: PTH122 - for each picture
    return min(counts, key=lambda suffix: (-counts[suffix], suffix))
