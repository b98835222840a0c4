"""What the tests of `gantk run augment` grow, and how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gantoolkit import plugins
from tests.augment import data_sets, policies


@pytest.fixture
def noise(tmp_path: Path) -> Iterator[Path]:
    """A recipe of a third party's policy that this process knows."""
    folder, recipe = policies.write(tmp_path)
    plugins.use(plugins.discover(plugins_dir=folder))
    yield recipe
    plugins.use(None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_sets.class_folders(tmp_path / "data", each=3)
