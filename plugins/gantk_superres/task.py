"""The super-resolution task: how it is trained, what comes out, and what a user does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gantk_superres import options as fields
from gantk_superres.options import SuperresConfig
from gantoolkit.errors import UsageError
from gantoolkit.task import Console, DataReport, Stage, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from gantk_superres.data import Photos
    from gantk_superres.enlarge import Enlarger
    from gantoolkit.data import Dataset
    from gantoolkit.game import Game
    from gantoolkit.metrics import MetricCard
    from gantoolkit.model import Model


LEAST_PATCH = 24  # pixels: three halvings leave the two last 4x4 windows one position


class Superres(Task):
    """Enlarge pictures: `CompactSR` by default, trained for fidelity first and against a critic then."""

    name = "superres"
    summary = "enlarge pictures by 2, 3 or 4 with more detail"
    Config = SuperresConfig
    RunOptions = fields.RunOptions
    EvalOptions = fields.EvalOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "photo": {},
        "photo-degraded": {"degradation": "light"},
        "real-esrgan": {
            "arch": "rrdb",
            "channels": 64,
            "blocks": 23,
            "critic": "unet",
            "critic_channels": 64,
            "degradation": "second-order",
            "patch": 256,
        },
        "tiny": {"channels": 16, "blocks": 2, "critic_channels": 8, "patch": 48, "batch": 4},
    }

    # ---- training ----

    def dataset(self, config: SuperresConfig, folder: Path | None) -> Photos:
        from gantk_superres.data import Photos
        from gantoolkit import losses

        if folder is None:
            raise UsageError("no folder of photographs was named", remedy="gantk train superres PHOTOS/")
        if config.patch % config.scale:
            raise UsageError(
                "a patch must divide by the scale",
                expected=f"a multiple of {config.scale}",
                actual=config.patch,
            )
        # what the second stage would fail on is said now, and not after the first one
        if config.adversarial_nimg and config.critic == "patch" and config.patch < LEAST_PATCH:
            raise UsageError(
                "--patch is too small for the patch critic",
                expected=f"at least {LEAST_PATCH}",
                actual=config.patch,
                remedy="a larger --patch, or --adversarial-nimg 0",
            )
        losses.adversarial(config.loss)
        return Photos(folder, config.patch, config.windows)

    def check(self, folder: Path) -> DataReport:
        from gantk_superres import data

        return data.check(folder, SuperresConfig.model_fields["patch"].default)

    def stages(self, config: SuperresConfig) -> Sequence[Stage]:
        from gantk_superres.game import ADVERSARIAL, FIDELITY

        planned = [Stage(FIDELITY, config.fidelity_nimg), Stage(ADVERSARIAL, config.adversarial_nimg)]
        stages = [stage for stage in planned if stage.nimg]
        if not stages:
            raise UsageError("both stages are 0 images long", remedy="set fidelity_nimg or adversarial_nimg")
        return stages

    def game(self, config: SuperresConfig, dataset: Dataset, stage: str) -> Game:
        from gantk_superres import game

        make = game.fidelity_game if stage == game.FIDELITY else game.adversarial_game
        return make(config)

    def sample(self, config: SuperresConfig, dataset: Photos, networks: Mapping[str, nn.Module]) -> np.ndarray:  # type: ignore[override]
        """Rows of bicubic | network | truth for up to three held-out pictures."""
        from gantoolkit.images import contact_sheet
        from gantoolkit.resample import resize

        tiles = []
        for truth in dataset.held_out[:3]:
            low, high = _pair(truth, config)
            tiles += [resize(low, (high.shape[2], high.shape[3])), networks["generator"](low).float(), high]
        return contact_sheet(
            [_to_uint8(tile) for tile in tiles], 3, ["bicubic", "network", "truth"] * (len(tiles) // 3)
        )

    def score(  # type: ignore[override]
        self, config: SuperresConfig, dataset: Photos, networks: Mapping[str, nn.Module], stage: str
    ) -> Sequence[MetricCard]:
        """PSNR-Y and perceptual distance on the held-out files; the first card is what the stage is for."""
        from gantk_superres.game import FIDELITY
        from gantoolkit import metrics

        pairs = [_pair(truth, config) for truth in dataset.held_out]
        outputs = [_to_uint8(networks["generator"](low).float()) for low, _ in pairs]
        truths = [_to_uint8(high) for _, high in pairs]
        cards = [metrics.psnr(outputs, truths, crop=config.scale), metrics.perceptual(outputs, truths)]
        return cards if stage == FIDELITY else cards[::-1]

    def model(self, config: SuperresConfig, dataset: Any, weights: Mapping[str, Mapping[str, Any]]) -> Model:
        from gantk_superres.game import ADVERSARIAL, FIDELITY, network_config
        from gantoolkit.model import MAIN, Model, find

        last = ADVERSARIAL if ADVERSARIAL in weights else FIDELITY
        variants = {MAIN: weights[last]["generator"]}
        if last == ADVERSARIAL and FIDELITY in weights:
            variants[FIDELITY] = weights[FIDELITY]["generator"]
        elif last == ADVERSARIAL and config.init is not None:
            start = find(self.name, config.init).weights
            variants[FIDELITY] = start.get(FIDELITY, start[MAIN])
        name = f"superres-x{config.scale}"
        return Model(self.name, network_config(config), variants, card(name, config, variants), name)

    # ---- use ----

    def load(self, model: Model, **options: Any) -> Enlarger:
        """An `Enlarger`; its arguments are the options."""
        from gantk_superres.enlarge import Enlarger

        return Enlarger(model, **options)

    def run(self, options: fields.RunOptions, console: Console) -> int:
        from gantk_superres.use import run

        return run(options, console)

    def evaluate(self, options: fields.EvalOptions, console: Console) -> int:
        from gantk_superres.evaluate import evaluate

        return evaluate(options, console)

    def export(self, model: Model, target: Path, console: Console) -> None:
        from gantk_superres.enlarge import export_onnx

        parity = export_onnx(model, target)
        console.say(f"wrote {target}\nparity: {parity}")

    def import_model(self, path: Path) -> Model:
        from gantk_superres.foreign import load_checkpoint
        from gantoolkit.model import MAIN, Model

        config, state = load_checkpoint(path)
        return Model(self.name, config, {MAIN: state}, f"# {path.stem}\n\nImported from {path.name}.\n", path.stem)


def card(name: str, config: SuperresConfig, variants: Mapping[str, Any]) -> str:
    """What is known of the model without the trainer's words."""
    from gantoolkit.model import starting_card

    sizes = {key: sum(tensor.numel() for tensor in state.values()) for key, state in variants.items()}
    weights = ", ".join(f"`{key}` ({size:,} parameters)" for key, size in sizes.items())
    about = f"Enlarges pictures ×{config.scale}. Weights: {weights}."
    return starting_card(name, about, config.model_dump(mode="json"), "gantk eval superres HR/ --model THIS")


def _pair(truth: np.ndarray, config: SuperresConfig) -> tuple[Tensor, Tensor]:
    """(low, high) of a held-out picture, 1,3,h,w and 1,3,H,W on the device; the same degradation every time."""
    import torch

    from gantk_superres import degrade

    high = torch.from_numpy(truth).permute(2, 0, 1)[None].to(config.device).float() / 255
    rng = torch.Generator(config.device).manual_seed(0)
    return degrade.degradation(config.degradation)(high, config.scale, rng), high


def _to_uint8(tensor: Tensor) -> np.ndarray:
    """1,3,H,W in [0, 1] → H×W×3 uint8."""
    return (tensor[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().cpu().numpy()
