"""An adversarial game as data: players, phases and terms, and the context that a term sees.

    player   who owns parameters and has one optimizer
    phase    one move of a player: a weighted sum of terms, how often and how many times in a row
    term     one named part of a phase's loss

The engine plays any game made of these and knows nothing of images or tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gantoolkit.draws import Draws
from gantoolkit.errors import UsageError
from gantoolkit.schedule import Schedule, schedule


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state belongs into a checkpoint: an image pool, an augmentation's strength."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


@dataclass
class Step:
    """What one step reports; `losses`, `grad_norm` and `values` are plain floats by `phase/term`, player or name.

    They are means over micro-batches and processes, so that every process reads the same.

    `averages` has the averaged weights of each network that an average is kept of, as they are now; not to be changed.
    """

    nimg: int
    step: int
    losses: dict[str, float] = field(default_factory=dict)
    grad_norm: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    averages: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Alarm:
    """A gauge's warning: what is wrong in plain words, and what to do about it."""

    gauge: str
    text: str
    remedy: str


class Gauge(Stateful, Protocol):
    """A live measurement of the game's health. It changes nothing in the game: random numbers, buffers, gradients.

    It sees every step's report, and may look at networks that it was made with. Its state is in the checkpoints.
    """

    name: str

    def observe(self, step: Step) -> None:
        """Called after each step, on every process alike."""
        ...

    def readings(self) -> dict[str, float]:
        """The latest numbers by name, for the log; {} as long as there are none."""
        ...

    def alarms(self) -> list[Alarm]:
        """What has gone wrong since this was asked last."""
        ...


