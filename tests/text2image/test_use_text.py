"""`gantk run text2image`: prompts from everywhere, files that never collide, strips, sheets, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantk_text2image import use
from gantk_text2image.painter import Painter
from gantoolkit.cli import call
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import Model
from tests.text2image.tiny import made

Run = Callable[..., int]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return made(folder / "pictures").model.save(folder / "model", half=False)


@pytest.fixture
def run(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *words: call(["run", "text2image", "-m", str(saved), "--device", "cpu", *map(str, words)])


@pytest.fixture
def painter(saved: Path) -> Painter:
    return Painter(Model.load(saved), "cpu")


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


# ---- pictures ----


def test_files_rows_and_the_python_call_agree(
    run: Run, painter: Painter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("a red bar, left", "blue middle")
    assert run(*words, "-n", 2, "--seed", 7, "--guidance", 2, "--truncation", 0.8, "-o", "out", "--json") == 0
    *rows, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["prompt"], row["seed"]) for row in rows] == [(prompt, seed) for prompt in words for seed in (7, 8)]
    expected = painter(words, number=2, seed=7, guidance=2, truncation=0.8)
    assert all(np.array_equal(pixels(Path(row["path"])), one) for row, one in zip(rows, expected, strict=True))
    assert last["number"] == 4 and last["sheet"] == str(Path("out/grid.png"))
    assert files(tmp_path / "out") == [
        "a-red-bar-left-0007.png", "a-red-bar-left-0008.png", "blue-middle-0007.png", "blue-middle-0008.png", "grid.png"
    ]  # fmt: skip
    assert pixels(tmp_path / "out/grid.png").shape[1] == 2 * 128 + 3 * 8  # a row for each prompt


def test_no_prompt_shows_samples_and_what_comes_next(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    captured = capsys.readouterr()
    assert 'next: gantk run text2image "YOUR WORDS"' in captured.out
    assert "does not know apple" in captured.err
    assert files(tmp_path / use.FOLDER)[:2] == ["a-blue-fish-0000.png", "a-green-tree-0000.png"]


def test_a_grid_alone_holds_64(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use, "SHOWN", 3)
    assert run("a red bar", "-n", 5, "--grid", "-o", "out") == 0
    assert files(tmp_path / "out") == ["grid.png"]
    assert "the first 3 on one sheet" in capsys.readouterr().out


def test_words_that_are_unknown_or_not_read_are_warned_of(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("red 🍎 и", "red " * 2_500, "-o", "out", "--quiet") == 0
    err = capsys.readouterr().err
    assert "does not know 🍎, и" in err and "reads only its beginning" in err
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("words", ["zebra", "🍎🍎", "красное яблоко", "लाल सेब", "赤い リンゴ", "x" * 10_000])
def test_words_that_are_all_unknown_make_a_picture_and_are_warned_of(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert run(words, "-o", "out", "--quiet") == 0
    line, *more = capsys.readouterr().err.splitlines()
    assert "does not know" in line and len(line) < 1_000
    assert all("reads only its beginning" in other for other in more)  # letters it never met take more of its 10 tokens
    [name] = set(files(tmp_path / "out")) - {"grid.png"}
    assert pixels(tmp_path / "out" / name).shape == (32, 32, 3)


def test_upscaled_pictures_are_four_times_as_large(run: Run, painter: Painter, tmp_path: Path) -> None:
    import gantoolkit

    assert run("a red bar", "--upscale", 4, "-o", "out") == 0
    enlarge = gantoolkit.load("superres", scale=4, device="cpu")
    made = pixels(tmp_path / "out/a-red-bar-0000.png")
    assert made.shape == (128, 128, 3) and np.array_equal(made, enlarge(painter("a red bar")[0]))


# ---- prompts ----


def test_prompts_come_from_arguments_files_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some.TXT").write_bytes("\ufeffa red bar\r\n\r\n  größer \r\n".encode())
    stdin(monkeypatch, "blue\n\nгород\n".encode())
    assert use.prompts(["one", str(tmp_path / "some.TXT"), "-"]) == ["one", "a red bar", "größer", "blue", "город"]


def test_files_that_are_none_are_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latin.txt").write_bytes(b"gr\xfcn\n")
    (tmp_path / "empty.txt").write_bytes(b"\n \n")
    (tmp_path / "folder.txt").mkdir()
    stdin(monkeypatch, b"\xff\xfe")
    for given, why in {
        "latin.txt": "not UTF-8", "empty.txt": "has no prompt", "folder.txt": "directory", "absent.txt": "No such file",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=why):
            use.prompts([str(tmp_path / given)])
    with pytest.raises(InputError, match="standard input: it is not UTF-8"):
        use.prompts(["-"])
    stdin(monkeypatch, b"")
    with pytest.raises(InputError, match="standard input has no prompt"):
        use.prompts(["-"])
    (tmp_path / "long.txt").write_text("fine\n" + "x" * 10_001)
    with pytest.raises(UsageError, match="too long"):
        use.prompts([str(tmp_path / "long.txt")])


@pytest.mark.parametrize(
    ("words", "why"), [(["a red bar", ""], "empty"), (["a red bar", "..."], "empty"), (["x" * 10_001], "too long")]
)
def test_one_bad_prompt_and_nothing_is_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert why in captured.err and len(captured.err.splitlines()) == 1 and files(tmp_path) == []


# ---- files ----


def test_every_picture_has_a_name_of_its_own() -> None:
    rows = [("a red apple", 0), ("A red, apple!", 0), ("a red apple", 0), ("a red apple 0000", 2), ("a red apple", 1)]
    assert use.names(rows) == [
        "a-red-apple-0000.png", "a-red-apple-0000-2.png", "a-red-apple-0000-3.png", "a-red-apple-0000-0002.png",
        "a-red-apple-0001.png",
    ]  # fmt: skip
    same = use.names([("a", 1)] * 1_000 + [("a 0001", 1_000), ("...../..", 1), ("🍎", 1)])
    assert len(set(same)) == 1_003 and same[-2:] == ["prompt-0001.png", "prompt-0001-2.png"]


def test_names_are_short_enough_for_every_disk_and_keep_letters() -> None:
    rows = [
        ("красное яблоко", 0),
        ("लाल सेब", 0),
        ("../../etc/passwd", 0),
        ("word " * 2_000, 0),
        ("word " * 1_999, 2**62),
    ]
    names = use.names(rows)
    assert names[:3] == ["красное-яблоко-0000.png", "लाल-सेब-0000.png", "etc-passwd-0000.png"]
    assert names[3] == "-".join(["word"] * 12) + "-0000.png"
    assert all(len(name.encode()) <= 90 and "/" not in name for name in [*names, *use.names([("𝔸" * 500, 2**62)])])


def test_nothing_is_overwritten_without_force(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b-0000.png").write_bytes(b"mine")
    assert run("a", "b", "-o", "out") == 2
    assert "exists already" in capsys.readouterr().err
    assert files(tmp_path / "out") == ["b-0000.png"] and (tmp_path / "out/b-0000.png").read_bytes() == b"mine"
    assert run("a", "b", "-o", "out", "--force", "--quiet") == 0
    assert files(tmp_path / "out") == ["a-0000.png", "b-0000.png", "grid.png"]


def test_a_file_is_no_folder(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    assert run("a", "-o", "out") == 2
    assert "out is a file" in capsys.readouterr().err and (tmp_path / "out").read_bytes() == b"mine"


# ---- from prompt to prompt ----


def test_a_way_goes_through_each_prompts_own_picture(painter: Painter) -> None:
    asked = ["a red bar, left", "blue", "a yellow bar, right"]
    frames = list(use.between(painter, asked, 4, 3, 1.5, 0.9))
    assert len(frames) == 9
    for frame, prompt in zip(frames[::4], asked, strict=True):
        assert np.array_equal(frame, painter(prompt, seed=3, guidance=1.5, truncation=0.9)[0])


def test_a_way_has_no_jumps_at_its_ends(painter: Painter) -> None:
    first, near, *_, before, last = use.between(painter, ["a red bar, left", "blue"], 500, 0, 1.0, 1.0)
    whole = np.abs(first.astype(int) - last).mean()
    for a, b in ((first, near), (before, last)):
        assert np.abs(a.astype(int) - b).mean() < 0.05 * whole


def test_a_strip_and_an_animation_are_written(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a red bar", "blue", "--interpolate", "strip.png", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"path": "strip.png", "frames": 9}
    assert pixels(tmp_path / "strip.png").shape[1] == 9 * 136 + 8
    assert run("a red bar", "blue", "left", "--interpolate", "way.gif", "--quiet") == 0
    with Image.open(tmp_path / "way.gif") as animation:
        assert getattr(animation, "n_frames", 1) > 20  # of 33; equal ones in a row become one
    assert files(tmp_path) == ["strip.png", "way.gif"]


def test_standard_input_that_is_closed_is_said(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert run("-") == 3
    assert capsys.readouterr().err == "error: standard input is closed\n"


def test_a_sheet_of_ever_so_many_makes_what_it_shows(run: Run, tmp_path: Path) -> None:
    assert run("a red bar", "-n", "1000000", "--grid", "--quiet") == 0
    assert files(tmp_path / "gantk-text2image") == ["grid.png"]
    assert run("a red bar", "-n", "1000001", "--grid") == 2


def test_ways_that_cannot_be_gone_are_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    for words, why in {
        ("a red bar", "--interpolate", "x.png"): "at least 2 prompts",
        ("a red bar", "--interpolate", "x.gif"): "at least 2 prompts",
        ("a", "b", "--interpolate", "x.avi"): "no picture format for x.avi",
        ("a", "b", "--interpolate", "mine.png"): "exists already",
        ("a", "...", "--interpolate", "x.gif"): "the prompt is empty",
        ("a", "b", "--interpolate", "x.gif", "-n", "2", "--grid"): "writes one file and takes no --number, --grid",
    }.items():
        assert run(*words) == 2
        assert why in capsys.readouterr().err
    assert files(tmp_path) == ["mine.png"] and (tmp_path / "mine.png").read_bytes() == b"mine"
