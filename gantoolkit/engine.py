"""The one loop that plays a game.

    for each phase that is due: for each move: for each micro-batch: terms → loss → backward; then one optimizer step

The engine knows players, phases and terms; it knows nothing of images, tasks, files or plugins.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gantoolkit import optimizers, rng
from gantoolkit.distributed import Team
from gantoolkit.draws import Draws
from gantoolkit.ema import Average
from gantoolkit.errors import TrainingError, UsageError
from gantoolkit.game import (
    Context,
    Game,
    Phase,
    Player,
    Step,
    Term,
    lazy_correction,
    terms_due,
    trained,
    weight_of,
)
from gantoolkit.schedule import schedule
from gantoolkit.stepbatch import Batches, StepBatch, batch_size

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Settings:
    """How to play, whatever the game is.

    Args:
        device: where the networks live.
        precision: of the networks' forward passes; parameters, fp32 terms and optimizers stay in fp32.
        accumulate: micro-batches a move; the batch must divide by it.
        channels_last: memory layout of 4-D parameters and batches (faster convolutions on CPU and GPU).
        compile: run the networks through `torch.compile`.
        seed: of the engine's own random numbers.
        patience: non-finite moves of one phase in a row before the engine gives up (`Diverged`).
    """

    device: str = "cpu"
    precision: Precision = "fp32"
    accumulate: int = 1
    channels_last: bool = True
    compile: bool = False
    seed: int = 0
    patience: int = 5


class Diverged(TrainingError):
    """Several non-finite moves in a row; `where` names the term or the gradient that the last one came from."""

    def __init__(self, where: str, moves: int) -> None:
        self.where = where
        super().__init__(
            f"{moves} moves in a row were not finite, last in {where}",
            remedy="lower the learning rate or the term's weight, or use --set precision=fp32",
        )


@dataclass
class Counters:
    """How far one phase has come: steps that offered it, plays, and moves that were skipped as non-finite."""

    offered: int = 0
    plays: int = 0
    skipped: int = 0


@dataclass
class Move:
    """What one optimizer step reports; numbers are read back from the device once, at its end."""

    losses: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    grad_norm: float = 0.0
    skipped: str | None = None


class Engine:
    """Plays a game on batches.

    Args:
        game: the players and phases.
        batches: the source of real data; each batch is a mapping whose tensors have the samples first.
        settings: device, precision and the like.
        team: the processes that play together, each on its own rows of the joined batch.
        weights: state dicts by network to start from, loaded when everything that is built late exists.

    Raises:
        UsageError: a batch that does not divide into the micro-batches, a player with nothing to train, a network
            that is still unbuilt after a dry batch.
        Diverged: from `step`, after `settings.patience` non-finite moves of a phase in a row.
    """

    def __init__(
        self,
        game: Game,
        batches: Batches,
        settings: Settings | None = None,
        team: Team | None = None,
        weights: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.game, self.batches = game, batches
        self.settings, self.team = settings or Settings(), team or Team()
        self.device = torch.device(self.settings.device)
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        self.nimg = self.steps = 0
        self.rate_scale = 1.0  # lowered by a roll-back
        self.bad_in_a_row: dict[str, int] = {}  # by phase and the interval of its terms
        self.counters = {phase.name: Counters() for phase in game.phases}
        self.moves = {player.name: 0 for player in game.players}
        self.batch = StepBatch(
            batches,
            game.prepare,
            self.team,
            self.device,
            channels_last=self.settings.channels_last,
            accumulate=self.settings.accumulate,
            seed=self.settings.seed,
        )

        networks = game.networks()
        for network in networks.values():
            network.to(self.device)
            network.train()
        self._dry_run(networks)
        for name, network in networks.items():
            if any(is_lazy(t) for t in (*network.parameters(), *network.buffers())):
                raise UsageError(f"no term uses all of network {name!r}: parts of it are still unbuilt")
            network.to(self.device)  # what was built late, too
            if self.settings.channels_last:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if weights is not None and name in weights:
                network.load_state_dict(weights[name])
        self.team.same_([t.data for net in networks.values() for t in (*net.parameters(), *net.buffers())])
        self.trainable = {p.name: [q for q in p.parameters() if q.requires_grad] for p in game.players}
        for phase in game.phases:
            if not self.trainable[phase.player]:
                raise UsageError(
                    f"player {phase.player!r} has nothing to train",
                    remedy="call requires_grad_(True) on its networks (an earlier engine leaves them frozen)",
                )
        for parameters in self.trainable.values():
            for parameter in parameters:
                parameter.requires_grad_(False)
        run = torch.compile if self.settings.compile else (lambda network: network)
        self.networks: dict[str, Any] = {name: run(network) for name, network in networks.items()}
        # .data: putting a buffer back must not look like a change to a graph that is kept for a later phase
        self._buffers = [b.data for network in networks.values() for b in network.buffers()]
        self._buffers_before = [buffer.clone() for buffer in self._buffers]
        self.correction = {p.name: lazy_correction(game.phases, p.name) for p in game.players}
        self.optimizers = {
            p.name: optimizers.optimizer_of(p, self.trainable[p.name], self.correction[p.name]) for p in game.players
        }
        fp16 = self.settings.precision == "fp16"
        self.scalers = {p.name: torch.amp.GradScaler(self.device.type, enabled=fp16) for p in game.players}
        self.ema = {p.name: Average(p.networks, p.ema_nimg) for p in game.players if p.ema_nimg}
        self.averages = {name: state for average in self.ema.values() for name, state in average.state.items()}

    # ---- playing ----

    def step(self) -> Step:
        """Play every phase that is due, once (or its `repeats`)."""
        before, report = self.nimg, Step(0, 0, averages=self.averages)
        due = [phase for phase in self.game.phases if self.counters[phase.name].offered % phase.every == 0]
        for counters in self.counters.values():
            counters.offered += 1
        for place, phase in enumerate(due):
            counters = self.counters[phase.name]
            for repeat in range(phase.repeats):
                if phase.batch == "fresh" or not self.batch.parts:
                    self.nimg += self.batch.draw(self.nimg)
                batch_stays = phase.batch == "same" or repeat == phase.repeats - 1
                self.batch.later = due[place + 1 :] if batch_stays else ()
                for terms in terms_due(phase, counters.plays):
                    self._record(report, phase, self._move(phase, terms))
                counters.plays += 1
        self.batch.forget()
        for average in self.ema.values():
            average.update(self.nimg - before, self.nimg)
        self.steps += 1
        report.nimg, report.step = self.nimg, self.steps
        if self.game.after_step is not None:
            self.game.after_step(report)
        for gauge in self.game.gauges:
            gauge.observe(report)
        return report

    def _move(self, phase: Phase, terms: list[Term]) -> Move:
        """One optimizer step of the phase's player on the sum of `terms`."""
        player, parameters = self.game.player(phase.player), self.trainable[phase.player]
        optimizer, scaler = self.optimizers[player.name], self.scalers[player.name]
        micro, move = len(self.batch.parts), Move()
        if self._buffers:
            torch._foreach_copy_(self._buffers_before, self._buffers)
        draws = self.batch.draws(self.generator)
        total = torch.zeros((), device=self.device)
        with trained(parameters):
            for index, batch in enumerate(self.batch.parts):
                rows = batch_size(batch)
                draws.rows(index * rows, (index + 1) * rows, micro * rows)
                ctx = self._context(phase, player, batch, draws, index)
                loss = self._loss(ctx, terms, move) / micro
                if loss.requires_grad:
                    scaler.scale(loss).backward()
                total = total + loss.detach()
                for known in self.batch.shared[index].values():  # backward has freed the graphs of the player's own
                    known.graph = known.graph and known.owner != player.name
                for name, value in ctx.values.items():
                    value = torch.as_tensor(value, dtype=torch.float32, device=self.device).detach()
                    move.values[name] = move.values.get(name, 0.0) + value / micro
        grads = [p.grad for p in parameters if p.grad is not None]
        looked_at = [total, *move.losses.values(), *move.values.values()]
        self.team.mean_([*grads, *looked_at])
        if grads:
            scaler.unscale_(optimizer)
        norm = torch.nn.utils.get_total_norm(grads) if grads else torch.zeros_like(total)
        # one transfer from the device for everything that is looked at
        move.grad_norm, loss_now, *rest = torch.stack([norm.float(), *looked_at]).tolist()
        count = len(move.losses)
        move.losses = dict(zip(move.losses, rest[:count], strict=True))
        move.values = dict(zip(move.values, rest[count:], strict=True))
        finite = math.isfinite(loss_now) and math.isfinite(move.grad_norm)
        if finite:
            if player.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, player.clip_norm, norm)
            rate = schedule(player.lr)(self.nimg) * self.rate_scale * self.correction[player.name]
            for group in optimizer.param_groups:
                group["lr"] = rate
            if grads:
                scaler.step(optimizer)
            self.moves[player.name] += 1
        overflow = not finite and math.isfinite(loss_now) and scaler.is_enabled() and scaler.get_scale() > 1
        if grads:
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
        self._judge(phase, terms, move, finite, overflow)
        return move

    def _judge(self, phase: Phase, terms: list[Term], move: Move, finite: bool, overflow: bool) -> None:
        """Count a non-finite move, name its term and undo it; give up after several in a row.

        An fp16 overflow that a smaller loss scale will cure is skipped and counted, but it is no divergence.
        """
        kind = f"{phase.name}/{terms[0].every if terms else 1}"
        if finite:
            self.bad_in_a_row.pop(kind, None)
            return
        guilty = [name for name, value in move.losses.items() if not math.isfinite(value)]
        where = f"term {phase.name}/{guilty[0]}" if guilty else f"the gradient of {phase.player} in {phase.name}"
        move.skipped = f"{where} (fp16 overflow, the loss scale was lowered)" if overflow else where
        if self._buffers:  # batch statistics must not remember what was not finite
            torch._foreach_copy_(self._buffers, self._buffers_before)
        self.counters[phase.name].skipped += 1
        if not overflow:
            self.bad_in_a_row[kind] = self.bad_in_a_row.get(kind, 0) + 1
            if self.bad_in_a_row[kind] >= self.settings.patience:
                self.batch.forget()
                raise Diverged(where, self.bad_in_a_row[kind])

    def _loss(self, ctx: Context, terms: list[Term], move: Move | None = None) -> Tensor:
        """The weighted sum of the terms; each term's plain value is added to the move's report."""
        loss = torch.zeros((), device=self.device)
        for fp32 in (False, True):
            with self._autocast(off=fp32):
                for term in terms:
                    if term.fp32 is fp32:
                        value = term.fn(ctx)
                        if value.ndim:
                            raise UsageError(
                                f"term {ctx.phase.name}/{term.name} is not a scalar",
                                expected="a mean over the samples",
                                actual=f"a tensor of shape {tuple(value.shape)}",
                            )
                        loss = loss + weight_of(term, self.nimg) * value.float()
                        if move is not None:
                            so_far = move.losses.get(term.name, 0.0)
                            move.losses[term.name] = so_far + value.detach().float() / max(1, len(self.batch.parts))
        return loss

    def _autocast(self, off: bool = False) -> Any:
        if self.settings.precision == "fp32" or off:
            return nullcontext()
        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}  # "auto" is resolved before it comes here
        return torch.autocast(self.device.type, dtypes[self.settings.precision])

    def _context(self, phase: Phase, player: Player, batch: Mapping, draws: Draws, index: int) -> Context:
        return Context(
            networks=self.networks,
            batch=batch,
            nimg=self.nimg,
            phase=phase,
            player=player,
            draws=draws,
            shared=self.batch.shared[index],
            noise=self.batch.noise,
            moves=self.moves,
            trainable=self.trainable,
            keep_graph=self.batch.keeps_graph,
        )

    def _record(self, report: Step, phase: Phase, move: Move) -> None:
        report.losses.update({f"{phase.name}/{name}": value for name, value in move.losses.items()})
        report.values.update(move.values)
        report.grad_norm[phase.player] = move.grad_norm
        if move.skipped:
            report.skipped.append(move.skipped)

    # ---- before the first step ----

    def _dry_run(self, networks: Mapping[str, nn.Module]) -> None:
        """Evaluate every term once, so that parts which are built late exist before optimizers and checkpoints.

        Nothing of it is kept: the data's position, all random numbers, buffers, stateful parts and counters are put
        back. (A buffer that is itself built late keeps what its first batch gave it.)
        """
        kept = copy.deepcopy((self.batches.state_dict(), self.rng_state()))
        parts = {name: copy.deepcopy(part.state_dict()) for name, part in self.game.state.items()}
        buffers = {
            name: {key: b.clone() for key, b in network.named_buffers() if not is_lazy(b)}
            for name, network in networks.items()
        }
        self.networks = dict(networks)
        self.trainable = {player.name: [] for player in self.game.players}
        self.nimg += self.batch.draw(self.nimg)
        rows, micro = batch_size(self.batch.parts[0]), len(self.batch.parts)
        for phase in self.game.phases:
            draws = self.batch.draws(self.generator)
            draws.rows(0, rows, rows * micro)
            ctx = self._context(phase, self.game.player(phase.player), self.batch.parts[0], draws, 0)
            self._loss(ctx, list(phase.terms))
        with torch.no_grad():
            for name, network in networks.items():
                for key, buffer in network.named_buffers():
                    if key in buffers[name]:
                        buffer.copy_(buffers[name][key])
        for name, part in self.game.state.items():
            part.load_state_dict(parts[name])
        self.batches.load_state_dict(kept[0])
        self.load_rng_state(kept[1])
        self.batch.forget()
        self.nimg = 0

    def warnings(self) -> list[str]:
        """What cannot hold in this game: promises about micro-batches and processes that batch statistics break."""
        if self.settings.accumulate == 1 and self.team.world == 1:
            return []
        how = f"{self.settings.accumulate} micro-batches on {self.team.world} processes"
        return [f"{what}: {how} do not give the full batch's gradient" for what in self.game.couplings()]

    # ---- state ----

    def rng_state(self) -> dict[str, Any]:
        """Every random number generator that a step may draw from, on this process."""
        return rng.state(self.generator, self.device)

    def load_rng_state(self, state: Mapping[str, Any]) -> None:
        rng.load(state, self.generator, self.device)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on bit by bit: a tree of tensors and JSON values.

        Collective: every process calls it, since each has random numbers of its own.
        """
        return {
            "nimg": self.nimg,
            "steps": self.steps,
            "bad_in_a_row": dict(self.bad_in_a_row),
            "rate_scale": self.rate_scale,
            "moves": dict(self.moves),
            "counters": {name: vars(counters).copy() for name, counters in self.counters.items()},
            "networks": {name: network.state_dict() for name, network in self.game.networks().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
            "ema": {name: average.state_dict() for name, average in self.ema.items()},
            "game": self.team.gather({name: part.state_dict() for name, part in self.game.state.items()}),
            "gauges": {gauge.name: gauge.state_dict() for gauge in self.game.gauges},
            "batches": self.batches.state_dict(),
            "rng": self.team.gather(self.rng_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state. With another number of processes than saved, only their own dropout-like
        random numbers start anew; data, noise and weights go on."""
        self.nimg, self.steps = state["nimg"], state["steps"]
        bad, game = state["bad_in_a_row"], state["game"]
        self.bad_in_a_row = dict(bad) if isinstance(bad, Mapping) else {}  # a number in files of the first days
        self.rate_scale = state["rate_scale"]
        self.moves = dict(state["moves"])
        self.counters = {name: Counters(**counters) for name, counters in state["counters"].items()}
        for name, network in self.game.networks().items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, scaler in self.scalers.items():
            scaler.load_state_dict(state["scalers"][name])
        for name, average in self.ema.items():
            average.load_state_dict(state["ema"][name])
        place = self.team.rank if self.team.rank < len(state["rng"]) else 0
        for name, part in self.game.state.items():
            part.load_state_dict(copy.deepcopy((game if isinstance(game, Mapping) else game[place])[name]))
        for gauge in self.game.gauges:
            if gauge.name in state.get("gauges", {}):  # files of the first days have none
                gauge.load_state_dict(copy.deepcopy(state["gauges"][gauge.name]))
        self.batches.load_state_dict(state["batches"])
        rng.load(state["rng"][place], self.generator, self.device, own=place == self.team.rank)
