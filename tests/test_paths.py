"""Paths that users name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gantoolkit import paths
from gantoolkit.errors import GantkError, InputError, UsageError


def test_new_files_in_folders_old_and_new_are_free(tmp_path: Path) -> None:
    paths.refuse_targets([tmp_path / "a.png", None, tmp_path / "not" / "yet" / "b.png", Path("c.png")])


def test_what_exists_may_be_replaced_only_by_force(tmp_path: Path) -> None:
    taken = tmp_path / "a.png"
    taken.write_bytes(b"")
    paths.refuse_targets([taken], force=True)
    with pytest.raises(UsageError, match=r"a.png exists already; overwrite it with --force, or give another name"):
        paths.refuse_targets([tmp_path / "b.png", taken], force=False)
    with pytest.raises(UsageError, match=r"a.png exists already; give another name"):
        paths.refuse_targets([taken])


@pytest.mark.parametrize(
    ("place", "kind", "says"),
    [
        ("folder", UsageError, "expected the name of a file, got a folder"),
        ("file/x.png", InputError, "file is no folder"),
        ("file/not/yet/x.png", InputError, "file is no folder"),
        ("x" * 300, InputError, "File name too long"),
    ],
)
def test_places_that_cannot_be_written(place: str, kind: type[GantkError], says: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(kind, match=f"cannot write .*{says}"):
        paths.refuse_targets([tmp_path / place], force=True)


def test_a_read_only_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match="is read-only"):
        paths.refuse_targets([tmp_path / "x.png"])


def test_a_home_that_nobody_has_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/at/home")
    assert paths.expanded("~/a/b") == Path("/at/home/a/b") and paths.expanded("a/~") == Path("a/~")
    assert paths.expanded("~nobody-at-all/a") == Path("~nobody-at-all/a")
