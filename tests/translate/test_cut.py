"""CUT and FastCUT: the paper's terms, one pass a network, and the engine's promises with a third player."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gantk_translate import games
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit.distributed import Team
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import InputError, UsageError
from gantoolkit.game import Game, weight_of
from tests.games import Recorder, differences, relative
from tests.tolerances import TOL

SMALL: dict[str, Any] = {
    "size": 16, "channels": 4, "blocks": 2, "critic_channels": 4, "critic_layers": 1, "batch": 4, "nce_patches": 6,
}  # fmt: skip
BOTH = pytest.mark.parametrize("name", ["cut", "fastcut"])


def config(name: str = "cut", **changes: Any) -> TranslateConfig:
    return TranslateConfig(**(SMALL | {"game": name} | changes))


class Noise:
    """Batches of `rows` rows from `start` of one stream of joined batches; the stream's place is its state."""

    def __init__(self, rows: int = 4, start: int = 0, joined: int = 4) -> None:
        self.rows, self.start, self.joined, self.place = rows, start, joined, 0

    def next(self) -> Mapping[str, Any]:
        generator = torch.Generator().manual_seed(self.place)
        self.place += 1
        both = torch.rand(2, self.joined, 3, 16, 16, generator=generator) * 2 - 1
        mine = slice(self.start, self.start + self.rows)
        return {"a": both[0, mine], "b": both[1, mine].abs()}

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def make(chosen: TranslateConfig, *, recorded: bool = False) -> Game:
    torch.manual_seed(0)
    game = games.make(chosen, Side(), Side())
    if recorded:
        for player in game.players:
            player.optimizer = Recorder
    return game


def engine(game: Game, **settings: Any) -> Engine:
    return Engine(game, Noise(), Settings(channels_last=False, **settings))


def test_the_papers_values_are_the_defaults() -> None:
    cut, fast = TranslateConfig(game="cut"), TranslateConfig(game="fastcut")
    assert (cut.nce_weight, cut.nce_weight * cut.identity_weight) == (1, 1)
    assert (fast.nce_weight, fast.nce_weight * fast.identity_weight) == (10, 0)
    assert {(c.nce_patches, c.nce_temperature, c.loss, c.generator, c.blocks) for c in (cut, fast)} == {
        (256, 0.07, "lsgan", "resnet", 9)
    }


def test_three_players_and_their_terms() -> None:
    game = make(config(nce_weight=3.0, identity_weight=0.5))
    assert [(phase.player, {t.name: t.weight for t in phase.terms}) for phase in game.phases] == [
        ("critic", {"adversarial": 1.0}),
        ("generator", {"adversarial": 2.0, "contrast": 3.0, "identity": 1.5}),
        ("projection", {"contrast": 3.0, "identity": 1.5}),
    ]
    assert [term.name for term in make(config("fastcut")).phases[2].terms] == ["contrast"]


