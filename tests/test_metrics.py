"""Metrics against closed forms, and against what published protocols say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit.errors import UsageError
from gantoolkit.metrics import MetricCard, compare, edge_similarity, luma, perceptual, psnr, ssim, write_cards


def picture(size: int = 64) -> np.ndarray:
    """A smooth colour picture with edges, values 40..215."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    channels = [np.sin(9 * rows), np.cos(7 * columns), np.where(rows > columns, 0.8, -0.8)]
    return (127.5 + 87 * np.stack(channels, -1)).round().astype(np.uint8)


@given(st.integers(1, 40))
def test_psnr_of_a_constant_offset(offset: int) -> None:
    x = picture()
    y = x + np.uint8(offset)
    assert psnr(x, y, "rgb").value == pytest.approx(20 * math.log10(255 / offset), abs=1e-9)
    # Luma spans 219 of 255 levels, so an offset shrinks by that factor.
    assert psnr(x, y, "y").value == pytest.approx(20 * math.log10(255 / (offset * 219 / 255)), abs=1e-9)


def test_luma_of_pure_colours() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    expected = [16.0, 235.0, 81.481, 144.553, 40.966]
    assert luma(colours)[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_equal_pictures() -> None:
    x = picture()
    for channel in ("y", "rgb"):
        assert psnr(x, x, channel).value == math.inf
        assert "inf dB" in psnr(x, x, channel).line()
        assert ssim(x, x, channel).value == pytest.approx(1.0, abs=1e-12)
    assert perceptual(x, x).value == 0


def test_ssim_of_flat_pictures_is_its_luminance_term() -> None:
    # Without variance SSIM is (2ab + C₁) / (a² + b² + C₁), C₁ = (.01 · 255)².
    x, y = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 140, np.uint8)
    c1 = 2.55**2
    expected = (2 * 100 * 140 + c1) / (100**2 + 140**2 + c1)
    assert ssim(x, y, "rgb").value == pytest.approx(expected, abs=1e-9)


def test_ssim_matches_its_definition_at_one_window() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 11, 11, 3), dtype=np.uint8)
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    a, b = luma(x), luma(y)
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    var_a, var_b = (window * a**2).sum() - mean_a**2, (window * b**2).sum() - mean_b**2
    covariance = (window * a * b).sum() - mean_a * mean_b
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    # An 11×11 picture has exactly one whole window: the mean is that of its centre.
    assert ssim(x, y).value == pytest.approx(expected, abs=1e-9)


def test_the_border_is_left_out() -> None:
    x, y = picture(), picture()
    y[:4] = 0
    y[:, -4:] = 255
    assert psnr(x, y, crop=4).value == math.inf and psnr(x, y, crop=3).value < 60
    assert perceptual(x, y, crop=4).value == 0 < perceptual(x, y, crop=3).value
    assert psnr(x, y, crop=4).protocol["crop"] == 4


def test_perceptual_grows_with_blur_and_with_noise() -> None:
    x = picture()
    rng = np.random.default_rng(0)
    noise = rng.normal(size=x.shape)
    noisy = [perceptual(x, (x + s * noise).clip(0, 255).astype(np.uint8)).value for s in (4, 12, 36)]
    assert 0 < noisy[0] < noisy[1] < noisy[2]
    sharp = rng.integers(0, 256, x.shape, dtype=np.uint8)
    blurred = sharp.astype(float)
    values = []
    for _ in range(3):
        blurred = (blurred + np.roll(blurred, 1, 0) + np.roll(blurred, 1, 1)) / 3
        values.append(perceptual(sharp, blurred.astype(np.uint8)).value)
    assert 0 < values[0] < values[1] < values[2]


