"""A zoo of games that truly fail, and of healthy ones: which gauge gives alarm, and when.

    python benchmarks/gauge_zoo.py [--seeds 2 3 4] [--runs NAME …] [--cost] [--json FILE]

Each failing game must set off the gauge that is made for it, each healthy game none: exit code 1 otherwise. Whether a
game fails or is healthy is not asked from the gauges but measured after its last step ("evidence"); a game that does
not behave as its row says counts as a failure of the zoo. --cost measures what the gauges add to a DCGAN step.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

sys.path.insert(0, str(Path(__file__).parent))
import common
import engine_step

from gantoolkit import losses
from gantoolkit.alarms import LIMITS
from gantoolkit.engine import Diverged, Engine, Settings
from gantoolkit.game import Context, Game, Phase, Player, Step, Term
from gantoolkit.gauges import quietly, standard, verdicts, watch

NOISE = 16
GAUGES = ("equilibrium", "instability", "collapse")


@dataclass
class Run:
    """One game of the zoo; `fails` names the gauge that has to fire, "" for a healthy game."""

    name: str
    fails: str
    loss: str
    data: Callable[[], Tensor]
    truth: Callable[[Played], tuple[bool, str]]  # whether the game is what its row says, and the evidence
    steps: int = 1500
    batch: int = 64
    rate: float = 1e-3
    critic_rate: float = 0.0  # 0: as the generator's
    betas: tuple[float, float] = (0.5, 0.999)
    gamma: float = 0.0  # of R1 and R2
    width: int = 128
    critic_width: int = 128
    depth: int = 3
    spectral: bool = False  # spectral norm in the critic
    normal: bool = False  # batch normalisation in the generator
    descent: bool = False  # the generator moves by plain gradient descent
    shots: int = 0  # train on so many samples only; others are held out


@dataclass
class Played:
    """A game after its last step: what the gauges said, and what it left."""

    run: Run
    seed: int
    reals: Tensor
    first: Tensor  # fakes before the first step
    looks: list[Tensor] = field(default_factory=list)  # fakes now and then in the second half, the last at the end
    alarms: list[tuple[int, str, str]] = field(default_factory=list)  # nimg, gauge, text
    curves: list[dict[str, float]] = field(default_factory=list)  # readings at each window's end
    norms: list[float] = field(default_factory=list)
    known: float = 0.5  # P(D(train) > D(held out))
    diverged: bool = False

    @property
    def last(self) -> Tensor:
        return self.looks[-1]


def ring(shift: float = 0.0) -> Tensor:
    """20,000 points of the ring of 8 Gaussians, radius 1, σ .01 (the protocol of PacGAN), moved along both axes."""
    generator = torch.Generator().manual_seed(11)
    angle = torch.randint(0, 8, (20_000,), generator=generator) * (torch.pi / 4)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.01 * torch.randn(20_000, 2, generator=generator) + shift


def digits() -> Tensor:
    """The 1,797 digits of 8×8 that come with scikit-learn, as pictures N×1×8×8 in -1..1, in a fixed random order."""
    pictures = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    return pictures[torch.randperm(len(pictures), generator=torch.Generator().manual_seed(11))]


class Rows:
    """Batches of rows drawn at random."""

    def __init__(self, rows: Tensor, batch: int, seed: int) -> None:
        self.rows, self.batch = rows, batch
        self.generator = torch.Generator().manual_seed(seed)

    def next(self) -> Mapping[str, Any]:
        return {"image": self.rows[torch.randint(len(self.rows), (self.batch,), generator=self.generator)]}

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])


def dense(sizes: Sequence[int], *, spectral: bool = False, normal: bool = False) -> list[nn.Module]:
    """Linear layers with leaky ReLUs between them, and spectral or batch normalisation."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        linear = nn.Linear(a, b)
        layers.append(spectral_norm(linear) if spectral else linear)
        layers += [nn.BatchNorm1d(b)] * normal + [nn.LeakyReLU(0.2)]
    return layers[: -2 if normal else -1]


