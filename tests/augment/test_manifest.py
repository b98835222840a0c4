"""The manifest and its journal: whole, torn, damaged, hostile, on a full disk."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_augment import manifest
from gantk_augment.manifest import JOURNAL, NAME, Journal, Manifest
from gantoolkit.errors import InputError, UsageError

HEADER = {"manifest": 1, "policies": {}}


def row(index: int, /, **changes: Any) -> dict[str, Any]:
    made = {"file": f"a/{index}.png", "sha256": "0" * 64, "index": index, "stem": f"{index}", "policy": "classic"}
    return {**made, "source": "a/x.png", "label": "a", "seed": 5, "parameters": {}, "annotation": {}, **changes}


@settings(deadline=None)
@given(st.text(max_size=20), st.integers(0, 2**63 - 1))
def test_a_line_says_what_it_was_told(name: str, seed: int) -> None:
    told = row(3, label=name, seed=seed, parameters={"x": [0.1, None, True], "name": "\udcff"})
    line = manifest.dump(told)
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and line.isascii()
    assert manifest.parse(line) == told


def test_written_sorted_and_read_back(tmp_path: Path) -> None:
    lines = {index: manifest.dump(row(index)) for index in (10, 2, 7)}
    Manifest(HEADER, lines).write(tmp_path)
    found = manifest.read(tmp_path / NAME)
    assert found.header == HEADER and found.lines == lines
    assert [r["index"] for r in found.rows()] == [2, 7, 10]
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


@settings(deadline=None)
@given(st.integers(0, 400))
def test_a_journal_torn_anywhere_keeps_its_whole_lines(cut: int) -> None:
    import tempfile

    whole = manifest.dump(HEADER) + b"".join(manifest.dump(row(i)) for i in range(3))
    kept = max(0, whole[:cut].count(b"\n") - 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / JOURNAL).write_bytes(whole[:cut])
        journal = Journal(folder, HEADER)
        journal.append(manifest.dump(row(9)))
        journal.close()
        found = manifest.read(folder / JOURNAL, torn=True)
    assert sorted(found.lines) == [*range(kept), 9] and found.header == HEADER


HOSTILE: list[dict[str, Any]] = [
    {"index": "0"}, {"seed": "5"}, {"beside": []}, {"beside": {"../x": ""}}, {"file": "../../etc/passwd"},
    {"file": "/etc/passwd"}, {"file": ""}, {"stem": "../x"}, {"stem": "a\\x"}, {"stem": ""}, {"sha256": None},
]  # fmt: skip


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, *(manifest.dump(row(0, **wrong)) for wrong in HOSTILE)]
)
def test_damaged_and_hostile_lines_are_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / NAME).write_bytes(manifest.dump(HEADER) + manifest.dump(row(1)))
    assert sorted(manifest.read(tmp_path / NAME).lines) == [1]
    (tmp_path / NAME).write_bytes(manifest.dump(HEADER) + manifest.dump(row(1)) + line.rstrip(b"\n") + b"\n")
    with pytest.raises(InputError, match="line 3 of"):
        manifest.read(tmp_path / NAME)


def test_other_files_are_no_manifests(tmp_path: Path) -> None:
    for content in (b"", b'{"manifest": 2}\n', b'{"rows": 1}\n'):
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(InputError, match="no manifest that can be read here"):
            manifest.read(tmp_path / NAME)
    with pytest.raises(InputError, match="No such file"):
        manifest.read(tmp_path / "none")


def test_files_are_intact_only_with_their_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0.png").write_bytes(b"picture")
    (tmp_path / "mask.png").write_bytes(b"mask")
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("picture", "mask")}
    line = row(0, sha256=hashes["picture"], beside={"mask.png": hashes["mask"]})
    assert manifest.intact(tmp_path, line)
    (tmp_path / "mask.png").write_bytes(b"mas")
    assert not manifest.intact(tmp_path, line)
    (tmp_path / "mask.png").unlink()
    assert not manifest.intact(tmp_path, line)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Journal(tmp_path, HEADER)
    with pytest.raises(UsageError, match="another command is at work"):
        Journal(tmp_path, HEADER)
    first.close()
    Journal(tmp_path, HEADER).remove()
    assert not list(tmp_path.iterdir())


def test_a_journal_that_may_not_grow_keeps_no_part_of_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path, HEADER)
    journal.append(manifest.dump(row(0)))
    size = (tmp_path / JOURNAL).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, before[1]))
    try:
        with pytest.raises(InputError, match="File too large"):
            journal.append(manifest.dump(row(1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    journal.append(manifest.dump(row(2)))
    journal.close()
    lines = (tmp_path / JOURNAL).read_bytes().splitlines()
    assert [json.loads(line).get("index") for line in lines] == [None, 0, 2]
