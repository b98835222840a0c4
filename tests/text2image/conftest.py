"""The plugin's encoders are there by name, whether or not this installation lists the plugin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gantk_text2image
from gantoolkit import plugins
from gantoolkit.plugins import Candidate, Plugins


@pytest.fixture(scope="session")
def found() -> Plugins:
    found = plugins.discover()
    if "trained" not in found.text_encoders():
        found.add(Candidate("text2image", "this checkout", lambda: gantk_text2image))
    return found


@pytest.fixture(autouse=True)
def registered(found: Plugins) -> Iterator[None]:
    plugins.use(found)
    yield
    plugins.use(None)
