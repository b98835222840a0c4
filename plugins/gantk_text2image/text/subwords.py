"""Byte pairs: subwords learnt from texts, by which any other text can be spelt, too.

Sennrich et al. 2016 (arXiv:1508.07909), section 3.2, on bytes instead of characters, so that nothing is outside of the
vocabulary. Words are those of `gantoolkit.texts.words`; one that begins with a letter or digit has a space before
it, so that "the" and the end of "bathe" differ.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from gantoolkit.texts import words

Pair = tuple[int, int]
BYTES = 256  # ids below stand for a byte; those from here on for a pair, in the order in which they were learnt
SEEN_BEFORE = 1 << 16  # spellings kept: words come again


def learn(texts: Iterable[str], pairs: int) -> list[Pair]:
    """At most so many pairs, the most frequent first at each turn.

    Of pairs that are equally frequent the one of lower ids comes first, so that the same texts in any order give
    the same result. A pair that occurs once teaches nothing and is left out.
    """
    occurrences = Counter(word for text in texts for word in words(text))
    spelt = [list(_bytes(word)) for word in occurrences]
    weight = list(occurrences.values())
    counts: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, ids in enumerate(spelt):
        for pair in pairwise(ids):
            counts[pair] += weight[index]
            where[pair].add(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    learnt: list[Pair] = []
    while heap and len(learnt) < pairs:
        count, pair = heapq.heappop(heap)
        if counts[pair] != -count:  # it has become rarer or more frequent since; that is in the heap, too
            continue
        if -count < 2:
            break
        changed: set[Pair] = set()
        for index in where.pop(pair):
            before = spelt[index]
            after = spelt[index] = _joined(before, pair, BYTES + len(learnt))
            for old in pairwise(before):
                counts[old] -= weight[index]
                changed.add(old)
            for new in pairwise(after):
                counts[new] += weight[index]
                where[new].add(index)
                changed.add(new)
        learnt.append(pair)
        for other in changed:
            if counts[other] > 0:
                heapq.heappush(heap, (-counts[other], other))
    return learnt


class Subwords:
    """Spells texts with byte pairs.

    Args:
        pairs: as `learn` gives them: the i-th makes the id 256 + i of two lower ones.

    Raises:
        ValueError: a pair is made of ids that come later.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        for index, pair in enumerate(pairs):
            if not all(0 <= part < BYTES + index for part in pair):
                raise ValueError(f"the pair {index} of subwords is {pair}")
        self.pairs = list(pairs)
        self._rank = {pair: index for index, pair in enumerate(pairs)}
        self._spelt: dict[str, list[int]] = {}

    def __len__(self) -> int:
        """Number of ids."""
        return BYTES + len(self.pairs)

    def ids(self, text: str, most: int) -> list[int]:
        """The first ids of the text, at most `most`."""
        found: list[int] = []
        for word in words(text):
            if len(found) >= most:
                break
            found += self._word(word)
        return found[:most]

    def _word(self, word: str) -> list[int]:
        if word not in self._spelt:
            if len(self._spelt) >= SEEN_BEFORE:
                self._spelt.clear()
            self._spelt[word] = self._spell(word)
        return self._spelt[word]

    def _spell(self, word: str) -> list[int]:
        ids = list(_bytes(word))
        while len(ids) > 1:
            rank, pair = min((self._rank.get(pair, len(self.pairs)), pair) for pair in pairwise(ids))
            if rank == len(self.pairs):
                break
            ids = _joined(ids, pair, BYTES + rank)
        return ids


def _bytes(word: str) -> bytes:
    return f" {word}".encode() if word[0].isalnum() else word.encode()


def _joined(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """The ids with each occurrence of the pair, from the left, replaced."""
    joined: list[int] = []
    for part in ids:
        if joined and (joined[-1], part) == pair:
            joined[-1] = new
        else:
            joined.append(part)
    return joined
