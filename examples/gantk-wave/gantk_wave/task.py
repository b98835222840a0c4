"""The task: a small 1-D generator learns plucked strings from a critic that looks at their spectrograms."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gantk_wave import sounds
from gantoolkit import Cosine, Game, Model, Options, Phase, Player, Stage, Task, Term, TrainConfig, gauges, losses
from gantoolkit.errors import UsageError
from gantoolkit.images import contact_sheet
from gantoolkit.metrics import MetricCard
from gantoolkit.model import find
from gantoolkit.task import option

LATENT, FRAMES, HOP = 32, 32, sounds.LENGTH // 32
NOTES = len(sounds.PITCHES)
OSCILLATORS = 220 * 2 ** (np.arange(-1, 50) / 12)  # Hz: to the eighth harmonic of the highest pitch, and one more


class Config(TrainConfig):
    """Learn the sound of a plucked string, at thirteen pitches."""

    nimg: int = option(24_000, "sounds to show to the critic", gt=0)
    batch: int = option(8, "sounds a step", gt=0)
    width: int = option(64, "channels of both networks", gt=0)
    lr: float = option(2e-3, "learning rate of both players, falling along a cosine", gt=0)
    gamma: float = option(0.5, "strength of the penalties R1 and R2", ge=0)


class RunOptions(Options):
    """Make sounds and write them as .wav files."""

    model: str = option("runs/wave", "a model folder or a run", "-m")
    number: int = option(8, "how many sounds", "-n", gt=0)
    note: int | None = option(None, "semitones above A3, 0 to 12; all in turn by default", ge=0, lt=NOTES)
    seed: int = option(0, "sound i is made from seed + i", ge=0)
    out: Path = option(Path("sounds"), "folder for the files", "-o")
    force: bool = option(False, "overwrite existing files", "-f")


class EvalOptions(Options):
    """Measure a model's sounds against real ones: harmonicity, pitch, spectral distance."""

    model: str = option("runs/wave", "a model folder or a run", "-m")
    number: int = option(1_000, "how many sounds", "-n", gt=97)  # a covariance of 96 numbers
    seed: int = option(0, "of the sounds", ge=0)


class Strings:
    """Real data: an endless supply, drawn from the generator of random numbers that belongs to each item."""

    def __len__(self):
        return NOTES

    def item(self, index, rng):
        return {"sound": sounds.pluck(sounds.PITCHES[index], rng), "note": torch.tensor(index)}


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, x):
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))


class Generator(nn.Module):
    """(N, 32), notes (N,) → (N, 4096): convolutions over time steer the loudness of 51 oscillators, a semitone apart.

    Each has a sine and a cosine, so that its steering moves its pitch as well; between two of the 33 frames loudness
    goes in a straight line. Which oscillators make a string, how they fade, how far off a harmonic is: all is learnt.
    """

    def __init__(self, width):
        super().__init__()
        self.start = nn.Linear(LATENT + NOTES, width * (FRAMES + 1))
        self.body = nn.Sequential(Residual(width), Residual(width), nn.LeakyReLU(0.2))
        self.steer = nn.Conv1d(width, 2 * len(OSCILLATORS), 3, padding=1)
        nn.init.normal_(self.steer.weight, std=0.01)  # softly at first
        phase = 2 * np.pi * OSCILLATORS[:, None] * np.arange(sounds.LENGTH) / sounds.RATE
        waves = np.concatenate([np.sin(phase), np.cos(phase)]).reshape(-1, FRAMES, HOP)
        ramp = np.arange(HOP) / HOP
        bank = np.concatenate([waves * (1 - ramp), waves * ramp]).transpose(1, 0, 2)  # frame, oscillator, sample
        self.register_buffer("bank", torch.from_numpy(bank.astype(np.float32)), persistent=False)

    def forward(self, z, note):
        start = self.start(torch.cat([z, F.one_hot(note, NOTES)], 1)).unflatten(1, (-1, FRAMES + 1))
        loudness = self.steer(self.body(start)).float()
        ends = torch.cat([loudness[..., :-1], loudness[..., 1:]], 1)
        return torch.einsum("ncf,fcs->nfs", ends, self.bank).flatten(1)


class Critic(nn.Module):
    """Levels (N, 513, 17), notes (N,) → (N,): convolutions over time, the bins as channels; one score a note."""

    def __init__(self, width):
        super().__init__()
        self.start = nn.Conv1d(513, width, 1)
        self.body = nn.Sequential(Residual(width), Residual(width), nn.LeakyReLU(0.2), nn.Flatten())
        self.score = nn.Linear(width * 17, NOTES)

    def forward(self, level, note):
        return self.score(self.body(self.start(level))).gather(1, note[:, None])[:, 0]


def levels(sound):
    """(N, 4096) → (N, 513, 17): log-power spectrogram, about -1.3 (silence) to 1.9.

    The critic looks at these, and its penalties are taken there: in the samples' own space a quiet bin would weigh
    a thousand times as much as a loud one.
    """
    window = torch.hann_window(1024, device=sound.device)
    spectrum = torch.stft(sound.float(), 1024, 256, window=window, normalized=True, return_complex=True)
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-3).log() / 3 + 1


