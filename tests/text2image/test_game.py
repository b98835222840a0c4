"""Networks and game of text to image: sizes, what words reach, each term against a hand computation, resumption."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_text2image import game
from gantk_text2image.networks.critic import TextCritic
from gantk_text2image.networks.generator import TextGenerator, maps
from gantk_text2image.options import Text2ImageConfig
from gantoolkit import losses
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import UsageError
from tests.games import differences
from tests.tolerances import TOL

WORDS, WIDTH = 7, 8
SMALL: dict[str, Any] = {
    "size": 32, "batch": 4, "nimg": 400, "channels": 8, "critic_channels": 8, "latent": 4, "text_width": WIDTH,
    "device": "cpu", "precision": "fp32", "penalty_every": 2,
}  # fmt: skip


class Reader(nn.Module):
    """Ids -> embeddings and their sum over what is there, in which places count."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)

    def forward(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.embedding(text) * mask[..., None]
        places = torch.arange(1.0, text.shape[1] + 1)[:, None]
        return tokens, (tokens * places).sum(1)


class Encoder:
    name, width = "toy", WIDTH

    def network(self) -> nn.Module:
        return Reader()

    def to_dict(self) -> dict[str, Any]:
        return {"encoder": "toy"}


class Pairs:
    """One batch again and again: a bright or dark picture for the first word, a colour for the second."""

    encoder = Encoder()
    attributes: Mapping[str, tuple[str, ...]] = {"light": ("dark", "bright"), "hue": ("a", "b")}

    def __init__(self, dropped: int = 0, variety: float = 0.0) -> None:
        self._variety = variety
        image = torch.zeros(4, 3, 32, 32)
        image[:2] = 0.8
        image[::2, 0] = -0.8
        self.batch = {
            "image": image,
            "text": torch.tensor([[1, 3, 0], [1, 4, 0], [2, 3, 0], [2, 4, 0]]),
            "mask": torch.tensor([[True, True, False]] * 4),
            "group": torch.arange(4),
            "dropped": torch.arange(4) < dropped,
            "attributes": torch.tensor([[1, 0], [1, 1], [0, 0], [0, -1]]),
            "wrong text": torch.tensor([[1, 4, 0], [1, 3, 0], [2, 4, 0], [1, 5, 0]]),
            "wrong mask": torch.tensor([[True, True, False]] * 4),
            "wrong": torch.tensor([True, True, True, False]),
        }

    def variety(self) -> float:
        return self._variety

    def __len__(self) -> int:
        return 4

    def next(self) -> Mapping[str, Any]:
        return self.batch

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def engine(batches: Pairs | None = None, **changes: Any) -> Engine:
    config = Text2ImageConfig(**(SMALL | changes))
    batches = batches or Pairs()
    made = game.make(config, batches)  # type: ignore[arg-type]
    return Engine(made, batches, Settings(device="cpu", precision="fp32", accumulate=config.accumulate))  # type: ignore[arg-type]


def awake(network: nn.Module) -> Any:
    """The network with the weights that start at zero made small, so that every layer counts."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.05)
    return network.eval()


# ---- networks ----


def test_maps_double_from_four() -> None:
    assert maps(64, 2) == [4, 8, 16, 32] and maps(32, 1) == [4, 8, 16, 32] and maps(32, 4) == [4, 8]
    with pytest.raises(UsageError, match="power of two"):
        maps(48, 2)


@pytest.mark.parametrize(("size", "patch"), [(32, 2), (32, 4), (64, 4)])
def test_words_become_a_picture_and_are_judged(size: int, patch: int) -> None:
    generator = awake(TextGenerator(size, 4, WIDTH, 8, patch))
    critic = awake(TextCritic(size, WIDTH, 8, patch, {"hue": 3}))
    tokens, mask = torch.randn(2, 5, WIDTH), torch.ones(2, 5, dtype=torch.bool)
    made = generator(torch.randn(2, 4), tokens, mask, torch.randn(2, WIDTH))
    assert made.shape == (2, 3, size, size) and made.abs().max() <= 1
    seen = critic.look(made)
    assert critic(made, torch.randn(2, WIDTH)).shape == (2,) and seen.attributes["hue"].shape == (2, 3)
    assert torch.allclose(seen.embedding.norm(dim=1), torch.ones(2))


def test_single_words_reach_the_picture_and_masked_ones_do_not() -> None:
    generator = awake(TextGenerator(32, 4, WIDTH, 8))
    z, tokens, sentence = torch.randn(1, 4), torch.randn(1, 3, WIDTH), torch.randn(1, WIDTH)
    mask = torch.tensor([[True, True, False]])
    made = generator(z, tokens, mask, sentence)
    other = tokens.clone()
    other[0, 2] += 5
    assert torch.equal(generator(z, other, mask, sentence), made)
    other[0, 1] += 5
    assert not torch.allclose(generator(z, other, mask, sentence), made)
    assert not torch.allclose(generator(z, tokens, mask, sentence + 1), made)


def test_any_name_of_an_attribute_and_any_width_will_do() -> None:
    critic = TextCritic(32, WIDTH, 8, attributes={"type": 2, "hair.colour": 3, "": 2})
    assert [logits.shape[1] for logits in critic.look(torch.zeros(1, 3, 32, 32)).attributes.values()] == [2, 3, 2]
    text = torch.zeros(1, 2, WIDTH)
    for channels in (7, 28, 50):
        generator = TextGenerator(32, 4, WIDTH, channels)
        made = generator(torch.randn(1, 4), text, torch.ones(1, 2, dtype=torch.bool), text[:, 0])
        assert made.shape == (1, 3, 32, 32)


def test_the_critic_tells_places_apart() -> None:
    critic = awake(TextCritic(32, WIDTH, 8, attributes={"place": 2}))
    x = torch.zeros(1, 3, 32, 32)
    x[..., :16, :] = 1
    seen, other = critic.look(x), critic.look(x.flip(2))
    assert not torch.allclose(seen.attributes["place"], other.attributes["place"], atol=0.01)
    assert not torch.allclose(seen.embedding, other.embedding, atol=0.01)


def test_the_critic_hears_the_sentence() -> None:
    critic = awake(TextCritic(32, WIDTH, 8))
    x, sentence = torch.randn(2, 3, 32, 32), torch.randn(2, WIDTH)
    assert not torch.allclose(critic(x, sentence), critic(x, sentence.flip(0)))
    assert torch.equal(critic.judge(critic.look(x), sentence), critic(x, sentence))


# ---- the game ----


def test_each_player_reads_for_itself() -> None:
    made = engine(attribute_weight=1.0, match_penalty=1.0).game
    assert {player.name: sorted(player.networks) for player in made.players} == {
        "critic": ["critic", "critic_text"],
        "generator": ["generator", "text"],
    }
    terms = {phase.name: [term.name for term in phase.terms] for phase in made.phases}
    assert terms["critic"] == ["adversarial", "mismatch", "contrast", "attributes", "r1", "r2", "match penalty"]
    assert terms["generator"] == ["adversarial", "contrast", "attributes"]
    varied = engine(Pairs(variety=0.5)).game.phases[1]
    assert [term.name for term in varied.terms] == ["adversarial", "contrast", "variety"]


def test_the_first_step_reports_what_the_papers_say() -> None:
    playing = engine(Pairs(dropped=1))
    nets: Any = playing.game.networks()
    batch = playing.batches.next()
    critic = nets["critic"]
    with torch.no_grad():
        seen = critic.look(batch["image"])
        sentence = nets["critic_text"](batch["text"], batch["mask"])[1]
        right, wrong = critic.judge(seen, sentence), critic.judge(seen, sentence.roll(1, 0))
        gaps = F.softplus(wrong - right)[2:]  # the first has no words, and so the second is not asked about them
        likeness = seen.embedding @ critic.sentences(sentence).T * critic.temperature
        kept = likeness[1:, 1:]
        contrast = (F.cross_entropy(kept, torch.arange(3)) + F.cross_entropy(kept.T, torch.arange(3))) / 2
    found = playing.step().losses
    assert found["critic/mismatch"] == pytest.approx(float(gaps.mean()), abs=TOL["loss, known answer"])
    assert found["critic/contrast"] == pytest.approx(float(contrast), abs=TOL["loss, known answer"])


def test_attributes_are_named_and_wrong_captions_contradict_them() -> None:
    playing = engine(Pairs(dropped=1), attribute_weight=1.0)
    nets: Any = playing.game.networks()
    batch = playing.batches.next()
    critic = nets["critic"]
    with torch.no_grad():
        seen = critic.look(batch["image"])
        right, wrong = (
            critic.judge(seen, nets["critic_text"](batch[words], batch[mask])[1])
            for words, mask in (("text", "mask"), ("wrong text", "wrong mask"))
        )
        gaps = F.softplus(wrong - right)[1:3]  # the first has no words, for the last no wrong caption was found
        light = F.cross_entropy(seen.attributes["light"], batch["attributes"][:, 0], reduction="none")
        hue = F.cross_entropy(seen.attributes["hue"], batch["attributes"][:, 1].clamp_min(0), reduction="none")
        named = ((light + hue)[1:3].sum() / 2 + light[3]) / 4  # the hue of the last is not known
    found = playing.step().losses
    assert found["critic/mismatch"] == pytest.approx(float(gaps.mean()), abs=TOL["loss, known answer"])
    assert found["critic/attributes"] == pytest.approx(float(named), abs=TOL["loss, known answer"])


def test_a_contrast_is_exact_in_half_precision() -> None:
    playing = engine()
    with torch.autocast("cpu", torch.bfloat16):
        embedding = F.normalize(torch.randn(4, 64), dim=1)
        terms = game._Terms(Text2ImageConfig(**SMALL), [], 0.0)
        batch = Pairs().batch

        class Seen:
            networks = {"critic": playing.game.networks()["critic"]}  # noqa: RUF012

            def __getitem__(self, name: str) -> Tensor:
                return batch[name]

        terms._looked = lambda ctx, kind: SimpleNamespace(embedding=embedding)  # type: ignore[assignment, method-assign, return-value]
        terms._sentence = lambda ctx: torch.ones(4, WIDTH)  # type: ignore[method-assign]
        Seen.networks["critic"].sentences = lambda sentence: embedding  # type: ignore[assignment]
        found = terms._contrast(Seen(), "real")  # type: ignore[arg-type]
    likeness = (embedding.double() @ embedding.double().T) * 10
    expected = (F.cross_entropy(likeness, torch.arange(4)) + F.cross_entropy(likeness.T, torch.arange(4))) / 2
    assert float(found) == pytest.approx(float(expected), abs=TOL["loss, known answer"])


def test_equal_groups_are_no_negatives() -> None:
    same = Pairs()
    same.batch["group"] = torch.zeros(4, dtype=torch.long)
    found = engine(same).step().losses
    assert found["critic/mismatch"] == 0 and found["critic/contrast"] == pytest.approx(0, abs=TOL["loss, known answer"])


def test_the_match_penalty_is_that_of_df_gan() -> None:
    """A critic that is linear in picture and sentence: (‖a‖ + ‖b‖)⁶."""
    terms = game._Terms(Text2ImageConfig(**SMALL), [], 0.0)
    slope_x, slope_s = torch.randn(3, 32, 32) * 0.01, torch.randn(WIDTH) * 0.1
    batch, reader = Pairs().batch, Reader()

    class Seen:
        networks = {  # noqa: RUF012
            "critic": lambda x, s: (x * slope_x).sum((1, 2, 3)) + (s * slope_s).sum(1),
            "critic_text": reader,
        }
        rand = None

        def __getitem__(self, name: str) -> Tensor:
            return batch[name]

        def memo(self, key: str, make: Any) -> Any:
            return make()

    expected = (slope_x.norm() + slope_s.norm()) ** 6
    assert float(terms._match_penalty(Seen())) == pytest.approx(float(expected), rel=TOL["penalty's slope, relative"])  # type: ignore[arg-type]


def test_pictures_of_one_caption_are_driven_apart_until_that_is_enough() -> None:
    """Squares of one grey each, of which the second draws are brighter by the same."""
    first = torch.tensor([-0.9, 0.0, 0.4, 0.6])[:, None, None, None].expand(4, 3, 32, 32).requires_grad_()

    def missing(variety: float, apart: float) -> Tensor:
        terms = game._Terms(Text2ImageConfig(**SMALL), [], variety)
        terms._fake = lambda ctx: first  # type: ignore[method-assign]
        terms._draw = lambda ctx: first.detach() + apart  # type: ignore[method-assign]
        return terms._too_near(None)  # type: ignore[arg-type]

    wanted = game.VARIED * 0.5
    assert missing(0.5, 0.0).item() == 1
    assert missing(0.5, wanted / 4).item() == pytest.approx(0.75, abs=TOL["loss, known answer"])
    assert missing(0.5, wanted).item() == pytest.approx(0, abs=TOL["loss, known answer"])
    (slope,) = torch.autograd.grad(missing(0.5, wanted / 4), first)
    assert (slope > 0).all()  # less is better: away from the brighter second draw


def test_slopes_are_r1_and_r2() -> None:
    terms = game._Terms(Text2ImageConfig(**SMALL), [], 0.0)
    assert terms.gamma == game.SHARP * losses.gamma_rule(32 * 32, 4)


def test_it_learns_to_follow_words() -> None:
    torch.manual_seed(1)
    playing = engine(attribute_weight=1.0, lr=3e-3, caption_dropout=0.0)
    for _ in range(60):
        last = playing.step()
    assert last.losses["critic/attributes"] < 0.3 and not last.skipped
    assert last.losses["generator/attributes"] < 1.0


def test_a_resumed_game_goes_on_bit_for_bit() -> None:
    options: dict[str, Any] = {"augment": "color,translation", "attribute_weight": 1.0}
    alone, resumed = engine(Pairs(variety=0.5), **options), engine(Pairs(variety=0.5), **options)
    for _ in range(3):
        alone.step()
    resumed.load_state_dict(copy.deepcopy(alone.state_dict()))
    for _ in range(5):
        one, other = alone.step(), resumed.step()
    assert one.losses == other.losses and differences(alone.state_dict(), resumed.state_dict()) == []
