"""A training on disk: stages, checkpoints, log, samples, scores, signals and roll-back around the engine.

    RUN/config.json     the resolved config the run can be repeated from, versions included
    RUN/log.jsonl       one row a line; RUN/events/ the same for TensorBoard
    RUN/samples/        pictures at fixed inputs
    RUN/checkpoints/    the newest few and the best
    RUN/model/          what the user keeps
    RUN/report.html     the picture of the run

Running the same command again goes on from the newest checkpoint that verifies.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gantoolkit import checkpoint, devices
from gantoolkit.data import Batches, Dataset
from gantoolkit.distributed import Team
from gantoolkit.engine import Diverged, Engine, Settings
from gantoolkit.errors import Interrupted, TrainingError
from gantoolkit.game import Alarm, Step
from gantoolkit.looks import Look
from gantoolkit.metrics import MetricCard
from gantoolkit.model import is_usable
from gantoolkit.plugins import Plugins, current
from gantoolkit.report import write_report
from gantoolkit.rng import seed_everything
from gantoolkit.rundir import CHECKPOINTS, begin, identity, refuse_another, refuse_changed
from gantoolkit.runlog import RunLog, SilentLog
from gantoolkit.signals import Stop
from gantoolkit.task import Stage, Task, TrainConfig

ROLL_BACKS = 3  # of one stage, before a run that keeps diverging stops
LOWER = 0.5  # the rate's factor after a roll-back


@dataclass
class Outcome:
    """What a finished training leaves: the run's folder, the model's folder (None without a model), the figures."""

    run: Path
    model: Path | None
    nimg: int
    cards: Sequence[Any] = ()


class Training:
    """One training run.

    Args:
        task: what to train.
        config: its validated configuration, "auto" values resolved (`resolve`).
        data: the user's folder, or None.
        run: the run's folder; made when missing, resumed when it holds a run of the same config.
        team: the processes that train together.
        on_row: called with every logged row (the live display).
        command: the command line that started this, for the report.

    Raises:
        UsageError: the folder holds a run with another config.
        TrainingError: the game diverged again and again.
        Interrupted: Ctrl-C or SIGTERM; the state was saved.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        data: Path | None,
        run: Path,
        *,
        team: Team | None = None,
        on_row: Callable[[Mapping[str, Any]], None] = lambda row: None,
        plugins: Plugins | None = None,
        command: Sequence[str] = (),
    ) -> None:
        self.task, self.config, self.data, self.run = task, config, data, run
        self.team, self.on_row = team or Team(), on_row
        self.plugins, self.command = plugins or current(), command
        self.stages = list(task.stages(config))
        self.finished: dict[str, dict[str, Any]] = {}  # stage -> network -> state, as averaged
        self.played: list[list[int]] = []  # [nimg, steps] of each finished stage
        self.best: dict[str, Any] = {}
        self.roll_backs = 0
        self.engine: Engine | None = None
        self._stop = Stop()

    # ---- the run as a whole ----

    def play(self) -> Outcome:
        """Train to the end, or to the next interruption."""
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        seed_everything(self.config.seed)
        self.dataset: Dataset = self.task.dataset(self.config, self.data)  # refused data leaves no folder behind
        ours = self.team.leader and not self.run.exists()
        self._open_run()
        try:
            return self._play_in_run()
        except Exception:
            if ours and not self.total_steps and not checkpoint.listed(self._checkpoints):
                shutil.rmtree(self.run, ignore_errors=True)  # else the mended command would find another run there
            raise

    def _play_in_run(self) -> Outcome:
        """Play with the folder's log open, and tell observers and the log how it ended."""
        status = "failed"
        with RunLog(self.run, tensorboard=self.team.leader) if self.team.leader else SilentLog() as self.log:
            self._notify("gantk_on_run_start", run=self.run, config=self._resolved())
            try:
                with self._stop:
                    outcome = self._play_stages()
                status = "done"
                return outcome
            except Interrupted:
                status = "interrupted"
                raise
            except Exception as error:
                self.log.event(self.total_nimg, str(error) or type(error).__name__, "error")
                raise
            finally:
                self._notify("gantk_on_run_end", run=self.run, status=status)
                if self.team.leader:
                    self.log.event(self.total_nimg, f"run {status}", "info" if status != "failed" else "error")
                    write_report(self.run)

    @property
    def total_nimg(self) -> int:
        """Real images shown in all stages so far."""
        return sum(nimg for nimg, _ in self.played) + (self.engine.nimg if self.engine else 0)

    @property
    def total_steps(self) -> int:
        """Steps of the engine in all stages so far."""
        return sum(steps for _, steps in self.played) + (self.engine.steps if self.engine else 0)

    def _play_stages(self) -> Outcome:
        resumed = checkpoint.newest(self._checkpoints) if self._checkpoints.is_dir() else None
        state = checkpoint.load(resumed) if resumed else None
        if state is not None:
            self._warn_of_damage(resumed)
            self.played, self.finished = state["played"], state["finished"]
            self.best, self.roll_backs = state["best"], state["roll_backs"]
            self.log.truncate_after(state["total_nimg"], state["total_steps"])
        else:
            self.log.truncate_after(-1, 0)  # what was killed before its first checkpoint starts anew
            for note in getattr(self.dataset, "notes", ()):
                self._event(f"data: {note}")
        repeated = len(self.played) == len(self.stages)
        while len(self.played) < len(self.stages):
            stage = self.stages[len(self.played)]
            engine = self._start(stage)
            if state is not None:
                engine.load_state_dict(state["engine"])
                self._event(f"resumed at {self.total_nimg} images from {resumed.name if resumed else ''}")
                state = None
            elif self.played:
                self._save()
            self._play_stage(engine, stage)
            self.finished[stage.name] = self.look.averaged()
            self.played.append([engine.nimg, engine.steps])
            self.engine, self.roll_backs = None, 0
            if len(self.played) == len(self.stages):
                self._save()  # a finished run that is started again has nothing left to do
        return self._finish(repeated)

    def _warn_of_damage(self, resumed: Path | None) -> None:
        for path in checkpoint.listed(self._checkpoints):
            if path == resumed:
                return
            self._event(f"checkpoint {path.name} is damaged ({checkpoint.verify(path)}), passing over it", "warning")

    def _start(self, stage: Stage) -> Engine:
        """Make the stage's game and engine; networks that the stage before had by the same name go on from there."""
        config, team = self.config, self.team
        seed_everything(config.seed + len(self.played))
        game = self.task.game(config, self.dataset, stage.name)
        before = self.finished[self.stages[len(self.played) - 1].name] if self.played else None
        seed = config.seed + 7919 * len(self.played)
        batches = Batches(
            self.dataset, config.batch, seed=seed, rank=team.rank, world=team.world, workers=config.workers
        )
        settings = Settings(
            device=config.device,
            precision=config.precision,  # type: ignore[arg-type]
            accumulate=config.accumulate,
            channels_last=config.channels_last,
            compile=config.compile,
            seed=seed,
        )
        self.engine = engine = Engine(game, batches, settings, team, weights=before)
        if team.world > 1:  # dropout and the like must not be the same for every process's rows
            seed_everything(config.seed + len(self.played) + 104729 * team.rank)
        self.look = Look(self.task, config, self.dataset, engine, self.run, self.log, self.on_row)
        for warning in engine.warnings():
            self._event(warning, "warning")
        return engine

    def _play_stage(self, engine: Engine, stage: Stage) -> None:
        """Steps until the stage's images are shown, with log, samples, scores and checkpoints on the way."""
        config = self.config
        clock, logged_at = time.perf_counter(), engine.nimg
        save_due = False
        if engine.nimg == 0 and self.team.leader:
            self.look.sample(self.total_nimg)
        while engine.nimg < stage.nimg:
            before = engine.nimg
            try:
                step = engine.step()
            except Diverged as error:
                self._roll_back(engine, error)
                clock, logged_at, save_due = time.perf_counter(), engine.nimg, False
                continue
            for where in step.skipped:
                self._event(f"skipped a move: not finite in {where}", "warning")
            if self._alarmed(engine):
                clock, logged_at, save_due = time.perf_counter(), engine.nimg, False
                continue
            last = engine.nimg >= stage.nimg
            if last or _crossed(before, engine.nimg, config.log_nimg):
                seconds = time.perf_counter() - clock
                self._row(engine, step, stage, (engine.nimg - logged_at) / max(seconds, 1e-9))
                clock, logged_at = time.perf_counter(), engine.nimg
            if (last or _crossed(before, engine.nimg, config.sample_nimg)) and self.team.leader:
                self.look.sample(self.total_nimg)
            save_due = save_due or _crossed(before, engine.nimg, config.checkpoint_nimg)
            if last or _crossed(before, engine.nimg, config.score_nimg):
                save_due = self._score(stage) or save_due
            stop = self._asked_to_stop()
            # not amid failures: the state that a roll-back returns to has to be a good one
            if not last and (stop or (save_due and not engine.bad_in_a_row)):
                self._save()
                save_due = False
            if stop and not last:
                raise Interrupted(
                    f"stopped by {stop} after {self.total_nimg} images, all saved in {self.run}",
                    remedy="run the same command again to go on",
                )

    def _finish(self, repeated: bool) -> Outcome:
        """Write the model folder, which a finished run that is `repeated` has; only the leader writes."""
        folder = self.run / "model"
        if repeated and is_usable(folder):
            return Outcome(self.run, folder, self.total_nimg)
        model = self.task.model(self.config, self.dataset, self.finished)
        if model is None:
            return Outcome(self.run, None, self.total_nimg)
        if self.team.leader:
            model.save(folder, force=True)
        return Outcome(self.run, folder, self.total_nimg)

    # ---- on the way ----

    def _row(self, engine: Engine, step: Step, stage: Stage, rate: float) -> None:
        gauges = {name: value for gauge in engine.game.gauges for name, value in gauge.readings().items()}
        row = self.log.step(
            self.total_nimg,
            self.total_steps,
            stage.name,
            rate=rate,
            losses=step.losses,
            grad_norm=step.grad_norm,
            lr={name: optimizer.param_groups[0]["lr"] for name, optimizer in engine.optimizers.items()},
            **({"values": step.values} if step.values else {}),
            **({"gauges": gauges} if gauges else {}),
        )
        self._notify("gantk_on_step", row=row)
        self.on_row(row)

    def _notify(self, hook: str, **values: Any) -> None:
        """Tell observers; one that fails is named in the log and left out from then on."""
        for problem in self.plugins.notify(hook, **values):
            self._event(problem, "warning")

    def _event(self, text: str, level: str = "info") -> None:
        self.on_row(self.log.event(self.total_nimg, text, level))  # type: ignore[arg-type]

    def _score(self, stage: Stage) -> bool:
        """Held-out figures; whether the first of them is the best so far, so that its checkpoint is kept."""
        cards = self.look.score(self.total_nimg, stage.name) if self.team.leader else []
        return self.team.any(bool(cards) and self._is_best(cards[0], stage))

    def _is_best(self, card: MetricCard, stage: Stage) -> bool:
        """Whether it is the best figure of the stage so far, which is noted."""
        value = card.value if card.higher_is_better else -card.value
        if self.best.get("stage") == stage.name and value <= self.best["value"]:
            return False
        self.best = {"stage": stage.name, "value": value, "checkpoint": f"nimg-{self.total_nimg:09d}"}
        return True

    def _save(self) -> None:
        """A checkpoint of everything, written by the leader; between two stages' engines, and at the end."""
        state = {
            "played": self.played,
            "total_nimg": self.total_nimg,
            "total_steps": self.total_steps,
            "finished": self.finished,
            "best": self.best,
            "roll_backs": self.roll_backs,
            "engine": self.engine.state_dict() if self.engine else None,
        }
        if self.team.leader:
            folder = self._checkpoints / f"nimg-{self.total_nimg:09d}"
            if checkpoint.verify(folder):  # missing, or damaged
                shutil.rmtree(folder, ignore_errors=True)
                checkpoint.save(state, folder)
            checkpoint.prune(self._checkpoints, self.config.keep, {self.best.get("checkpoint", "")})
            self._notify("gantk_on_checkpoint", folder=folder, nimg=self.total_nimg)
            write_report(self.run)
        self.team.barrier()

    def _alarmed(self, engine: Engine) -> bool:
        """Say what the gauges say; with `on_alarm`, stop or roll back. Whether the run was rolled back."""
        found = [alarm for gauge in engine.game.gauges for alarm in gauge.alarms()]
        for alarm in found:
            self._event(f"{alarm.gauge}: {alarm.text}; {alarm.remedy}", "warning")
        if self.config.on_alarm == "warn" or not self.team.any(bool(found)):
            return False
        first = found[0] if found else Alarm("a gauge", "alarm on another process", "see its log")
        if self.config.on_alarm == "stop":
            self._save()
            raise TrainingError(f"stopped by the gauge {first.gauge!r}: {first.text}", remedy=first.remedy)
        self._roll_back(engine, TrainingError(f"{first.gauge}: {first.text}", remedy=first.remedy))
        return True

    def _roll_back(self, engine: Engine, error: TrainingError) -> None:
        """Back to the last good checkpoint at a lower rate, or stop with a clear error."""
        self.roll_backs += 1
        good = checkpoint.newest(self._checkpoints) if self._checkpoints.is_dir() else None
        if self.roll_backs > ROLL_BACKS or good is None:
            why = "no checkpoint to go back to" if good is None else f"after {ROLL_BACKS} roll-backs"
            where = f"the game diverged in {error.where}" if isinstance(error, Diverged) else error.what
            raise TrainingError(f"{where}, {why}", remedy=error.remedy) from error
        scale = engine.rate_scale * LOWER
        state = checkpoint.load(good)
        engine.load_state_dict(state["engine"])  # gauges and strengths go back, too
        engine.rate_scale, engine.bad_in_a_row = scale, {}
        self.log.truncate_after(state["total_nimg"], state["total_steps"])
        self._event(f"rolled back to {good.name}: {error.what}; the rate is now ×{scale:g}", "warning")

    # ---- folder, signals ----

    @property
    def _checkpoints(self) -> Path:
        return self.run / CHECKPOINTS

    def _resolved(self) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "data": str(self.data.resolve()) if self.data else None,
            "config": self.config.model_dump(mode="json"),
            "total_nimg": sum(stage.nimg for stage in self.stages),
            "command": list(self.command),
            "processes": self.team.world,
            "versions": devices.describe(),
        }

    def _open_run(self) -> None:
        """Make the run's folder, or check that the run in it is this one."""
        resolved = self._resolved()
        refuse_another(self.run, resolved)
        resolved["dataset"] = identity(self.dataset)  # it may read all of the data: after what is quickly told
        refuse_changed(self.run, resolved["dataset"])
        self.team.barrier()
        if self.team.leader:
            begin(self.run, resolved)
        self.team.barrier()

    def _asked_to_stop(self) -> str:
        if self.team.world == 1:
            return self._stop.name
        flag = torch.tensor([float(bool(self._stop))], device=self.config.device)
        self.team.mean_([flag])
        return (self._stop.name or "another process") if flag.item() else ""


def resolve(config: TrainConfig) -> TrainConfig:
    """The config with "auto" device and precision replaced by what this machine offers."""
    device = devices.pick_device(config.device)
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    return config.model_copy(update={"device": device, "precision": devices.pick_precision(config.precision, device)})


def _crossed(before: int, now: int, every: int) -> bool:
    return before // every != now // every
