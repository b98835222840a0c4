"""Hugging Face data sets and WebDataset shards, read by the libraries themselves and without a network."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

import gantoolkit
from gantk_augment import GANAugment, hf_transform, wds_transform
from gantoolkit.errors import UsageError

MODEL, N = "fashion-32", 8


def noise() -> A.Compose:
    return A.Compose([A.GaussNoise(std_range=(0.1, 0.2), p=1)])


def grey(index: int) -> np.ndarray:
    return np.full((16, 16, 3), 100 + index, np.uint8)


# ---- Hugging Face ----


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["bag", "coat"])})
    values = {"image": [Image.fromarray(grey(0)) for _ in range(N)], "label": [index % 2 for index in range(N)]}
    return datasets.Dataset.from_dict(values, features=features)


def pixels(pictures: Any) -> list[bytes]:
    return [np.asarray(picture).tobytes() for picture in pictures]


def test_map_changes_each_row_by_its_index_whatever_the_batches_and_processes(rows: Any) -> None:
    options = {"batched": True, "with_indices": True, "load_from_cache_file": False}
    whole = rows.map(hf_transform(noise(), seed=3), batch_size=8, **options)
    first = pixels(whole["image"])
    assert len(set(first)) == N and whole["label"] == rows["label"]
    assert pixels(rows.map(hf_transform(noise(), seed=3), batch_size=3, **options)["image"]) == first
    assert pixels(rows.map(hf_transform(noise(), seed=3), num_proc=2, **options)["image"]) == first
    assert pixels(rows.map(hf_transform(noise(), seed=3), **{**options, "batched": False})["image"]) == first
    assert not set(pixels(rows.map(hf_transform(noise(), seed=4), **options)["image"])) & set(first)


def test_map_takes_a_model_and_the_datas_own_classes(rows: Any) -> None:
    augment = A.Compose([GANAugment(MODEL, classes=rows.features["label"].names, p=1, variety=1)])
    made = rows.map(hf_transform(augment), batched=True, with_indices=True)
    bag, coat = (gantoolkit.load("generate", MODEL, device="cpu")(label=name)[0] for name in ("bag", "coat"))
    known = [
        np.asarray(Image.fromarray(p[..., 0]).convert("RGB").resize((16, 16), Image.Resampling.LANCZOS))
        for p in (bag, coat)
    ]
    assert pixels(made["image"]) == pixels(known * (N // 2))
    assert isinstance(hf_transform(MODEL).compose, GANAugment)


def test_equal_transforms_have_equal_fingerprints(rows: Any) -> None:
    fingerprint = pytest.importorskip("datasets.fingerprint").Hasher.hash
    used = hf_transform(noise(), seed=3)
    first = fingerprint(used)
    rows.map(used, batched=True)
    assert fingerprint(used) == first != fingerprint(hf_transform(noise(), seed=4))
    assert first != fingerprint(hf_transform(A.Compose([A.GaussNoise(std_range=(0.1, 0.3), p=1)]), seed=3))


@pytest.mark.slow
def test_fingerprints_are_the_same_in_every_process() -> None:
    first = pytest.importorskip("datasets.fingerprint").Hasher.hash(hf_transform(noise(), seed=3))
    script = (
        "import albumentations as A; from gantk_augment import hf_transform; from datasets.fingerprint import Hasher\n"
        "print(Hasher.hash(hf_transform(A.Compose([A.GaussNoise(std_range=(0.1, 0.2), p=1)]), seed=3)))"
    )
    plugins = Path(__file__).parent.parent.parent / "plugins"
    environment = {**os.environ, "PYTHONPATH": str(plugins), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == first, done.stderr


def test_set_transform_draws_anew_at_each_access_also_in_workers(rows: Any) -> None:
    rows.set_transform(hf_transform(noise(), seed=3))
    assert isinstance(rows[0]["image"], Image.Image)
    assert len(set(pixels(rows[:]["image"] + rows[:]["image"]))) == 2 * N

    def epochs() -> list[bytes]:
        torch.manual_seed(0)
        rows.set_transform(hf_transform(noise(), seed=3))
        loader = DataLoader(rows, batch_size=2, num_workers=2, collate_fn=lambda batch: [row["image"] for row in batch])
        return [picture for _ in range(3) for batch in loader for picture in pixels(batch)]

    assert len(set(epochs())) == 3 * N and epochs() == epochs()


def test_a_column_that_is_not_there_is_named(rows: Any) -> None:
    with pytest.raises(UsageError, match="'picture', expected the pictures' column, got image, label"):
        hf_transform(noise(), image_column="picture")(rows[:2])


# ---- WebDataset ----


def shard(path: Path, first: int) -> str:
    """Four samples `000.png`, `000.cls`, …, as any tar writer would pack them."""
    with tarfile.open(path, "w") as archive:
        for index in range(first, first + 4):
            buffer = io.BytesIO()
            Image.fromarray(grey(0)).save(buffer, "PNG")
            for suffix, data in (("png", buffer.getvalue()), ("cls", str(index % 2).encode())):
                entry = tarfile.TarInfo(f"{index:03d}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return str(path)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return [shard(tmp_path / f"{number}.tar", 4 * number) for number in range(4)]


def read(shards: list[str], transform: Any, decoder: str = "rgb8", workers: int = 0, epochs: int = 1) -> list[Any]:
    """(key, class, picture) of each sample."""
    wds = pytest.importorskip("webdataset")
    data = wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode(decoder).map(transform)
    loader = DataLoader(data.to_tuple("__key__", "cls", "png"), batch_size=None, num_workers=workers)
    samples = [sample for _ in range(epochs) for sample in loader]
    return sorted((key, label, np.asarray(picture).tobytes()) for key, label, picture in samples)


def test_a_sample_is_changed_by_its_key_whoever_reads_it(shards: list[str]) -> None:
    first = read(shards, wds_transform(noise(), seed=3, epoch=0))
    assert [key for key, _, _ in first] == [f"{index:03d}" for index in range(16)]
    assert [label for _, label, _ in first] == [index % 2 for index in range(16)]
    assert len({picture for _, _, picture in first}) == 16
    assert read(shards[::-1], wds_transform(noise(), seed=3, epoch=0), workers=2) == first
    assert read(shards, wds_transform(noise(), seed=3, epoch=0), decoder="pil") == first
    for other in (wds_transform(noise(), seed=3, epoch=1), wds_transform(noise(), seed=4, epoch=0)):
        assert not {p for _, _, p in read(shards, other)} & {p for _, _, p in first}


@pytest.mark.parametrize("workers", [0, 2])
def test_without_an_epoch_each_draw_is_another(shards: list[str], workers: int) -> None:
    torch.manual_seed(0)
    first = read(shards, wds_transform(noise(), seed=3), workers=workers, epochs=3)
    assert len({picture for _, _, picture in first}) == 48
    torch.manual_seed(0)
    assert read(shards, wds_transform(noise(), seed=3), workers=workers, epochs=3) == first


def test_a_model_takes_its_class_from_the_sample(shards: list[str]) -> None:
    made = read(shards, wds_transform(A.Compose([GANAugment(MODEL, p=1, variety=1)])))
    assert len({picture for _, _, picture in made}) == len({(label, picture) for _, label, picture in made}) == 2


def test_a_sample_without_a_picture_is_named() -> None:
    with pytest.raises(UsageError, match=r"'007' has no picture, expected png.*, got gif, cls"):
        wds_transform(noise())({"__key__": "007", "gif": b"", "cls": 1})