@dataclass
class Player:
    """A named owner of networks with one optimizer; only its own phases move it.

    Args:
        name: unique in the game.
        networks: name -> module; names are unique across the game's players.
        lr: learning rate, or a schedule over nimg.
        betas: Adam's decay rates. Kingma and Ba 2015.
        weight_decay: decoupled weight decay (AdamW), 0 for plain Adam.
        clip_norm: largest gradient norm, None for no clipping.
        ema_nimg: half-life, in images, of the average of the parameters that is kept beside them; None for none.
        optimizer: makes another optimizer from (parameters, lr, betas); None for fused Adam.
    """

    name: str
    networks: Mapping[str, nn.Module]
    lr: float | Schedule = 2e-4
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    ema_nimg: float | None = None
    optimizer: Callable[..., torch.optim.Optimizer] | None = None

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable parameter once, in a stable order. Frozen ones stay frozen."""
        seen: dict[int, nn.Parameter] = {}
        for network in self.networks.values():
            for parameter in network.parameters():
                seen.setdefault(id(parameter), parameter)
        return list(seen.values())


@dataclass(frozen=True)
class Term:
    """One named, weighted part of a phase's loss.

    Args:
        name: unique in its phase.
        fn: context -> scalar loss tensor, a mean over the samples of the batch.
        weight: factor, or a schedule over nimg.
        every: play it only every so many plays of the phase (lazy regularisation, Karras et al. 2020,
            appendix B): its weight is multiplied by `every`, it makes a move of its own, and the player's rate
            and betas are corrected for the additional moves.
        fp32: leave mixed precision for this term (penalties need it).
        couples_batch: the term's value for one sample depends on the others (batch means), so that micro-batches
            and several processes cannot give the full batch's gradient; the engine then says so.
    """

    name: str
    fn: Callable[[Context], Tensor]
    weight: float | Schedule = 1.0
    every: int = 1
    fp32: bool = False
    couples_batch: bool = False


@dataclass(frozen=True)
class Phase:
    """One move of a player.

    Args:
        name: unique in the game.
        player: the player that moves.
        terms: what it minimises.
        every: play it in every so-many-th step.
        repeats: how many times in a row; each repeat is a move with its own optimizer step.
        batch: "same" uses the batch of this step (drawn by the first phase that needs it); "fresh" draws a new
            one for each repeat. Each batch drawn advances nimg by its images.
    """

    name: str
    player: str
    terms: Sequence[Term]
    every: int = 1
    repeats: int = 1
    batch: Literal["same", "fresh"] = "same"


Prepare = Callable[[Mapping[str, Any], torch.Generator], Mapping[str, Any]]


@dataclass
class Game:
    """Players and phases, played in order.

    Args:
        state: other stateful parts that a resumed run must get back: image pools, an augmentation's strength.
        prepare: (batch on the device, random numbers that belong to this batch and process) → batch; runs once for
            each batch drawn, for work that is better done in batches on the device than sample by sample.
        after_step: called with the report of each step, to move what is in `state` (an augmentation's strength).
        gauges: measurements of the game's health.

    Raises:
        UsageError: names that clash, a phase of an unknown player, intervals below 1.
    """

    players: Sequence[Player]
    phases: Sequence[Phase]
    state: Mapping[str, Stateful] = field(default_factory=dict)
    prepare: Prepare | None = None
    after_step: Callable[[Step], None] | None = None
    gauges: Sequence[Gauge] = ()

    def __post_init__(self) -> None:
        names = [player.name for player in self.players]
        networks = [name for player in self.players for name in player.networks]
        _unique("player", names)
        _unique("network", networks)
        _unique("phase", [phase.name for phase in self.phases])
        _unique("gauge", [gauge.name for gauge in self.gauges])
        owned: dict[int, str] = {}
        for player in self.players:
            for parameter in player.parameters():
                other = owned.setdefault(id(parameter), player.name)
                if other != player.name:
                    raise UsageError(
                        f"players {other!r} and {player.name!r} share parameters",
                        expected="one owner for each parameter",
                    )
        for phase in self.phases:
            if phase.player not in names:
                raise UsageError(
                    f"phase {phase.name!r} moves an unknown player",
                    expected=" or ".join(names),
                    actual=phase.player,
                )
            _unique(f"term of phase {phase.name!r}:", [term.name for term in phase.terms])
            for what, count in [
                ("every", phase.every),
                ("repeats", phase.repeats),
                *((f"every of term {t.name!r}", t.every) for t in phase.terms),
            ]:
                if count < 1:
                    raise UsageError(f"phase {phase.name!r}: {what} is too small", expected="at least 1", actual=count)
            if phase.terms and all(term.every > 1 for term in phase.terms):
                raise UsageError(
                    f"phase {phase.name!r} has only lazy terms",
                    remedy="set the phase's `every` instead of the terms'",
                )

    def player(self, name: str) -> Player:
        return next(player for player in self.players if player.name == name)

    def networks(self) -> dict[str, nn.Module]:
        """Every network of the game by name."""
        return {name: network for player in self.players for name, network in player.networks.items()}

    def couplings(self) -> list[str]:
        """What makes a sample's part in the gradient depend on the batch that it is in: terms and layers, in words."""
        found = [
            f"term {p.name}/{t.name} couples the samples of a batch"
            for p in self.phases
            for t in p.terms
            if t.couples_batch
        ]
        for name, network in self.networks().items():
            modules = list(network.modules())
            if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in modules):
                found.append(f"network {name} normalises over the batch")
            if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p for m in modules):
                found.append(f"network {name} drops out at random")
        return found


def _unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{what} {twice[0]!r} is named twice", remedy="give each its own name")


@dataclass
class Shared:
    """A forward pass kept for later terms and phases of the same batch, with its owner's moves when it was made."""

    value: Any
    owner: str
    owner_moves: int
    graph: bool