def expected(game: Game, chosen: TranslateConfig, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The terms by plain means, all places compared; the first draw of a step's random numbers says who is mirrored."""
    nets: Any = game.networks()
    generator = nets["generator"]
    x, y = batch["a"], batch["b"]
    turned = torch.zeros(len(x), dtype=torch.bool)
    if chosen.game == "fastcut":
        turned = torch.rand(len(x), generator=torch.Generator().manual_seed(0)) < 0.5
        assert 0 < turned.sum() < len(x)

    def back(maps: Tensor) -> Tensor:
        return torch.stack([m.flip(2) if t else m for m, t in zip(maps, turned, strict=True)])

    def rows(maps: Sequence[Tensor]) -> list[Tensor]:
        return [m.flatten(2).transpose(1, 2) for m in maps]

    def contrast(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Tensor:
        queries, keys = nets["projection"](rows(outputs)), nets["projection"](rows(inputs))
        pairs = [p for q, k in zip(queries, keys, strict=True) for p in zip(q, k.detach(), strict=True)]
        scores = [one @ other.T / chosen.nce_temperature for one, other in pairs]
        return torch.stack([(s.logsumexp(1) - s.diagonal()).mean() for s in scores]).mean()

    def look(pictures: Tensor) -> list[Tensor]:
        return generator.features(pictures, generator.layers)

    def score(pictures: Tensor) -> Tensor:
        return nets["critic"](pictures)[0]

    fake = generator(back(x))
    values = {
        "critic/adversarial": ((score(y) - 1) ** 2).mean() / 2 + (score(fake) ** 2).mean() / 2,
        "generator/adversarial": ((score(fake) - 1) ** 2).mean() / 2,
        "generator/contrast": contrast(look(x), [back(m) for m in look(fake)]),
    }
    if chosen.game == "cut":
        values["generator/identity"] = contrast(look(y), look(generator(y)))
    shared = [name for name in values if name.endswith(("contrast", "identity"))]
    return values | {name.replace("generator", "projection"): values[name] for name in shared}


@BOTH
def test_the_first_step_reports_what_is_computed_by_hand(name: str) -> None:
    chosen = config(name, nce_patches=10_000, lr=1e-12)
    game = make(chosen)
    values = {key: value.item() for key, value in expected(game, chosen, Noise().next()).items()}
    got = engine(game).step().losses
    assert got == pytest.approx(values, rel=1e-4)


@BOTH
def test_two_phases_have_the_gradient_of_one_loss(name: str) -> None:
    """The projection moves on kept features: as if one backward of the joined loss had served both players."""
    chosen = config(name, nce_patches=10_000, lr=0.1, critic_lr=1e-12)
    game = make(chosen, recorded=True)
    values = expected(game, chosen, Noise().next())
    weighted = [values[f"generator/{term.name}"] * weight_of(term, 0) for term in game.phases[1].terms]
    loss = torch.stack(weighted).sum()
    gradients = {
        player: torch.autograd.grad(loss, game.player(player).parameters(), retain_graph=True, allow_unused=True)
        for player in ("generator", "projection")
    }
    played = engine(game)
    played.step()
    for player, wanted in gradients.items():
        got = played.optimizers[player].seen[0]  # type: ignore[attr-defined]
        kept = [g for g in wanted if g is not None]
        assert len(got) == len(kept)
        assert relative(_flat(got), _flat(kept)) < 1e-4, player


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@BOTH
def test_each_network_runs_only_as_often_as_the_mathematics_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    played = engine(make(config(name)))
    generator, ran = played.networks["generator"], []
    decoder = generator.ups.register_forward_hook(lambda *_: ran.append("decoder"))
    encoder = generator.stem.register_forward_hook(lambda *_: ran.append("encoder"))
    played.step()
    decoder.remove(), encoder.remove()
    # inputs (FastCUT: once mirrored and once not), then outputs
    assert (ran.count("decoder"), ran.count("encoder")) == (1, 2 if name == "cut" else 3)


@BOTH
def test_micro_batches_have_the_gradient_of_the_batch(name: str) -> None:
    one, two = (engine(make(config(name), recorded=True), accumulate=k) for k in (1, 2))
    for _ in range(2):
        assert one.step().losses == pytest.approx(two.step().losses, rel=1e-4)
    for player in ("critic", "generator", "projection"):
        whole, parts = (e.optimizers[player].seen[0] for e in (one, two))  # type: ignore[attr-defined]
        assert relative(_flat(parts), _flat(whole)) < TOL["accumulated gradient, relative"], player
    assert not two.warnings()


class Half(Team):
    """One of two threads that average as two processes would."""

    def __init__(self, rank: int, meet: threading.Barrier, given: dict[int, list[Tensor]]) -> None:
        super().__init__(rank, 2)
        object.__setattr__(self, "meet", meet)
        object.__setattr__(self, "given", given)

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        self.given[self.rank] = [tensor.clone() for tensor in tensors]  # type: ignore[attr-defined]
        self.meet.wait(60)  # type: ignore[attr-defined]
        for index, tensor in enumerate(tensors):
            tensor.copy_((self.given[0][index] + self.given[1][index]) / 2)  # type: ignore[attr-defined]
        self.meet.wait(60)  # type: ignore[attr-defined]

    def same_(self, tensors: Sequence[Tensor]) -> None:
        pass


@BOTH
def test_two_processes_have_the_gradient_of_one(name: str) -> None:
    alone = engine(make(config(name), recorded=True))
    meet, given = threading.Barrier(2), dict[int, list[Tensor]]()
    halves = [
        Engine(
            make(config(name), recorded=True),
            Noise(2, 2 * rank),
            Settings(channels_last=False),
            Half(rank, meet, given),
        )
        for rank in (0, 1)
    ]
    reports: dict[int, list[Any]] = {0: [], 1: []}
    threads = [
        threading.Thread(target=lambda r=rank: reports[r].extend(halves[r].step().losses for _ in range(2)))
        for rank in (0, 1)
    ]
    for thread in threads:
        thread.start()
    wanted = [alone.step().losses for _ in range(2)]
    for thread in threads:
        thread.join(120)
    for got in reports.values():
        assert len(got) == 2 and all(a == pytest.approx(b, rel=1e-4) for a, b in zip(got, wanted, strict=True))
    for player in ("critic", "generator", "projection"):
        one, other, whole = (e.optimizers[player].seen[0] for e in (*halves, alone))  # type: ignore[attr-defined]
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert relative(_flat(one), _flat(whole)) < TOL["accumulated gradient, relative"], player


@BOTH
def test_a_resumed_run_ends_bit_for_bit_the_same(name: str) -> None:
    left_alone = engine(make(config(name)))
    for _ in range(4):
        left_alone.step()
    killed = engine(make(config(name)))
    for _ in range(2):
        killed.step()
    state = copy.deepcopy(killed.state_dict())
    torch.manual_seed(99)  # other weights and numbers, which the state replaces
    resumed = Engine(games.make(config(name), Side(), Side()), Noise(), Settings(channels_last=False, seed=5))
    resumed.load_state_dict(state)
    for _ in range(2):
        resumed.step()
    assert differences(resumed.state_dict(), left_alone.state_dict()) == []
    assert differences(resumed.state_dict(), state) != []


def test_all_three_learn() -> None:
    played = engine(make(config(lr=2e-3)))
    before = {name: copy.deepcopy(network.state_dict()) for name, network in played.game.networks().items()}
    losses = [played.step().losses for _ in range(30)]
    assert not any(torch.equal(_flat(list(before[n].values())), _flat(list(net.state_dict().values())))
                   for n, net in played.game.networks().items())  # fmt: skip
    early, late = (sum(step["generator/contrast"] for step in part) / 5 for part in (losses[:5], losses[-5:]))
    assert late < 0.9 * early


def test_relativistic_losses_look_at_both() -> None:
    assert not engine(make(config(loss="rpgan"))).step().skipped


def test_sides_of_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"one encoder.*--game cyclegan"):
        games.make(config(), Side(channels=1), Side())


def test_a_generator_without_an_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match="--generator resnet"):
        games.make(config(generator="unet"), Side(), Side())


def test_grey_pictures_have_features_too() -> None:
    torch.manual_seed(0)
    game = games.make(config(), Side(channels=1), Side(channels=1))
    projection: Any = game.networks()["projection"]
    assert projection.layers[0][0].in_features == 1