class Wave(Task):
    name, summary = "wave", "learn the sound of a plucked string"
    Config, RunOptions, EvalOptions = Config, RunOptions, EvalOptions

    def dataset(self, config, folder):
        return Strings()

    def stages(self, config):
        return [Stage("wave", config.nimg)]

    def game(self, config, dataset, stage):
        def fake(ctx):
            def make():
                return levels(ctx.networks["generator"](ctx.randn(LATENT), ctx["note"]))

            return ctx.share("fake", make, owner="generator")

        def real(ctx):
            return ctx.memo("real", lambda: levels(ctx["sound"]))

        def judged(ctx):  # logits and squared gradient norms, reals first: two terms share one pass
            def make():
                both, notes = torch.cat([real(ctx), fake(ctx)]), ctx["note"].repeat(2)
                return losses.penalised_logits(lambda x: ctx.networks["critic"](x, notes), both)

            return ctx.memo("judged", make)

        def critic_loss(ctx):
            logits = judged(ctx)[0].chunk(2)
            gauges.watch(ctx, *logits)
            return game.critic(*logits)

        def penalty(ctx):  # R1 on the first half, R2 on the second
            return config.gamma / 2 * sum(norms.mean() for norms in judged(ctx)[1].chunk(2))

        def generator_loss(ctx):
            critic = ctx.networks["critic"]
            return game.generator(critic(real(ctx), ctx["note"]), critic(fake(ctx), ctx["note"]))

        game = losses.adversarial("rpgan")
        rate = Cosine(config.lr, config.lr / 20, config.nimg)
        critic = Player("critic", {"critic": Critic(config.width)}, lr=rate)
        generator = Player("generator", {"generator": Generator(config.width)}, lr=rate, ema_nimg=1_000)
        moves = [
            Phase("critic", "critic", [Term("pairing", critic_loss), Term("penalty", penalty, fp32=True)]),
            Phase("generator", "generator", [Term("pairing", generator_loss)]),
        ]
        return Game([critic, generator], moves, gauges=gauges.standard())

    def sample(self, config, dataset, networks):
        made = draw(networks["generator"], 8, 0)
        rows = [sounds.spectrogram(sound) for sound in (*made, *sounds.plucks(8, seed=1))]
        return contact_sheet(rows, 8, ["made"] * 8 + ["real"] * 8)

    def score(self, config, dataset, networks, stage):
        made = draw(networks["generator"], 208, 0)
        return [card(name, value, 208, 0) for name, value in sounds.measure(made, sounds.plucks(208, seed=2)).items()]

    def model(self, config, dataset, weights):
        return Model(self.name, {"width": config.width}, {"model": weights["wave"]["generator"]}, name="wave")

    def load(self, model):
        """A function: (number, seed=0, note=None) → sounds, float32 (number, 4096); notes in turn by default."""
        network = Generator(model.config["width"])
        network.load_state_dict(model.weights["model"])
        return lambda number, seed=0, note=None: draw(network, number, seed, note)

    def run(self, options, console):
        paths = [options.out / f"{options.seed + i:06}.wav" for i in range(options.number)]
        for path in paths:
            if path.exists() and not options.force:
                raise UsageError(f"{path} exists already", remedy="overwrite it with --force")
        options.out.mkdir(parents=True, exist_ok=True)
        made = self.load(find(self.name, options.model))(options.number, options.seed, options.note)
        for path, sound, hertz in zip(paths, made, sounds.pitch(made)[0], strict=True):
            sounds.write(sound, path)
            console.result({"file": str(path), "hertz": round(float(hertz), 1)})
        console.say(f"{options.number} sounds in {options.out}")
        return 0

    def evaluate(self, options, console):
        made = self.load(find(self.name, options.model))(options.number, options.seed)
        real, other = (sounds.plucks(options.number, seed=(options.seed, k)) for k in (1, 2))
        noise = np.random.default_rng(options.seed).normal(0, made.std(), made.shape)
        for what, given in [("made", made), ("real", other), ("noise", noise)]:
            cards = [card(name, v, len(given), options.seed) for name, v in sounds.measure(given, real).items()]
            console.say(f"{what:6}" + "  ".join(f"{c.name} {c.value:.3g}" for c in cards))
            console.result({"sounds": what, **{c.name: c.value for c in cards}, "n": len(given), **cards[0].protocol})
        return 0


def card(name, value, n, seed):
    protocol = {"seed": seed, "reals": "synthesised, held out"}
    return MetricCard(name, value, "", n, protocol, higher_is_better=name != "distance")


@torch.no_grad()
def draw(network, number, seed, note=None):
    """Sounds of the seeds from `seed` on, each made alone, so that it never depends on how many are asked for."""
    device = next(network.parameters()).device
    made = []
    for i in range(number):
        z = torch.randn(1, LATENT, generator=torch.Generator().manual_seed(seed + i))
        which = torch.tensor([i % NOTES if note is None else note])
        made.append(network(z.to(device), which.to(device))[0].clamp(-1, 1).cpu().numpy())
    return np.stack(made)
