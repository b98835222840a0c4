"""A super-resolution training step: ours against the way peers write it, on the same networks.

    python benchmarks/superres_training.py [--rounds 9] [--steps 500] [--json FILE]

SRVGGNetCompact (16 convolutions) ×4 with a patch critic, 32 → 128 pixels, batch 4. The peers' way: fp32, contiguous
layout, the generator run once for each player, separate Adam loops, gradients through the critic's parameters in the
generator's step. Ours: the engine with one generator pass, channels_last, fused Adam and bf16. The second table holds
the loss curves of the engine in fp32 against the peers' loop over `--steps` steps from the same start and batches.
"""

from __future__ import annotations

import copy
import statistics

import torch
from common import Memory, paired, parser, ratio, report
from torch.nn.functional import softplus

from gantk_superres import networks
from gantoolkit import losses
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Context, Game, Phase, Player, Term

GENERATOR = {"arch": "srvgg", "scale": 4, "channels": 64, "convs": 16}
CRITIC = {"arch": "patch", "channels": 32}
ADVERSARIAL = 0.01


def memory() -> Memory:
    """Eight batches of random pairs."""
    rng = torch.Generator().manual_seed(0)
    high = [torch.rand(4, 3, 128, 128, generator=rng) for _ in range(8)]
    return Memory([{"hr": h, "lr": torch.nn.functional.avg_pool2d(h, 4)} for h in high])


def players() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    return networks.build(GENERATOR), networks.build_critic(CRITIC)


def ours(generator: torch.nn.Module, critic: torch.nn.Module, precision: str, channels_last: bool) -> Engine:
    """The game as the toolkit plays it."""
    rpgan = losses.adversarial("rpgan")

    def fake(ctx: Context) -> torch.Tensor:
        return ctx.share("fake", lambda: ctx.networks["generator"](ctx["lr"]).float(), owner="generator")

    def judged(ctx: Context) -> torch.Tensor:
        return rpgan.critic(ctx.networks["critic"](ctx["hr"]), ctx.networks["critic"](fake(ctx)))

    def answered(ctx: Context) -> torch.Tensor:
        with torch.no_grad():
            real = ctx.networks["critic"](ctx["hr"])
        return rpgan.generator(real, ctx.networks["critic"](fake(ctx)))

    def pixel(ctx: Context) -> torch.Tensor:
        return (fake(ctx) - ctx["hr"]).abs().mean()

    game = Game(
        [
            Player("critic", {"critic": critic}, lr=1e-4, betas=(0.9, 0.99)),
            Player("generator", {"generator": generator}, lr=1e-4, betas=(0.9, 0.99)),
        ],
        [
            Phase("critic", "critic", [Term("adversarial", judged)]),
            Phase("generator", "generator", [Term("pixel", pixel), Term("adversarial", answered, ADVERSARIAL)]),
        ],
    )
    settings = Settings(precision=precision, channels_last=channels_last)  # type: ignore[arg-type]
    return Engine(game, memory(), settings)


class Peers:
    """The same game as it is commonly written by hand."""

    def __init__(self, generator: torch.nn.Module, critic: torch.nn.Module) -> None:
        self.generator, self.critic, self.batches = generator.train(), critic.train(), memory()
        self.g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.d_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def step(self) -> dict[str, float]:
        batch = self.batches.next()
        self.d_optimizer.zero_grad()
        fake = self.generator(batch["lr"])
        judged = softplus(-(self.critic(batch["hr"]) - self.critic(fake.detach()))).mean()
        judged.backward()
        self.d_optimizer.step()
        self.g_optimizer.zero_grad()
        fake = self.generator(batch["lr"])
        pixel = (fake - batch["hr"]).abs().mean()
        answered = softplus(-(self.critic(fake) - self.critic(batch["hr"]))).mean()
        (pixel + ADVERSARIAL * answered).backward()
        self.g_optimizer.step()
        return {
            "critic/adversarial": judged.item(),
            "generator/pixel": pixel.item(),
            "generator/adversarial": answered.item(),
        }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--steps", type=int, default=500, help="of the loss curves; 0 leaves them out")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    generator, critic = players()
    peers = Peers(copy.deepcopy(generator), copy.deepcopy(critic))
    ways = {"peers' way: fp32, contiguous, generator twice": peers.step}
    for name, precision, layout in (
        ("engine, fp32, contiguous", "fp32", False),
        ("engine, fp32, channels_last", "fp32", True),
        ("engine, bf16, channels_last", "bf16", True),
    ):
        ways[name] = ours(copy.deepcopy(generator), copy.deepcopy(critic), precision, layout).step
    seconds = paired(ways, arguments.rounds)
    slow = next(iter(seconds.values()))
    rows = [[name, statistics.median(s) * 1000, ratio(slow, s)] for name, s in seconds.items()]
    report("SRVGG ×4 with a patch critic, 32 → 128, batch 4", ["way", "ms a step", "speed-up"], rows, arguments)
    if arguments.steps:
        curves(generator, critic, arguments.steps)


def curves(generator: torch.nn.Module, critic: torch.nn.Module, steps: int) -> None:
    """Print how far the losses of engine and hand-written loop are apart."""
    peers = Peers(copy.deepcopy(generator), copy.deepcopy(critic))
    engine = ours(copy.deepcopy(generator), copy.deepcopy(critic), "fp32", False)
    half = ours(copy.deepcopy(generator), copy.deepcopy(critic), "bf16", True)
    worst: dict[str, float] = {}
    ends: dict[str, list[float]] = {}
    for step in range(steps):
        expected, got, fast = peers.step(), engine.step().losses, half.step().losses
        for name, value in expected.items():
            worst[name] = max(worst.get(name, 0.0), abs(value - got[name]) / max(abs(value), 1e-6))
            if step >= steps - 50:
                ends.setdefault(name, []).append((fast[name] - value) / value)
    print(f"\n{steps} steps from the same start: largest relative difference of the losses, engine fp32 against peers;")
    print("and bf16 against peers, mean over the last 50 steps")
    for name, value in worst.items():
        print(f"  {name:<24}{value:.2e}   {statistics.mean(ends[name]):+.2%}")


if __name__ == "__main__":
    main()
