"""The page on pipelines says what the code does: every block runs, with the names that its text speaks of."""

from __future__ import annotations

import io
import os
import re
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gantk_augment
import gantoolkit

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "augment-pipelines.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
BLOCKS = {
    title: block
    for title, text in SECTIONS.items()
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page takes for granted."""
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    load = gantoolkit.load("generate", "fashion-32", device="cpu")
    X = np.stack(load(5, label="bag") + load(3, label="coat"))
    y = np.array([0] * 5 + [1] * 3)
    for number in range(2):
        with tarfile.open(f"shard-{number:03d}.tar", "w") as archive:
            buffer = io.BytesIO()
            Image.fromarray(X[number, ..., 0]).save(buffer, "PNG")
            entry = tarfile.TarInfo(f"{number:03d}.png")
            entry.size = buffer.tell()
            archive.addfile(entry, io.BytesIO(buffer.getvalue()))
    values = {"image": [Image.fromarray(picture[..., 0]).convert("RGB") for picture in X], "label": y.tolist()}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return {
        "picture": X[0],
        "real": [(picture, int(label)) for picture, label in zip(X, y, strict=True)],
        "pictures": torch.rand(8, 1, 32, 32),
        "labels": torch.arange(8),
        "X": X,
        "y": np.where(y == 0, "bag", "coat"),
        "rows": datasets.Dataset.from_dict(values, features=features),
    }


@pytest.mark.parametrize("title", BLOCKS)
def test_each_block_runs(title: str, given: dict[str, Any]) -> None:
    exec(compile(BLOCKS[title], f"docs/augment-pipelines.md, {title}", "exec"), given)
    results = {
        "albumentations": lambda: given["changed"].shape == (32, 32, 1) and len(given["again"].transforms) == 3,
        "Worker processes": lambda: given["labels"].sum() == 3 and given["pictures"].shape == (8, 32, 32, 1),
        "torch": lambda: len(given["both"]) == 208 and given["both"][208 - 1][1] == 1,
        "kornia": lambda: given["changed"].shape == (8, 1, 32, 32),
        "imbalanced-learn": lambda: given["classes"].tolist() == ["bag"] * 5 + ["coat"] * 5,
        "Hugging Face datasets": lambda: len(given["fixed"]) == len(given["rows"][:]["image"]) == 8,
        "WebDataset": lambda: given["first"]["png"].shape == (32, 32, 3),
    }
    assert results[title]()


def test_every_name_and_extra_is_on_the_page() -> None:
    assert len(BLOCKS) == 7
    table = PAGE.split("\n\n")[2]
    assert set(re.findall(r"`(\w+)`", table)) == set(gantk_augment.__all__)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"gantoolkit\[(\w+)\]", table)) == {"imblearn", "huggingface", "webdataset"} <= set(extras)


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert targets and all((ROOT / "docs" / target).exists() for target in targets)
