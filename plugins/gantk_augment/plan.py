"""What is to be made: every row of the result, from names, labels, options and the seed alone.

Nothing here opens a picture. The same arguments give the same rows in the same order, so the row is all that a worker
needs, and a run that was stopped knows what is left.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gantoolkit.errors import UsageError

LONGEST = 180  # bytes of an original's name in a new one

ORIGINAL = "original"  # the policy of the data's own pictures, which are copied


@dataclass(frozen=True)
class Row:
    """One sample of the result.

    Attributes:
        index: its place in the result.
        stem: name of its files, without folder and suffix.
        policy: who makes it; `ORIGINAL` is a copy.
        source: the picture that it is made from; None where a policy needs none.
        label: its class, None where the data has none.
        seed: 0 to 2^63 - 1, from which all of it comes; None for a copy.
    """

    index: int
    stem: str
    policy: str
    source: str | None
    label: str | None
    seed: int | None


@dataclass(frozen=True)
class Amount:
    """How many new samples: `multiply` for each there is, or up to `per_class` in each class, or `balance`d.

    Raises:
        UsageError: more than one of them.
    """

    multiply: float | None = None
    per_class: int | None = None
    balance: bool = False

    def __post_init__(self) -> None:
        given = [("--multiply", self.multiply is not None), ("--per-class", self.per_class is not None)]
        named = [name for name, there in [*given, ("--balance", self.balance)] if there]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} contradict each other", remedy="give one of them")

    def of(self, sizes: Mapping[str | None, int]) -> dict[str | None, int]:
        """New samples of each class, given how many there are. `multiply` meets its total, and each class within 1.

        Raises:
            UsageError: classes are asked for, and there are none.
        """
        if self.per_class is not None or self.balance:
            if set(sizes) <= {None}:
                option = "--balance" if self.balance else "--per-class"
                raise UsageError(f"{option} needs data with classes", remedy="say --multiply instead")
            goal = max(sizes.values()) if self.per_class is None else self.per_class
            return {label: max(0, goal - size) for label, size in sizes.items()}
        factor = 1.0 if self.multiply is None else self.multiply
        made, seen, before = {}, 0, 0
        for label, size in sizes.items():
            seen += size
            upto = _rounded(factor * seen)
            made[label], before = upto - before, upto
        return made


@dataclass(frozen=True)
class Part:
    """A policy's part in the new samples: `share` of them, 0 to 1."""

    policy: str
    needs_source: bool
    share: float = 1.0


def plan(
    names: Sequence[str],
    labels: Sequence[str | None],
    amount: Amount,
    parts: Sequence[Part],
    *,
    seed: int = 0,
    originals: bool = True,
) -> list[Row]:
    """The rows of the result: the originals by name, then the new ones, class by class.

    Within a class each picture is changed equally often, up to one; copies of one picture are neighbours. Which
    pictures get one more depends on the seed. The seed of a new sample depends on its number among the new ones and
    on `seed`, not on `originals`.

    Args:
        names: of the data's pictures, sorted.
        labels: the class of each, None without.
        amount: how many new ones.
        parts: one policy, or two whose shares sum to 1, spread evenly over the rows.
        seed: of everything random.
        originals: begin with copies of the data's own pictures.

    Raises:
        UsageError: `amount` asks for classes that are not there.
    """
    members: dict[str | None, list[str]] = {label: [] for label in sorted(set(labels), key=lambda c: (c is None, c))}
    for name, label in zip(names, labels, strict=True):
        members[label].append(name)
    counts = amount.of({label: len(found) for label, found in members.items()})
    digits = max(4, len(str(max(0, sum(counts.values()) - 1))))
    taken = {_stem(name).casefold() for name in names}
    rows = [Row(i, _stem(n), ORIGINAL, n, c, None) for i, (n, c) in enumerate(zip(names, labels, strict=True))]
    rows, first, number = (rows, len(rows), 0) if originals else ([], 0, 0)
    for label, count in counts.items():
        chosen = [_part(parts, number + j) for j in range(count)]
        changed, turn = sum(part.needs_source for part in chosen), 0
        order = sorted(
            members[label], key=lambda name: hashlib.sha256(f"{seed}/{name}".encode(errors="replace")).digest()
        )
        for part in chosen:
            source = None
            if part.needs_source:
                source, turn = order[turn * len(order) // changed], turn + 1
            stem = f"{_short(_stem(source))}-{part.policy}" if source else part.policy
            stem = _free(f"{stem}-{number:0{digits}d}", taken)
            rows.append(Row(first + number, stem, part.policy, source, label, sample_seed(seed, number)))
            number += 1
    return rows


def sample_seed(seed: int, number: int | str) -> int:
    """63 bits of a hash of both: neighbours have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8], "big") >> 1


def table(rows: Sequence[Row]) -> list[tuple[str, dict[str, int]]]:
    """(class, policy → rows) in the classes' order; data without classes is one line, "all"."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault("all" if row.label is None else row.label, Counter())[row.policy] += 1
    return [(label, dict(counts)) for label, counts in sorted(found.items())]


def _part(parts: Sequence[Part], number: int) -> Part:
    """Whose turn it is, such that after n rows a part of share s has made s·n, rounded."""
    last = parts[-1]
    takes = _rounded((number + 1) * last.share) > _rounded(number * last.share)
    return last if takes else parts[0]


def _rounded(value: float) -> int:
    return int(value + 0.5)


def _stem(name: str) -> str:
    """As of `PurePosixPath`, in a tenth of its time: it is asked three times a picture."""
    last = name.rpartition("/")[2]
    dot = last.rfind(".")
    return last[:dot] if 0 < dot < len(last) - 1 else last


def _short(stem: str) -> str:
    """At most `LONGEST` bytes of it: file systems take 255, and more is added."""
    raw = stem.encode(errors="surrogateescape")
    return stem if len(raw) <= LONGEST else raw[:LONGEST].decode(errors="ignore")


def _free(stem: str, taken: set[str]) -> str:
    """The stem, or one with a number after it, where the data has that name already (or one of other capitals)."""
    unique, again = stem, 1
    while unique.casefold() in taken:
        again += 1
        unique = f"{stem}-{again}"
    taken.add(unique.casefold())
    return unique
