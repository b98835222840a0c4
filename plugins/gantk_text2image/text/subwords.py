"""Byte pairs: subwords learnt from texts, by which any other text can be spelt, too.

Sennrich et al. 2016 (arXiv:1508.07909), section 3.2, on bytes instead of characters, so that nothing is outside of the
vocabulary. Words are those of `gantoolkit.texts.words`; one that begins with a letter or digit has a space before
it, so that "the" and the end of "bathe" differ.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from gantoolkit.texts import words

Pair = tuple[int, int]
BYTES = 256  # ids below stand for a byte; those from here on for a pair, in the order in which they were learnt
EDGE = -1  # no id: before, between and after words, and where a pair has lost a place
SEEN_BEFORE = 1 << 16  # spellings kept: words come again


def learn(texts: Iterable[str], pairs: int) -> list[Pair]:
    """At most so many pairs, the most frequent first at each turn.

    Of pairs that are equally frequent the one of lower ids comes first, so that the same texts in any order give
    the same result. A pair that occurs once teaches nothing and is left out.
    """
    occurrences = Counter(word for text in texts for word in words(text))
    spelt = _Row(occurrences)
    heap = [(-count, pair) for pair, count in spelt.counts.items()]
    heapq.heapify(heap)
    learnt: list[Pair] = []
    while heap and len(learnt) < pairs:
        count, pair = heap[0]
        if spelt.counts[pair] != -count:  # a pair that is there becomes only rarer: the heap may say too much
            heapq.heapreplace(heap, (-spelt.counts[pair], pair))
            continue
        if -count < 2:
            break
        heapq.heappop(heap)
        for made in spelt.join(pair, BYTES + len(learnt)):
            heapq.heappush(heap, (-spelt.counts[made], made))
        learnt.append(pair)
    return learnt


class _Row:
    """Words in a row, as ids with an edge between any two, in which pairs are replaced at a cost of what changes.

    Attributes:
        counts: how often each pair occurs, in all occurrences of the words.
    """

    def __init__(self, occurrences: Mapping[str, int]) -> None:
        self.counts: defaultdict[Pair, int] = defaultdict(int)
        self._where: defaultdict[Pair, array[int]] = defaultdict(partial(array, "i"))  # places, some of them outdated
        self._ids, self._weights = array("i", [EDGE]), array("i", [0])
        for word, count in occurrences.items():
            spelt = _bytes(word)
            for place, pair in enumerate(pairwise(spelt), len(self._ids)):
                self.counts[pair] += count
                self._where[pair].append(place)
            self._ids.extend([*spelt, EDGE])
            self._weights.extend([count] * (len(spelt) + 1))
        self._left, self._right = (array("i", range(by, by + len(self._ids))) for by in (-1, 1))

    def join(self, pair: Pair, new: int) -> set[Pair]:
        """Replace each occurrence of the pair, from the left; the pairs that come by it."""
        ids, counts, where, fresh = self._ids, self.counts, self._where, set()
        for place in where.pop(pair):
            second = self._right[place]
            if (ids[place], ids[second]) != pair:
                continue
            before, beyond = self._left[place], self._right[second]
            weight = self._weights[place]
            ids[place], ids[second] = new, EDGE
            self._right[place], self._left[beyond] = beyond, place
            for old, made, start in (
                ((ids[before], pair[0]), (ids[before], new), before),
                ((pair[1], ids[beyond]), (new, ids[beyond]), place),
            ):
                if EDGE not in made:
                    counts[old] -= weight
                    counts[made] += weight
                    where[made].append(start)
                    fresh.add(made)
        return fresh


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
            rank = min([self._rank.get(pair, len(self.pairs)) for pair in pairwise(ids)])
            if rank == len(self.pairs):
                break
            ids = _joined(ids, self.pairs[rank], BYTES + rank)
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
