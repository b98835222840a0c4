"""How far generated pictures are from real ones, as sets: each figure is a card that carries its protocol.

Every function takes rows of features of real and of generated pictures (`FeatureSet`, N,F and M,F, of one
extractor). Arithmetic is float64; distances are Euclidean and computed in blocks, so that memory stays small.
Features of two kinds never meet: that is a `UsageError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import numpy as np

from gantoolkit.errors import PluginError, UsageError
from gantoolkit.featureset import FeatureSet, moments
from gantoolkit.metrics import MetricCard

BLOCK = 1 << 22  # distances held at once: 32 MB
RESAMPLES = 1000  # of a bootstrap
Interval = tuple[float, float]
Settings = dict[str, str | int | float]


def frechet(real: FeatureSet, fake: FeatureSet) -> MetricCard:
    """Fréchet distance of two Gaussians, 0 for equal moments; the "FID" when the features are Inception's.

    Heusel et al. 2017, arXiv:1706.08500, eq. 6: |μ−ν|² + tr(C + D − 2 (C D)^½). With roots C = RᵀR and D = SᵀS
    the last trace is the sum of the singular values of R Sᵀ: exact for singular covariances too, and never the
    square root of a negative eigenvalue. It falls as N grows; with N ≤ F, which the card says, it is far too high.
    """
    _alike(real, fake)
    return _card("Fréchet", _frechet(real.moments, fake.moments), real, fake, _rank(real, fake), higher=False)


def frechet_infinity(real: FeatureSet, fake: FeatureSet, points: int = 15, seed: int = 0) -> MetricCard:
    """Fréchet distance extrapolated to endlessly many generated pictures: Chong & Forsyth 2020, arXiv:1911.07023.

    Its bias is linear in 1/M once M is well above the features' length F: distances of `points` random parts, from
    M/10 (but above F, where half of all allows it) to all M generated pictures, are fitted by a line in 1/M, whose
    value at 0 is the figure. The bias of the real pictures' number stays. The interval is
    95 % of the fit's intercept; the parts overlap, so it is too narrow rather than too wide.

    Raises:
        UsageError: fewer than 20 generated pictures, or fewer than 3 points.
    """
    from scipy.stats import t

    _alike(real, fake)
    n = len(fake)
    if n < 20 or points < 3:
        raise UsageError("too few to extrapolate", expected="≥ 20 pictures, ≥ 3 points", actual=f"{n} and {points}")
    rng = np.random.default_rng(seed)
    smallest = max(n // 10, min(fake.features.shape[1] + 1, n // 2), 2)
    sizes = np.linspace(smallest, n, points).round().astype(int)
    parts = (fake.features[rng.permutation(n)[:size]] for size in sizes)
    x, y = 1 / sizes, np.array([_frechet(real.moments, moments(part)) for part in parts])
    slope, value = (float(v) for v in np.polyfit(x, y, 1))
    variance = np.square(y - slope * x - value).sum() / (points - 2)
    error = np.sqrt(variance * (1 / points + x.mean() ** 2 / np.square(x - x.mean()).sum()))
    reach = float(t.ppf(0.975, points - 2) * error)
    settings = _rank(real, fake) | {"points": points, "smallest": int(sizes[0]), "seed": seed}
    return _card("Fréchet∞", value, real, fake, settings, (value - reach, value + reach), higher=False)


def kid(real: FeatureSet, fake: FeatureSet, subset: int = 1000, subsets: int = 100, seed: int = 0) -> MetricCard:
    """Kernel distance, 0 on average for one distribution, and so below 0 at times.

    Bińkowski et al. 2018, arXiv:1801.01401, section 4: unbiased squared MMD with k(x, y) = (xᵀy/F + 1)³,
    averaged over random subsets. The subset is at most half of the smaller set. The interval is ± 1.96 standard
    errors by the delete-d jackknife (Shao & Wu 1989, Annals of Statistics 17(3)): the subsets' deviation times
    √(r / (N − r)) for subsets of r out of N.

    Raises:
        UsageError: fewer than 4 pictures on a side.
    """
    _alike(real, fake)
    n = min(len(real), len(fake))
    if n < 4 or subsets < 2:
        raise UsageError(
            "too few for a kernel distance", expected="≥ 4 pictures, ≥ 2 subsets", actual=f"{n}, {subsets}"
        )
    size = min(subset, n // 2)
    rng = np.random.default_rng(seed)
    chosen = ([each.features[rng.permutation(len(each))[:size]] for each in (real, fake)] for _ in range(subsets))
    values = np.array([_mmd2(x.astype(np.float64), y.astype(np.float64)) for x, y in chosen])
    reach = float(1.96 * values.std(ddof=1) * np.sqrt(size / (n - size)))
    value = float(values.mean())
    settings: Settings = {"subset": size, "subsets": subsets, "seed": seed}
    return _card("KID", value, real, fake, settings, (value - reach, value + reach), higher=False)


def precision(real: FeatureSet, fake: FeatureSet, k: int = 3, seed: int = 0) -> MetricCard:
    """Share of generated pictures within the real manifold: fidelity.

    Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 2. The manifold is the union of balls around its pictures, each
    out to its k-th nearest neighbour. Intervals of this and the next three: 95 % by bootstrap of the share, with
    the balls held fixed.

    Raises:
        UsageError: a set has no more than k pictures. So do the next three.
    """
    _alike(real, fake)
    values = [inside.any(1) for inside in _in_balls(fake, real, k)]
    return _mean_card("precision", np.concatenate(values), real, fake, k, seed)


def recall(real: FeatureSet, fake: FeatureSet, k: int = 3, seed: int = 0) -> MetricCard:
    """Share of real pictures within the generated manifold: variety; `precision` with the roles swapped (same eq.)."""
    _alike(real, fake)
    values = [inside.any(1) for inside in _in_balls(real, fake, k)]
    return _mean_card("recall", np.concatenate(values), real, fake, k, seed)


def density(real: FeatureSet, fake: FeatureSet, k: int = 5, seed: int = 0) -> MetricCard:
    """In how many real balls a generated picture lies, over k; may exceed 1.

    Naeem et al. 2020, arXiv:2002.09797, section 3.1. Unlike precision, one outlier with its large ball counts little.
    """
    _alike(real, fake)
    values = [inside.sum(1) / k for inside in _in_balls(fake, real, k)]
    return _mean_card("density", np.concatenate(values), real, fake, k, seed)


def coverage(real: FeatureSet, fake: FeatureSet, k: int = 5, seed: int = 0) -> MetricCard:
    """Share of real pictures whose ball holds a generated one. Naeem et al. 2020, section 3.2."""
    _alike(real, fake)
    closest = np.concatenate([squared.min(1) for _, squared in _blocks(real.features, fake.features)])
    return _mean_card("coverage", closest <= _radii(real, k), real, fake, k, seed)


def memorised(
    training: FeatureSet, held_out: FeatureSet, fake: FeatureSet, share: float = 0.01, seed: int = 0
) -> MetricCard:
    """Share of generated pictures that are nearer to a training picture than real pictures nearly ever are.

    The threshold is the distance to the training set below which `share` of the held-out pictures lie (a conformal
    quantile: the card says the share that chance alone allows, at least 1 in held-out + 1). Pictures drawn
    from the true distribution score about that share, copies score 1. Interval: 95 % by bootstrap.
    """
    _alike(training, held_out)
    _alike(training, fake)
    if not 0 < share < 1:
        raise UsageError("the share of real pictures that may be too near", expected="between 0 and 1", actual=share)
    usual = np.sort(nearest(held_out, training)[1][:, 0])
    rank = max(1, int(share * (len(usual) + 1)))
    copies = nearest(fake, training)[1][:, 0] <= usual[rank - 1]
    settings: Settings = {
        "held_out": _named(held_out),
        "held_out_n": len(held_out),
        "by_chance": round(rank / (len(usual) + 1), 6),
        "seed": seed,
    }
    interval = _bootstrap(copies, seed)
    return _card("memorised", float(copies.mean()), training, fake, settings, interval, higher=False)


def nearest(queries: FeatureSet, among: FeatureSet, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of `among` for each query, nearest first: indices N,k (int64) and distances N,k.

    Raises:
        UsageError: features of two kinds, or fewer than k pictures to choose from.
    """
    _alike(queries, among)
    if not 1 <= k <= len(among):
        raise UsageError("not that many neighbours", expected=f"1 to {len(among)}", actual=k)
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k))
    for rows, squared in _blocks(queries.features, among.features):
        found = np.argpartition(squared, k - 1, 1)[:, :k]
        # Once more as plain differences: for a copy the block's products only nearly cancel.
        gaps = queries.features[rows, None].astype(np.float64) - among.features[found]
        exact = np.sqrt(np.square(gaps).sum(2))
        order = np.argsort(exact, 1, kind="stable")
        indices[rows] = np.take_along_axis(found, order, 1)
        distances[rows] = np.take_along_axis(exact, order, 1)
    return indices, distances


