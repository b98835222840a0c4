"""The recipes: training has nothing of what is held out, the same seed gives the same files, shapes are read back."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from gantk_text2image.captions import open_captions
from gantk_text2image.recipes import emoji, reading, shapes, stamps
from gantk_text2image.recipes.__main__ import main
from gantk_text2image.recipes.shapes import COLOURS, RELATIONS, SHAPES, Group, Scene
from gantoolkit.errors import InputError, UsageError


def drawn(seed: int, size: int = 64) -> tuple[Scene, np.ndarray]:
    rng = np.random.default_rng(seed)
    scene = shapes.draw_scene(rng, lambda _: True)
    return scene, shapes.render(scene, rng, size)


# ---- shapes ----


def test_each_colour_shape_and_relation_is_in_training() -> None:
    pairs = {(c, s) for c in COLOURS for s in SHAPES if shapes.held_pair(c, s)}
    assert {c for c, _ in pairs} == set(COLOURS) and {s for _, s in pairs} == set(SHAPES) and len(pairs) == 6
    triples = {(a, r, b) for a in SHAPES for r in RELATIONS for b in SHAPES if shapes.held_triple(a, r, b)}
    assert len(triples) == 10 and not any((b, r, a) in triples for a, r, b in triples)
    for shape in SHAPES:  # each stands in every place of every relation, just not beside all others
        for relation in RELATIONS:
            assert sum((shape, relation, other) in triples for other in SHAPES) == 1
            assert sum((other, relation, shape) in triples for other in SHAPES) == 1


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shapes") / "out"
    assert main(["shapes", str(out), "--train", "60", "--test", "40"]) == 0
    return out


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]


def test_training_has_nothing_of_what_is_held_out(built: Path) -> None:
    for row in lines(built):
        scene = reading.stated(row["attributes"])
        assert scene.attributes() == row["attributes"]
        assert any(shapes.new_parts(scene)) == (row["split"] == "test"), row
        assert len(set(row["captions"])) == 4
        assert all(colour in caption for caption in row["captions"] for colour in {g.colour for g in scene.groups})


def test_what_is_written_is_read_as_a_data_set(built: Path) -> None:
    found = open_captions(built)
    assert found.problems == [] and len(found) == 100
    assert [found.split(i) for i in range(100)].count("test") == 40
    card = (built / "README.md").read_text()
    assert "red circle" in card and "circle above square" in card and "CC0" in card


def test_the_same_seed_gives_the_same_files(built: Path, tmp_path: Path) -> None:
    shapes.build(tmp_path / "again", train=60, test=40)
    shapes.build(tmp_path / "fewer", train=5, test=0)
    shapes.build(tmp_path / "other", train=5, test=0, seed=1)
    assert open_captions(tmp_path / "again").fingerprint == open_captions(built).fingerprint
    assert lines(tmp_path / "fewer")[:5] == lines(built)[:5] != lines(tmp_path / "other")[:5]


def test_words_of_scenes() -> None:
    assert str(Group("orange", "square")) == "an orange square" and str(Group("red", "cross", 2)) == "two red crosses"
    scene = Scene(Group("red", "square", 2), "above", Group("blue", "circle"))
    texts = shapes.captions(scene, np.random.default_rng(0), 99)
    assert {"two red squares above a blue circle", "a blue circle below two red squares"} <= set(texts)
    assert "above a blue circle there are two red squares" in texts and len(set(texts)) == 8
    beside = Scene(scene.first, "left of", scene.second)
    assert not set(texts) & set(shapes.captions(beside, np.random.default_rng(0), 99))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_objects_lie_apart_and_stand_as_is_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = shapes.draw_scene(rng, lambda _: True)
    placed = shapes.place(scene, rng)
    assert [len(objects) for objects in placed] == [group.count for group in scene.groups]
    every = [o for objects in placed for o in objects]
    for i, a in enumerate(every):
        assert min(a.x, a.y, 1 - a.x, 1 - a.y) >= a.radius + shapes.GAP - 1e-9
        for b in every[:i]:
            assert max(abs(a.x - b.x), abs(a.y - b.y)) >= a.radius + b.radius + shapes.GAP - 1e-9
    if scene.second:
        (x0, y0), (x1, y1) = (np.mean([(o.x, o.y) for o in objects], 0) for objects in placed)
        along, across = (y1 - y0, x1 - x0) if scene.relation == "above" else (x1 - x0, y1 - y0)
        assert along > 0 and abs(across) < shapes.SLANT * along


# ---- reading shapes back ----


def blurred(picture: np.ndarray, sigma: float, noise: float, seed: int) -> np.ndarray:
    values = ndimage.gaussian_filter(picture.astype(np.float64), (sigma, sigma, 0))
    values += np.random.default_rng(seed).normal(0, noise, values.shape)
    return values.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("sigma", "noise"), [(0.0, 0.0), (1.0, 8.0), (1.5, 0.0), (0.0, 16.0)])
def test_pictures_are_read_back(sigma: float, noise: float) -> None:
    for seed in range(30):
        scene, picture = drawn(seed)
        picture = blurred(picture, sigma, noise, seed)
        assert reading.scene(picture) == scene, seed
        assert set(reading.agreement(scene.attributes(), picture).values()) == {1.0}


@pytest.mark.slow
def test_the_reader_is_right_on_2000_pictures() -> None:
    right = [
        reading.scene(blurred(picture, 1.0, 8.0, seed)) == scene
        for seed in range(2000)
        for scene, picture in [drawn(seed)]
    ]
    assert np.mean(right) >= 0.995


@pytest.mark.parametrize("size", [32, 128])
def test_other_sizes_are_read(size: int) -> None:
    right = sum(reading.scene(picture) == scene for scene, picture in (drawn(seed, size) for seed in range(30)))
    assert right >= (30 if size == 128 else 27)  # at 32² a small star has six pixels a side


def shown(*groups: tuple[Group, float, float]) -> np.ndarray:
    """One object of each group at a place."""
    image = Image.new("RGB", (256, 256), "white")
    for group, x, y in groups:
        shapes.paint(shapes.ImageDraw.Draw(image), group.shape, 256 * x, 256 * y, 32, COLOURS[group.colour])
    return np.asarray(image.reduce(4))


def test_agreement_known_answers() -> None:
    red, blue = Group("red", "square"), Group("blue", "circle")
    said = Scene(red, "above", blue).attributes()
    turned = reading.agreement(said, shown((red, 0.5, 0.8), (blue, 0.5, 0.2)))
    assert turned == {"colour": 1, "shape": 1, "count": 1, "pair": 1, "relation": 0, "all": 0}
    swapped = reading.agreement(said, shown((Group("blue", "square"), 0.5, 0.2), (Group("red", "circle"), 0.5, 0.8)))
    assert swapped["pair"] == 0 and swapped["all"] == 0  # the right colours and shapes, on the wrong objects
    one = reading.agreement(said, shown((red, 0.5, 0.2)))
    assert one == {"colour": 0.5, "shape": 0.5, "count": 0.5, "pair": 0.5, "relation": 0, "all": 0}
    more = reading.agreement(red_alone := Scene(red).attributes(), shown((red, 0.2, 0.2), (blue, 0.8, 0.8)))
    assert more == {"colour": 1, "shape": 1, "count": 1, "pair": 1, "all": 0}
    two = reading.agreement(red_alone, shown((red, 0.2, 0.2), (red, 0.8, 0.8)))
    assert two["count"] == 0 and two["pair"] == 1 and two["all"] == 0


def test_empty_and_noisy_pictures_have_nothing() -> None:
    white = np.full((64, 64, 3), 255, np.uint8)
    assert reading.read(white) == [] and reading.scene(white) is None
    said = Scene(Group("red", "square"), "above", Group("blue", "circle")).attributes()
    assert set(reading.agreement(said, white).values()) == {0.0}
    reading.agreement(said, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    reading.agreement(said, np.zeros((64, 64, 3), np.uint8))


# ---- emoji and stamps ----


def png(colour: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (64, 64), colour).save(stream, "PNG")
    return stream.getvalue()


EMOJI = [
    {
        "name": f"BLUE THING-{n}", "unified": f"{n:04X}", "image": f"{n:04x}.png", "short_name": f"thing_{n}",
        "short_names": [f"thing_{n}", "+1"], "category": "Flags" if n == 3 else "Objects",
        "subcategory": "other-object",
    }
    for n in range(40)
]  # fmt: skip


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Both packages, one packed and one unpacked; of emoji 5 there is no drawing in one of them."""
    folder = tmp_path / "packages"
    for style in emoji.STYLES:
        files = {f"img/{style}/64/{e['image']}": png((200, 0, 0, 128)) for e in EMOJI}
        files["emoji.json"] = json.dumps(EMOJI).encode()
        if style == "twitter":
            del files["img/twitter/64/0005.png"]
            for name, content in files.items():
                path = folder / "emoji-datasource-twitter" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        else:
            folder.mkdir(exist_ok=True)
            with tarfile.open(folder / "emoji-datasource-google-1.tgz", "w:gz") as archive:
                for name, content in files.items():
                    entry = tarfile.TarInfo(f"package/{name}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return folder


def test_emoji(packages: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = emoji.build(out, size=32, package=packages)
    assert counts["flag"] == 1 and counts["one style only"] == 1 and counts["train"] + counts["test"] == 76
    found = open_captions(out)
    assert found.problems == [] and len(found) == 76 and counts["test"] > 0
    for index, name in enumerate(found.names):
        style = found.attributes(index)["style"]
        assert found.captions(index)[0].endswith(f"{style} style") and "+1" not in found.captions(index)
        if found.split(index) == "test":  # the same one in the other style is trained on
            other = name.replace("test/", "train/").replace(style, {"google": "twitter", "twitter": "google"}[style])
            assert other in found.names
    assert (found.picture(0)[0, 0] == (227, 127, 127)).all()  # half of (200, 0, 0) on white
    assert "CC-BY 4.0" in (out / "README.md").read_text()


def test_emoji_packages_that_are_missing_or_broken(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="npm pack emoji-datasource-google"):
        emoji.build(tmp_path / "out", package=tmp_path)
    (packages / "emoji-datasource-twitter" / "emoji.json").write_text("{")
    with pytest.raises(InputError, match=r"no readable emoji\.json"):
        emoji.build(tmp_path / "out", package=packages)
    (packages / "emoji-datasource-google-1.tgz").write_bytes(b"\x1f\x8b no")
    with pytest.raises(InputError, match="cannot read"):
        emoji.build(tmp_path / "out", package=packages)
    assert not (tmp_path / "out").exists()


def test_stamps(tmp_path: Path) -> None:
    folder = tmp_path / "in" / stamps.INSIDE / "animals" / "birds"
    folder.mkdir(parents=True)
    for n in range(30):
        (folder / f"bird-{n}.png").write_bytes(png((0, 0, n, 255)))
        if n:
            (folder / f"bird-{n}.txt").write_text(f"A bird of kind {n}.\nde.utf8=Ein Vogel.\n")
    counts = stamps.build(tmp_path / "out", package=tmp_path / "in")
    found = open_captions(tmp_path / "out")
    assert found.problems == [] and len(found) == 29 and counts["no sentence"] == 1
    assert found.captions(0) == ("a bird of kind 1", "a picture of bird") or "a picture of bird" in found.captions(0)
    assert found.attributes(0) == {"category": "animals", "kind": "birds"}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["shapes", "OUT", "--package", "x"], 2, "--package makes no sense for shapes"),
        (["emoji", "OUT", "--train", "3"], 2, "--train makes no sense for emoji"),
        (["shapes", "OUT", "--size", "0"], 2, "--size, expected at least 1, got 0"),
        (["emoji", "OUT", "--package", "nowhere"], 2, "npm pack"),
        (["stamps", "OUT", "--package", "nowhere"], 3, "apt-get download"),
        (["shapes", "."], 2, "exists already"),
    ],
)
def test_errors_of_the_command(
    words: list[str],
    code: int,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(words) == code
    [line] = capsys.readouterr().err.splitlines()
    assert text in line
