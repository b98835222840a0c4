"""A trained model as a callable: words in, pictures out; the same words and seed give the same picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantk_text2image.data import cut
from gantk_text2image.networks import TEXT
from gantk_text2image.networks.generator import TextGenerator
from gantoolkit import devices, export, foreign, texts
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import MAIN, Model

LONGEST = 10_000  # characters of a prompt: a longer one is a file by mistake


class Painter:
    """Makes pictures of prompts: `painter("a red apple")` is a list of one uint8 array (S, S, 3).

    Every picture is made alone, so that it does not matter what is made beside it: kernels round differently for
    another number of rows.

    Args:
        model: of the task `text2image`.
        device: where it runs.
        precision: of the networks; fp32 gives the same pictures every day.

    Attributes:
        size: S. latent: numbers that a picture is made from.

    Raises:
        InputError: a config or weights that do not fit. UsageError: an encoder that is not here.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "fp32") -> None:
        self.name = model.name
        self.device = torch.device(devices.pick_device(device))
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        self.dtype = dtypes[devices.pick_precision(precision, self.device.type)]
        source, supported = f"the model {model.name}", "a model of the task text2image"
        try:
            built, told = model.config["generator"], model.config["encoder"]
            self.encoder = texts.from_dict(told)
            drawing, reading = model.weights[MAIN], model.weights[TEXT]
        except (KeyError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(f"{source}: weights and config do not fit together: {why}", expected=supported) from error
        self.generator = foreign.filled(source, built, lambda config: TextGenerator(**config), supported, drawing)
        named = {"encoder": told["encoder"]}  # its words would make a long message
        self.reader = foreign.filled(source, named, lambda _: self.encoder.network(), supported, reading)
        for network in (self.generator, self.reader):
            network.to(self.device).requires_grad_(False)
        self.size, self.latent = int(built["size"]), int(built["latent"])
        self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(
        self,
        prompts: str | Sequence[str],
        *,
        number: int = 1,
        seed: int = 0,
        guidance: float = 1.0,
        truncation: float = 1.0,
    ) -> list[np.ndarray]:
        """`number` pictures of each prompt in turn, the i-th of a prompt from seed + i.

        Args:
            guidance: 1 as learnt; above 1 away from what the model makes without words. See `pictures`.
            truncation: factor of the noise; below 1 nearer to the mean picture of the words (Karras et al. 2019,
                arXiv:1812.04948, section B, here in z).

        Raises:
            UsageError: an empty prompt, or one of more than 10,000 characters.
        """
        asked = [prompts] if isinstance(prompts, str) else list(prompts)
        rows = [(prompt, seed + i) for prompt in asked for i in range(number)]
        return list(self.pictures(rows, guidance=guidance, truncation=truncation))

    def pictures(
        self, rows: Sequence[tuple[str, int]], *, guidance: float = 1.0, truncation: float = 1.0
    ) -> Iterator[np.ndarray]:
        """A picture for each (prompt, seed), one after the other."""
        read: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for prompt, seed in rows:
            if prompt not in read:
                read = {prompt: self.read(prompt)}  # pictures of one prompt come in a row
            yield self.render(read[prompt], self.noise(seed) * truncation, guidance)

    def noise(self, seed: int) -> Tensor:
        """(1, latent) normal numbers of a seed."""
        return torch.randn(1, self.latent, generator=torch.Generator().manual_seed(int(seed)))

    def read(self, prompt: str) -> tuple[Tensor, Tensor, Tensor]:
        """(tokens (1, T, D), mask (1, T), sentence (1, D)) of a prompt.

        Raises:
            UsageError: it says nothing, or is too long.
        """
        return self._read(checked(prompt))

    def unknown(self, prompt: str) -> list[str]:
        """Words of the prompt that no caption had which the model learnt from."""
        return self.encoder.unknown(prompt)

    def cut(self, prompt: str) -> bool:
        """Whether the prompt has more tokens than the model reads."""
        return cut(self.encoder, [prompt])[0]

    def render(self, read: tuple[Tensor, Tensor, Tensor], z: Tensor, guidance: float = 1.0) -> np.ndarray:
        """(S, S, 3) uint8 of what was read and noise (1, latent).

        Guidance moves what modulates the blocks along the line from no words to the words, as classifier-free guidance
        does with scores (Ho & Salimans 2022, arXiv:2207.12598, eq. 6); the tokens stay the prompt's.
        """
        tokens, mask, sentence = read
        z = z.to(self.device)
        with torch.inference_mode(), self._mixed():
            w = self.generator.mapping(z, sentence)
            if guidance != 1:
                plain = self.generator.mapping(z, self._silence)
                w = plain + guidance * (w - plain)
            picture = self.generator.synthesis(w, tokens, mask)
        return to_uint8(picture)[0]

    @cached_property
    def _silence(self) -> Tensor:
        """The sentence (1, D) of no words."""
        return self._read("")[2]

    def _read(self, prompt: str) -> tuple[Tensor, Tensor, Tensor]:
        prepared = {key: value.to(self.device) for key, value in self.encoder.prepare([prompt]).items()}
        with torch.inference_mode(), self._mixed():
            tokens, sentence = self.reader(prepared["text"], prepared["mask"])
        return tokens, prepared["mask"], sentence

    def _mixed(self) -> Any:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def checked(prompt: str) -> str:
    """The prompt, if it says something.

    Raises:
        UsageError: it is empty or only punctuation, or has more than 10,000 characters.
    """
    if len(prompt) > LONGEST:
        actual = f"{len(prompt):,}, beginning with {prompt[:20]!r}"
        raise UsageError("the prompt is too long", expected=f"at most {LONGEST:,} characters", actual=actual)
    if not any(texts.is_word(word) for word in texts.words(prompt)):
        raise UsageError("the prompt is empty", expected="words, such as a red apple", actual=repr(prompt[:20]))
    return prompt


def to_uint8(pictures: Tensor) -> np.ndarray:
    """(N, 3, S, S) in [-1, 1] -> (N, S, S, 3) uint8."""
    return ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


class Whole(nn.Module):
    """Noise (N, latent), text and mask as the encoder prepares them, as numbers -> pictures (N, 3, S, S)."""

    def __init__(self, generator: nn.Module, reader: nn.Module, ids: bool) -> None:
        super().__init__()
        self.generator, self.reader, self.ids = generator, reader, ids

    def forward(self, z: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        given = mask > 0.5
        tokens, sentence = self.reader(text.long() if self.ids else text, given)
        return self.generator(z, tokens, given, sentence)


def export_onnx(model: Model, target: Path) -> export.Parity:
    """Generator and reader as one ONNX file: inputs "noise", "text" and "mask", any batch; parity at two batches."""
    painter = Painter(model, "cpu")
    prepared: Mapping[str, Tensor] = painter.encoder.prepare(["a picture of something"])
    whole = Whole(painter.generator, painter.reader, ids=not prepared["text"].is_floating_point())
    return export.to_onnx(
        whole,
        target,
        painter.noise(0),
        input_name="noise",
        output_name="picture",
        dynamic={"noise": {0: "batch"}},
        others={name: prepared[name].float() for name in ("text", "mask")},
        check_sizes=((1, painter.latent), (3, painter.latent)),
    )