@dataclass
class Context:
    """What a term sees.

    Attributes:
        networks: name -> module, as trained (wrapped by the engine where it compiles them).
        batch: the micro-batch: a mapping of tensors on the device.
        nimg: real images shown so far.
        phase: the running phase.
        player: the moving player.
        values: numbers that a term wants logged (floats or scalar tensors); gauges see them, too.
    """

    networks: Mapping[str, nn.Module]
    batch: Mapping[str, Any]
    nimg: int
    phase: Phase
    player: Player
    draws: Draws
    shared: dict[str, Shared]
    noise: dict[str, Draws]
    moves: Mapping[str, int]
    trainable: Mapping[str, Sequence[nn.Parameter]]
    keep_graph: Callable[[str], bool]
    values: dict[str, Any] = field(default_factory=dict)
    _memo: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """`ctx["image"]` is the batch's tensor, as `ctx.batch["image"]`."""
        return self.batch[name]

    @property
    def size(self) -> int:
        """Samples in this micro-batch."""
        return self.draws.stop - self.draws.start

    def randn(self, *shape: int) -> Tensor:
        """Normal noise, size × shape, the same rows whatever the number of micro-batches or processes."""
        return self.draws.take(lambda s, g: torch.randn(*s, generator=g), shape)

    def rand(self, *shape: int) -> Tensor:
        """Uniform noise in [0, 1), size × shape."""
        return self.draws.take(lambda s, g: torch.rand(*s, generator=g), shape)

    def randint(self, high: int, *shape: int) -> Tensor:
        """Integers in 0..high-1, size × shape."""
        return self.draws.take(lambda s, g: torch.randint(0, high, tuple(s), generator=g), shape)

    def chosen(self, high: int, count: int) -> list[int]:
        """Integers in 0..high-1 that are the same for every row of the joined batch, so for all micro-batches."""
        return self.draws.alike(lambda s, g: torch.randint(0, high, tuple(s), generator=g), (count,)).tolist()

    def memo(self, key: str, make: Callable[[], Any]) -> Any:
        """`make()`, once for this move and micro-batch: two terms share one forward pass."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def share(self, key: str, make: Callable[[], Any], owner: str) -> Any:
        """`make()`, once for this batch across phases; `owner` is the player whose output it is.

        In the owner's own phases the value carries its graph; in every other phase it is detached. A phase of
        another player that comes first builds the graph only if a phase of the owner will use this batch later in
        the step, so the generator runs once a step where peers run it twice. Once the owner has moved, its own
        phases make the value anew, and the other players see the one from before the move.

        Random numbers that `make` draws belong to the batch and the key: made anew, the value has the same noise,
        so that it does not matter how often it has to be made (micro-batches make it once a phase).
        """
        own = self.player.name == owner
        known = self.shared.get(key)
        if known is None or (own and (known.owner_moves != self.moves[owner] or not known.graph)):
            graph = own or self.keep_graph(owner)
            own_draws, self.draws = self.draws, self.draws.beside(self.noise.get(key))
            self.noise[key] = self.draws
            try:
                if own:
                    value = make()
                else:
                    with torch.set_grad_enabled(graph), trained(self.trainable[owner], graph):
                        value = make()
            finally:
                self.draws = own_draws
            known = self.shared[key] = Shared(value, owner, self.moves[owner], graph)
        return known.value if own else detach(known.value)


@contextmanager
def trained(parameters: Sequence[nn.Parameter], on: bool = True) -> Iterator[None]:
    """Inside, these parameters take gradients (or not); afterwards they take none."""
    for parameter in parameters:
        parameter.requires_grad_(on)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


def detach(value: Any) -> Any:
    """Detach a tensor, or every tensor in a list, tuple or mapping."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: detach(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(detach(item) for item in value)
    return value


def lazy_correction(phases: Sequence[Phase], player: str) -> float:
    """c = plain moves / all moves, for the player's optimizer: lr ← c·lr, β ← β^c. Karras et al. 2020, appendix B.

    A lazy term makes moves of its own, so that a phase of one lazy group with every=k moves k+1 times where it
    would move k times without. With c = k/(k+1), (k+1) moves at c·lr go as far as k moves at lr, and the moment
    estimates forget as much: β^c to the power of (k+1) is β^k. Phases count by how often they are played.
    """
    plain = sum(phase.repeats / phase.every for phase in phases if phase.player == player)
    extra = sum(
        phase.repeats / phase.every / every
        for phase in phases
        if phase.player == player
        for every in {term.every for term in phase.terms if term.every > 1}
    )
    return plain / (plain + extra) if plain else 1.0


def terms_due(phase: Phase, count: int) -> Iterator[list[Term]]:
    """The moves of the phase's play number `count`: the plain terms, then each group of lazy terms that is due."""
    yield [term for term in phase.terms if term.every == 1]
    for every in sorted({term.every for term in phase.terms if term.every > 1}):
        if count % every == 0:
            yield [term for term in phase.terms if term.every == every]


def weight_of(term: Term, nimg: int) -> float:
    """The factor of a term at `nimg`, a lazy term's interval included."""
    return schedule(term.weight)(nimg) * term.every