def evaluate_sets(
    real: FeatureSet,
    fake: FeatureSet,
    training: FeatureSet | None = None,
    seed: int = 0,
    more: Mapping[str, Callable[[FeatureSet, FeatureSet], MetricCard]] | None = None,
) -> list[MetricCard]:
    """All figures that features give, always in this order.

    Args:
        real: real pictures, best such as no training saw.
        training: what the model was trained on; with it `memorised` is measured against `real`.
        seed: of subsets and bootstraps.
        more: further metrics by name (`plugins.current().metrics()`), measured last, in the order of their names.

    Raises:
        UsageError: features of two kinds or too few pictures.
        PluginError: one of `more` fails or returns no card.
    """
    cards = [frechet(real, fake), frechet_infinity(real, fake, seed=seed), kid(real, fake, seed=seed)]
    cards += [metric(real, fake, seed=seed) for metric in (precision, recall, density, coverage)]
    if training is not None:
        cards.append(memorised(training, real, fake, seed=seed))
    for name, metric in sorted((more or {}).items()):
        try:
            card = metric(real, fake)
        except Exception as error:
            raise PluginError(f"the metric {name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(card, MetricCard):
            raise PluginError(
                f"the metric {name!r} returned no card", expected="MetricCard", actual=type(card).__name__
            )
        cards.append(card)
    return cards


# ---- cards ----


def _card(
    name: str,
    value: float,
    real: FeatureSet,
    fake: FeatureSet,
    settings: Settings,
    interval: Interval | None = None,
    *,
    higher: bool = True,
) -> MetricCard:
    """A figure of two sets with what it depends on."""
    protocol: Settings = {
        "features": real.feature,
        "weights": real.weights,
        "resizer": real.resizer,
        "real": _named(real),
        "real_n": len(real),
        "fake_n": len(fake),
    }
    if fake.seed is not None:
        protocol["fake_seed"] = fake.seed
    return MetricCard(name, value, "", len(fake), protocol | settings, interval, higher, of=fake.source)


def _mean_card(name: str, values: np.ndarray, real: FeatureSet, fake: FeatureSet, k: int, seed: int) -> MetricCard:
    """The mean of a value for each picture."""
    return _card(name, float(values.mean()), real, fake, {"k": k, "seed": seed}, _bootstrap(values, seed))


def _named(features: FeatureSet) -> str:
    """Where pictures are from, which part, and what exactly they are."""
    return " ".join(filter(None, [features.source, features.split, features.fingerprint]))


def _rank(real: FeatureSet, fake: FeatureSet) -> Settings:
    few = min(len(real), len(fake)) <= real.features.shape[1]
    return {"covariance": "singular, N ≤ F"} if few else {}


def _alike(a: FeatureSet, b: FeatureSet) -> None:
    facts = [(s.feature, s.weights, s.resizer, f"{s.features.shape[1]} wide") for s in (a, b)]
    if facts[0] != facts[1]:
        raise UsageError(
            "features of two kinds cannot be compared",
            expected=" ".join(facts[0]),
            actual=" ".join(facts[1]),
            remedy="describe both sets with one extractor",
        )


# ---- arithmetic ----


def _frechet(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """Of (mean, root of the covariance) twice; rounding must not make it negative."""
    (mean_a, root_a), (mean_b, root_b) = a, b
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    traces = np.square(root_a).sum() + np.square(root_b).sum()
    return max(0.0, float(np.square(mean_a - mean_b).sum() + traces - 2 * cross))


def _mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, JMLR 13, eq. 3: the unbiased squared MMD of two samples of one size."""
    n, width = x.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / width + 1) ** 3

    xx, yy = kernel(x, x), kernel(y, y)
    within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
    return float(within / (n * (n - 1)) - 2 * kernel(x, y).mean())


def _blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of some rows of a, N,F, to all rows of b, M,F: (which rows, rows,M)."""
    centre = b.mean(0, dtype=np.float64)  # distances stay, and less cancels
    b = b - centre
    lengths = np.square(b).sum(1)
    step = max(1, BLOCK // max(b.shape))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        part = a[rows] - centre
        yield rows, (np.square(part).sum(1)[:, None] + lengths - 2 * part @ b.T).clip(0)


@lru_cache(maxsize=4)
def _radii(features: FeatureSet, k: int) -> np.ndarray:
    """Squared distance of each picture to its k-th nearest other one."""
    if not 1 <= k < len(features):
        raise UsageError(
            "too few pictures for the k-th nearest neighbour", expected=f"more than {k}", actual=len(features)
        )
    radii = np.empty(len(features))
    for rows, squared in _blocks(features.features, features.features):
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = -1  # itself comes first, always
        radii[rows] = np.partition(squared, k, 1)[:, k]
    return radii


def _in_balls(queries: FeatureSet, centres: FeatureSet, k: int) -> Iterator[np.ndarray]:
    """For blocks of queries, in which balls each lies: boolean rows,M."""
    radii = _radii(centres, k)
    for _, squared in _blocks(queries.features, centres.features):
        yield squared <= radii


def _bootstrap(values: np.ndarray, seed: int) -> Interval:
    """95 % percentile interval of the mean (Efron 1979, Annals of Statistics 7(1))."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