def build(run: Run, rows: Tensor, held_out: Tensor, seed: int) -> Game:
    """The run's game with its gauges."""
    torch.manual_seed(seed)
    shape, size = rows.shape[1:], rows[0].numel()
    generator = nn.Sequential(
        *dense([NOISE, *[run.width] * run.depth, size], normal=run.normal), nn.Unflatten(1, shape)
    )
    if len(shape) == 3:
        generator.append(nn.Tanh())
    critic = nn.Sequential(nn.Flatten(), *dense([size, *[run.critic_width] * run.depth, 1], spectral=run.spectral))
    loss = losses.adversarial(run.loss)

    def fake(ctx: Context) -> Tensor:
        return ctx.share("fake", lambda: ctx.networks["generator"](ctx.randn(NOISE)), owner="generator")

    def judged(ctx: Context) -> Tensor:
        judge, real, made = ctx.networks["critic"], ctx["image"], fake(ctx)
        if not run.gamma:
            scores = judge(real), judge(made)
            watch(ctx, *scores)
            return loss.critic(*scores)
        real_scores, r1 = losses.penalised_logits(judge, real)
        fake_scores, r2 = losses.penalised_logits(judge, made)
        watch(ctx, real_scores, fake_scores)
        return loss.critic(real_scores, fake_scores) + run.gamma / 2 * (r1.mean() + r2.mean())

    def answered(ctx: Context) -> Tensor:
        judge = ctx.networks["critic"]
        return loss.generator(judge(ctx["image"]), judge(fake(ctx)))

    def sample(n: int, draws: torch.Generator) -> Tensor:
        with quietly(generator):
            return generator(torch.randn(n, NOISE, generator=draws))

    def judge(draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        with quietly(generator, critic):
            made = generator(torch.randn(128, NOISE, generator=draws))
            some = rows[torch.randint(len(rows), (128,), generator=draws)]
            return critic(some), critic(made), critic(held_out[:128])

    return Game(
        [
            Player("critic", {"critic": critic}, lr=run.critic_rate or run.rate, betas=run.betas),
            Player(
                "generator",
                {"generator": generator},
                lr=run.rate,
                betas=run.betas,
                optimizer=(lambda parameters, lr, betas: torch.optim.SGD(parameters, lr)) if run.descent else None,
            ),
        ],
        [
            Phase("critic", "critic", [Term("adversarial", judged)]),
            Phase("generator", "generator", [Term("adversarial", answered)]),
        ],
        gauges=standard(reals=rows[:512], sample=sample, judge=judge, seed=seed),
    )


def play(run: Run, seed: int) -> Played:
    """Play the run to its end and note what the gauges say on the way."""
    rows = run.data()
    held_out = rows[run.shots :][:500] if run.shots else rows[-500:]
    rows = rows[: run.shots] if run.shots else rows[:-500]
    game = build(run, rows, held_out, seed)
    engine = Engine(game, Rows(rows, run.batch, seed), Settings(seed=seed, channels_last=False))
    generator, critic = (game.networks()[name] for name in ("generator", "critic"))
    noise = torch.randn(1000, NOISE, generator=torch.Generator().manual_seed(99))
    with quietly(generator):
        first = generator(noise)
    played = Played(run, seed, rows, first)
    for _ in range(run.steps):
        try:
            step = engine.step()
        except Diverged:
            played.diverged = True
            break
        for gauge in game.gauges:
            played.alarms += [(step.nimg, alarm.gauge, alarm.text) for alarm in gauge.alarms()]
        if step.step % LIMITS.window == 0:
            readings = {name: value for gauge in game.gauges for name, value in gauge.readings().items()}
            played.curves.append({"nimg": step.nimg, **readings})
            played.norms.append(max(step.grad_norm.values()))
        if step.step > run.steps / 2 and step.step % 100 == 0:
            with quietly(generator):
                played.looks.append(generator(noise))
    with quietly(generator, critic):
        played.looks.append(generator(noise))
        played.known = float(verdicts(critic(rows[:500]), critic(played.last), critic(held_out))["critic/known"])
    return played


# ---- what is true, whatever the gauges say ----


def modes(played: Played) -> float:
    """Modes of the ring with a quarter of their share of the fakes within .3 of their centre: the median look."""
    angle = torch.arange(8) * (torch.pi / 4)
    centres = torch.stack([angle.cos(), angle.sin()], 1)
    near = [(torch.cdist(fakes, centres) < 0.3).float().mean(0) for fakes in played.looks]
    return statistics.median(int((share > 0.25 / 8).sum()) for share in near)


def collapsed_ring(played: Played) -> tuple[bool, str]:
    return modes(played) <= 4, f"{modes(played):g} of 8 modes"


def whole_ring(played: Played) -> tuple[bool, str]:
    return modes(played) == 8, f"{modes(played):g} of 8 modes"


def good_digits(played: Played) -> tuple[bool, str]:
    """Fakes are as near to a real digit as another real digit is (within 40 %), and as varied (within 20 %)."""
    reals, fakes = played.reals[:1000].flatten(1), played.last.flatten(1)
    usual = torch.cdist(reals, reals).kthvalue(2).values.mean()
    near = float(torch.cdist(fakes, reals).amin(1).mean() / usual)
    spread = float(torch.pdist(fakes).mean() / torch.pdist(reals).mean())
    return near < 1.4 and 0.8 < spread < 1.25, f"distance {near:.2f}, spread {spread:.2f} of the reals'"


def ran_away(played: Played) -> tuple[bool, str]:
    """The gradients' largest size is a hundred times their first window's, or the game stopped as diverged."""
    growth = max(played.norms) / played.norms[0]
    text = "diverged" if played.diverged else f"gradients grew {growth:.0f}-fold"
    return played.diverged or growth > 100, text


def by_heart(played: Played) -> tuple[bool, str]:
    return played.known > 0.8, f"{played.known:.0%} of training digits score above held-out ones"


def stands_still(played: Played) -> tuple[bool, str]:
    """The fakes' mean has gone less than a fifth of the way to the data."""
    target = played.reals.mean(0)
    left = float((played.last.mean(0) - target).norm() / (played.first.mean(0) - target).norm())
    return left > 0.8, f"{1 - left:.0%} of the way to the data"


# fmt: off
# fmt: off
RUNS = [
    # failures
    Run("ring, minimax", "collapse", "minimax", ring, collapsed_ring, batch=128, critic_rate=2e-4),
    Run(
        "digits, rate 30 times too large", "instability", "rpgan", digits, ran_away,
        betas=(0.0, 0.99), rate=0.03, gamma=1.0,
    ),
    Run(
        "100 digits, no penalty", "equilibrium", "nonsaturating", digits, by_heart,
        steps=1800, rate=3e-4, critic_rate=1e-3, critic_width=256, depth=2, normal=True, shots=100,
    ),
    Run(
        "ring far away, minimax, SGD", "equilibrium", "minimax", lambda: ring(10.0), stands_still,
        rate=0.05, critic_rate=2e-3, width=64, critic_width=64, depth=2, descent=True,
    ),
    # healthy
    Run("ring, RpGAN + R1 + R2", "", "rpgan", ring, whole_ring, batch=128, betas=(0.0, 0.99), gamma=0.02),
    Run("digits, RpGAN + R1 + R2", "", "rpgan", digits, good_digits, batch=128, betas=(0.0, 0.99), gamma=1.0, depth=2),
    Run(
        "digits, hinge + spectral norm", "", "hinge", digits, good_digits,
        steps=2500, batch=128, betas=(0.0, 0.9), rate=2e-4, critic_rate=1e-3, depth=2, spectral=True, normal=True,
    ),
]
# fmt: on


def judge_run(played: Played) -> tuple[bool, list[Any]]:
    """Whether the run is what its row says and the gauges said so; the table's row."""
    true, evidence = played.run.truth(played)
    first: dict[str, int] = {}
    for nimg, gauge, _ in played.alarms:
        first.setdefault(gauge, nimg)
    fine = true and (played.run.fails in first if played.run.fails else not first)
    cells = [f"fired at {first[gauge]:,}" if gauge in first else "silent" for gauge in GAUGES]
    expected = played.run.fails or "none"
    return fine, [played.run.name, played.seed, evidence, expected, *cells, "yes" if fine else "NO"]


def cost() -> list[list[Any]]:
    """What the gauges add to a DCGAN step at 32², batch 64, in CPU time: each part alone, shared out to the steps."""
    nets = engine_step.networks()
    generator, critic = nets["generator"], nets["critic"]
    step = engine_step.engine(nets, "fp32")
    reals = torch.rand(512, 3, 32, 32) * 2 - 1
    logits = torch.randn(2, engine_step.BATCH, 1)

    def sample(n: int, draws: torch.Generator) -> Tensor:
        with quietly(generator):
            return generator(torch.randn(n, engine_step.NOISE, generator=draws))

    def judge(draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        with quietly(critic):
            made = sample(256, draws)
            return critic(reals[:256]), critic(made), critic(reals[256:])

    gauges = standard(reals=reals, sample=sample, judge=judge)
    report = Step(1, 1, {"a": 1.0, "b": 1.0}, {"critic": 1.0, "generator": 1.0}, {f"critic/{n}": 1.0 for n in "abcde"})

    def look() -> None:
        verdicts(logits[0], logits[1])
        for gauge in gauges:
            gauge.observe(report)

    def milliseconds(work: Callable[[], Any], count: int) -> float:
        found = []
        for _ in range(5):
            start = time.process_time()
            for _ in range(count):
                work()
            found.append((time.process_time() - start) / count * 1e3)
        return statistics.median(found)

    whole = milliseconds(step, 3)
    nimg = itertools.count(1)
    rows = [("watch and observe", milliseconds(look, 2 * LIMITS.window), 1.0)]
    for gauge in gauges:
        if (probe := getattr(gauge, "probe", None)) is not None:
            due = lambda g=gauge, p=probe: g.observe(Step(next(nimg) * p.every_nimg, 1))  # noqa: E731
            rows.append((f"probe of {gauge.name}", milliseconds(due, 2), probe.every_nimg / engine_step.BATCH))
    table: list[list[Any]] = [[name, ms, every, ms / every / whole] for name, ms, every in rows]
    return [*table, ["all, against a step", whole, 1.0, sum(row[3] for row in table)]]


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4], help="0 and 1 chose the limits")
    parser.add_argument("--runs", nargs="+", choices=[run.name for run in RUNS], metavar="NAME", help="only these")
    parser.add_argument("--cost", action="store_true", help="measure the cost instead")
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.cost:
        rows = cost()
        common.report("Gauges: CPU time", ["what", "ms", "every steps", "share of a step"], rows, options)
        return int(rows[-1][-1] > 0.02)
    verdict, table = True, []
    for run in RUNS:
        for seed in options.seeds if not options.runs or run.name in options.runs else []:
            played = play(run, seed)
            fine, row = judge_run(played)
            verdict = verdict and fine
            table.append(row)
            print(*row, *(f"\n    {nimg:,} {gauge}: {text}" for nimg, gauge, text in played.alarms), flush=True)
    common.report("Zoo of games", ["game", "seed", "evidence", "gauge", *GAUGES, "as it should"], table, options)
    return int(not verdict)


if __name__ == "__main__":
    sys.exit(main())