def test_cards_carry_their_protocol() -> None:
    x = picture()
    card = perceptual(x, x)
    assert card.name == "EffLite0-PD" and len(str(card.protocol["weights"])) == 12
    assert psnr(x, x + np.uint8(1), "rgb", crop=4).line() == ("PSNR-RGB 48.13 dB (n=1, channel=sRGB, peak=255, crop=4)")
    card = MetricCard("d", 1.5, n=3, protocol={"seed": 0}, interval=(1.0, 2.0))
    assert card.line() == "d 1.5 [1, 2] (n=3, seed=0)"
    assert json.loads(json.dumps(card.to_dict()))["interval"] == [1.0, 2.0]
    assert MetricCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_sequences_give_the_mean_over_pairs() -> None:
    x = picture()
    y, z = x + np.uint8(1), x + np.uint8(9)
    for metric in (psnr, ssim, perceptual):
        card = metric([x, x[:32]], [y, z[:32]], crop=2)
        single = metric(x, y, crop=2), metric(x[:32], z[:32], crop=2)
        assert card.n == 2 and card.protocol == single[0].protocol
        assert card.value == pytest.approx((single[0].value + single[1].value) / 2)
        for xs, ys in (([], []), ([x], [y, z])):
            with pytest.raises(UsageError, match="in pairs"):
                metric(xs, ys)


def test_what_cannot_be_compared_is_refused() -> None:
    x = picture(16)
    for other in (x[:8], x.astype(np.float32), x[..., :1]):
        with pytest.raises(UsageError, match="two uint8 arrays"):
            psnr(x, other)
    with pytest.raises(UsageError, match="y or rgb"):
        psnr(x, x, "alpha")
    for crop in (-1, 8):
        with pytest.raises(UsageError, match="0 to 7 pixels"):
            psnr(x, x, crop=crop)
    with pytest.raises(UsageError, match=r"smaller than the window.*got 8×8"):
        ssim(x, x, crop=4)


def test_cards_that_are_not_finite_are_kept_as_json(tmp_path: Path) -> None:
    x = picture()
    kept = [psnr(x, x), MetricCard("d", 1.0, interval=(-math.inf, 2.0))]
    write_cards(kept, tmp_path / "cards.json")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    rows = json.loads((tmp_path / "cards.json").read_text(), parse_constant=refuse)
    assert rows[0]["value"] is None and rows[1]["interval"] == [None, 2.0]
    back = MetricCard.from_dict(rows[0])
    assert math.isnan(back.value) and back.protocol == kept[0].protocol and back.line().startswith("PSNR-Y nan dB")
    assert "not a number" in compare(kept[0], back).text
    assert MetricCard.from_dict(rows[1]).interval == (pytest.approx(math.nan, nan_ok=True), 2.0)


# ---- comparisons ----


def card(value: float, interval: tuple[float, float] | None = None, **changed: str | int) -> MetricCard:
    protocol: dict[str, str | int | float] = {"features": "EffLite0", "split": "test", "seed": 0}
    return MetricCard("Fréchet", value, "", 10, protocol | changed, interval, False, of=f"model at {value}")


def test_cards_of_one_protocol_compare() -> None:
    lower = compare(card(12.0), card(9.5))
    assert lower.value == -2.5 and lower.text == "Fréchet 12 → 9.5 (-2.5, better)"
    assert "worse" in compare(card(1.0), card(2.0)).text
    assert compare(card(math.inf), card(math.inf)).value == 0
    assert compare(card(2.0), card(2.0)).text.endswith("(+0, equal)")
    assert "not a number" in compare(card(2.0), card(math.nan)).text


def test_overlapping_intervals_are_pointed_out() -> None:
    assert "but the intervals overlap" in compare(card(3.0, (2, 4)), card(2.5, (2, 3))).text
    assert "overlap" not in compare(card(3.0, (2.8, 4)), card(1.0, (0.5, 1.5))).text


