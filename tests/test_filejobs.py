"""Batches of files: which, where to, and what becomes of the rest when one fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gantoolkit.errors import InputError, UsageError
from gantoolkit.filejobs import STANDARD, Job, Result, Summary, expand, plan, run_jobs


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.png",
        "b.JPG",
        "notes.txt",
        ".hidden.png",
        "in/c.webp",
        "in/deep/d.gif",
        "in/deep/ü [1].tif",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.as_posix() for path in paths]


def test_files_folders_globs_and_standard_input(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(expand(["."], False)) == ["a.png", "b.JPG"]
    assert names(expand(["in"], True)) == ["in/c.webp", "in/deep/d.gif", "in/deep/ü [1].tif"]
    assert names(expand(["*.*", "-", "a.png"], False)) == ["a.png", "b.JPG", "-"]
    assert names(expand(["in/deep/ü [1].tif"], False)) == ["in/deep/ü [1].tif"]
    assert names(expand(["in/**/*.gif"], False)) == ["in/deep/d.gif"]
    assert names(expand(["notes.txt"], False)) == ["notes.txt"]  # asked for by name: reading it will say why not
    monkeypatch.setenv("HOME", str(tree))
    assert expand(["~/a.png"], False) == [tree / "a.png"]


def test_nothing_found_names_the_input(tree: Path) -> None:
    (tree / "empty").mkdir()
    for given, fragment in (
        ("x.png", "does not exist"),
        ("*.bmp", "does not exist"),
        ("*.txt.*", "not exist"),
    ):
        with pytest.raises(InputError, match=fragment):
            expand(["a.png", given], False)
    with pytest.raises(InputError, match=r"empty holds no pictures.*--recursive"):
        expand(["empty"], False)


def targets(jobs: list[Job]) -> list[str]:
    return [job.target.as_posix() for job in jobs]


def test_results_go_beside_their_inputs_with_a_suffix(tree: Path) -> None:
    assert targets(plan(["a.png", "b.JPG", "in/deep/d.gif"], None, suffix="_x4")) == [
        "a_x4.png", "b_x4.JPG", "in/deep/d_x4.png",
    ]  # fmt: skip
    assert targets(plan(["a.png", "b.JPG"], None, suffix="_x4", format="jpeg")) == ["a_x4.jpeg", "b_x4.JPG"]
    with pytest.raises(UsageError, match="psd"):
        plan(["a.png"], None, suffix="_x4", format="psd")


def test_results_go_to_a_file_a_folder_or_standard_output(tree: Path) -> None:
    assert targets(plan(["a.png"], "new.webp", suffix="_x4")) == ["new.webp"]
    assert targets(plan(["a.png"], "out", suffix="_x4")) == ["out/a.png"]
    assert targets(plan(["a.png", "b.JPG"], "out.png", suffix="_x4")) == ["out.png/a.png", "out.png/b.JPG"]
    assert targets(plan(["in"], "out", suffix="_x4", recursive=True)) == [
        "out/c.webp", "out/deep/d.png", "out/deep/ü [1].tif",
    ]  # fmt: skip
    assert plan(["-"], None, suffix="_x4")[0].target == STANDARD
    assert plan(["a.png"], "-", suffix="_x4")[0].target == STANDARD
    assert targets(plan(["-"], "out", suffix="_x4")) == ["out/stdin.png"]
    with pytest.raises(UsageError, match="one picture"):
        plan(["a.png", "b.JPG"], "-", suffix="_x4")
    with pytest.raises(UsageError, match=r"notes.txt is a file"):
        plan(["a.png", "b.JPG"], "notes.txt", suffix="_x4")


def test_results_that_would_meet_are_refused(tree: Path) -> None:
    (tree / "a.gif").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a\.png and a\.gif would both be written to a_x4\.png"):
        plan(["a.png", "a.gif"], None, suffix="_x4")
    with pytest.raises(UsageError, match="own result"):
        plan(["a.png"], None, suffix="")
    with pytest.raises(UsageError, match="own result"):
        plan(["a.png"], "in/../a.png", suffix="_x4", force=True)
    (tree / "a_x4.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"overwrite the input a_x4\.png"):
        plan(["a.png", "a_x4.png"], None, suffix="_x4", force=True)


def test_results_of_an_earlier_run_are_no_inputs_of_the_next(tree: Path) -> None:
    first = plan(["in"], None, suffix="_x4", recursive=True)
    for job in first:
        job.target.write_bytes(b"")
    (tree / "in/e_x4.png").write_bytes(b"")  # of no picture that is here: a picture like any other
    again = plan(["in"], None, suffix="_x4", recursive=True, force=True)
    assert targets(again) == sorted([*targets(first), "in/e_x4_x4.png"])
    assert targets(plan(["in/*.*"], None, suffix="_x4", force=True)) == ["in/c_x4.webp", "in/e_x4_x4.png"]
    assert targets(plan(["in/c_x4.webp"], None, suffix="_x4")) == ["in/c_x4_x4.webp"]  # named, and so meant


def test_a_run_with_another_number_leaves_earlier_results_alone(tree: Path) -> None:
    for name in ("in/c_x4.webp", "in/c_x2.5.jpg", "in/c_x4_x2.png", "in/_x4.png", "in/e_x9.png"):
        (tree / name).write_bytes(b"")
    assert targets(plan(["in"], None, suffix="_x2", force=True)) == ["in/_x4_x2.png", "in/c_x2.webp", "in/e_x9_x2.png"]


def test_a_folder_of_results_below_the_inputs_is_none_of_them(tree: Path) -> None:
    first = plan(["in"], "in/large", suffix="", recursive=True)
    for job in first:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        job.target.write_bytes(b"")
    again = plan(["in"], "in/large", suffix="", recursive=True, force=True)
    assert [job.source for job in again] == [job.source for job in first]
    above = plan(["in"], ".", suffix="_x4", recursive=True, force=True)
    assert len(above) == 2 * len(first)


def test_what_cannot_be_meant_is_refused(tree: Path) -> None:
    for inputs, out, suffix, words in (
        ([""], None, "_x4", "an empty name"),
        (["a.png"], "", "_x4", "an empty name"),
        (["a.png"], None, "a/b", "holds a folder"),
        (["-", "a.png"], None, "_x4", "standard output takes one picture"),
        (["a.png"], "photo.avif", "_x4", "cannot hold this result"),
    ):
        with pytest.raises(UsageError, match=words):
            plan(inputs, out, suffix=suffix)


def test_one_file_by_two_names_is_one_input_and_hidden_folders_hold_none(tree: Path) -> None:
    (tree / "in/.thumbs").mkdir()
    (tree / "in/.thumbs/c.png").write_bytes(b"")
    assert names(expand(["a.png", str(tree / "a.png")], False)) == ["a.png"]
    assert ".thumbs" not in "".join(names(expand(["in"], True)))


def test_links_in_a_circle_fail_alone(tree: Path) -> None:
    (tree / "loop.png").symlink_to("loop.png")
    summary = run_jobs(plan(["loop.png", "a.png"], "out", suffix=""), lambda job: {"of": job.source.read_bytes()})
    assert [result.error is None for result in summary.results] == [False, True]


def test_an_existing_result_fails_alone(tree: Path) -> None:
    (tree / "b_x4.JPG").write_bytes(b"mine")
    summary = run_jobs(plan(["a.png", "b.JPG"], None, suffix="_x4"), lambda job: {"size": 1})
    assert [result.error is None for result in summary.results] == [True, False]
    assert "b_x4.JPG exists already; overwrite it with --force" in str(summary.results[1].error)
    assert summary.exit_code == 4
    forced = run_jobs(plan(["a.png", "b.JPG"], None, suffix="_x4", force=True), lambda job: {})
    assert forced.exit_code == 0


def test_a_failure_is_one_line_and_the_rest_goes_on(tree: Path) -> None:
    errors: dict[str, Exception] = {
        "1.png": InputError("1.png is damaged"),
        "2.png": PermissionError(13, "Permission denied", "2.png"),
        "3.png": MemoryError(),
        "4.png": OSError("odd"),
    }
    jobs = [Job(Path(f"{i}.png"), Path(f"{i}_x4.png")) for i in range(6)]

    def work(job: Job) -> dict[str, Any]:
        if job.source.name in errors:
            raise errors[job.source.name]
        return {"width": 4}

    seen: list[Result] = []
    summary = run_jobs(jobs, work, on_result=seen.append)
    assert seen == summary.results
    assert [result.error for result in summary.results] == [
        None, "1.png is damaged", "2.png: Permission denied", "3.png: not enough memory", "4.png: odd", None,
    ]  # fmt: skip
    report = json.loads(json.dumps(summary.to_dict()))
    assert (report["done"], report["failed"], report["results"][0]["width"]) == (2, 4, 4)
    assert report["results"][2]["source"] == "2.png" and report["results"][2]["seconds"] >= 0


def test_bugs_and_interrupts_stop_the_batch() -> None:
    jobs = [Job(Path("a"), Path("b")), Job(Path("c"), Path("d"))]
    for error in (KeyError("bug"), KeyboardInterrupt()):
        seen: list[Job] = []

        def work(job: Job, error: BaseException = error, seen: list[Job] = seen) -> dict[str, Any]:
            seen.append(job)
            raise error

        with pytest.raises(type(error)):
            run_jobs(jobs, work)
        assert len(seen) == 1


@pytest.mark.parametrize(("errors", "code"), [([None], 0), (["x"], 3), ([None, "x"], 4), (["x", "x"], 4), ([], 0)])
def test_exit_codes(errors: list[str | None], code: int) -> None:
    assert Summary([Result(Path("a"), Path("b"), 0.0, error) for error in errors]).exit_code == code