@pytest.mark.parametrize(
    ("key", "changed"),
    [("features", {"features": "pixels@8"}), ("split", {"split": "train"}), ("k", {"k": 3}), ("seed", {"seed": 1})],
)
def test_cards_of_two_protocols_are_refused_by_the_key_that_differs(key: str, changed: dict[str, str | int]) -> None:
    for pair in ((card(1.0), card(1.0, **changed)), (card(1.0, **changed), card(1.0))):
        with pytest.raises(UsageError, match=f"cannot be compared: {key} differs"):
            compare(*pair)


def test_other_metrics_and_numbers_of_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="metric differs, expected Fréchet, got KID"):
        compare(card(1.0), MetricCard("KID", 1.0, "", 10, card(1.0).protocol))
    with pytest.raises(UsageError, match="n differs, expected 10, got 11"):
        compare(card(1.0), MetricCard("Fréchet", 1.0, "", 11, card(1.0).protocol))


# ---- values of any range, and edges ----


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_values_are_measured_as_8_bit_colours_are(seed: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    a, b = x / 255, y / 255
    for metric in (psnr, ssim):
        scaled, plain = metric(a, b, "values"), metric(x, y, "rgb")
        assert scaled.value == pytest.approx(plain.value, abs=1e-9) and scaled.protocol["peak"] == 1
        many = np.repeat(a[..., :1], channels, 2), np.repeat(b[..., :1], channels, 2)
        assert metric(*many, "values").value == pytest.approx(metric(a[..., :1], b[..., :1], "values").value, abs=1e-9)
    with pytest.raises(UsageError, match=r"two float arrays.*got uint8"):
        psnr(x, y, "values")
    with pytest.raises(UsageError, match="two uint8 arrays"):
        psnr(a, b, "rgb")


def recoloured(x: np.ndarray) -> np.ndarray:
    """The grey picture of the same luma: what is left of a picture without its colours."""
    grey = (luma(x) - 16) * 255 / 219
    return np.repeat(np.rint(grey)[..., None], 3, 2).astype(np.uint8)


def test_edges_are_kept_by_a_recolouring_and_lost_by_a_shuffle() -> None:
    x = picture()
    assert edge_similarity(x, x).value == pytest.approx(1, abs=1e-12)
    # Rounding grey to 8 bits moves luma by half a level; nothing else may change.
    assert edge_similarity(x, recoloured(x)).value > 0.99
    # A negative has the same edges, exactly.
    assert edge_similarity(x, 255 - x).value == pytest.approx(1, abs=1e-9)
    tiles = x.reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, 8, 8, 3)
    mixed = tiles[np.random.default_rng(0).permutation(64)].reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(x.shape)
    blurred = sum(np.roll(x, (i, j), (0, 1)).astype(float) for i in range(5) for j in range(5)) / 25
    shuffled, soft = edge_similarity(x, mixed).value, edge_similarity(x, blurred.astype(np.uint8)).value
    assert shuffled < 0.5 < soft < 0.97 < edge_similarity(x, recoloured(x)).value


def test_a_step_from_black_to_white_has_an_edge_of_the_peak() -> None:
    from gantoolkit.metrics import LUMA_SWING, _edges

    step = np.zeros((16, 16, 3), np.uint8)
    step[:, 8:] = 255
    edges = _edges(luma(step))
    assert edges[:, 7:9] == pytest.approx(LUMA_SWING) and not edges[:, :7].any() and not edges[:, 9:].any()
    card = edge_similarity([step, step], [step, step])
    assert (card.name, card.n, card.higher_is_better, card.protocol["peak"]) == ("edge-SSIM", 2, True, 219)
    with pytest.raises(UsageError, match="smaller than the window"):
        edge_similarity(step[:8], step[:8])


@pytest.mark.parametrize(
    "change",
    [{"name": 3}, {"value": "x"}, {"interval": [1]}, {"interval": ["a", "b"]}, {"n": "2"}, {"protocol": []}, {"of": 1}],
)
def test_values_that_are_no_cards(change: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        MetricCard.from_dict({"name": "PSNR", "value": 1.0, "protocol": {}} | change)
