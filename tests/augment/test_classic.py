"""The policy `classic`: seeds decide alone, pictures keep their kind, the manifest says what was done."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from gantk_augment import classic, recipes
from gantk_augment.classic import Classic
from gantoolkit import devices
from gantoolkit.errors import InputError
from gantoolkit.samples import Made, Policy, Request, Sample, Thing

PRESETS = recipes.names()


def recipe(*transforms: dict[str, Any]) -> dict[str, Any]:
    nodes = [{"__class_fullname__": each.pop("name"), "p": 1.0, **each} for each in map(dict, transforms)]
    return {"recipe": {"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": nodes}}}


FLIP = {"name": "HorizontalFlip"}
FLIPS = recipe({**FLIP, "p": 0.5}, {"name": "VerticalFlip", "p": 0.5})


def noise(height: int = 40, width: int = 56, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def make(policy: Classic, sample: Sample, seed: int = 0) -> Made:
    made = policy.make([Request(seed, sample)])[0]
    if isinstance(made, InputError):
        raise made
    assert isinstance(made, Made)
    return made


@pytest.fixture(scope="module")
def presets() -> dict[str, Classic]:
    return {name: Classic(recipes.read(name)) for name in PRESETS}


# ---- seeds ----


@pytest.mark.parametrize("name", PRESETS)
def test_a_request_gives_the_same_bits_beside_any_other(name: str, presets: dict[str, Classic]) -> None:
    sample, policy = Sample(noise(64, 64), "a", None, (Thing(1, (10, 12, 40, 50)),)), presets[name]
    requests = [Request(seed, sample) for seed in (5, 2**62 + 1, 7)] + [Request(9, Sample(noise()))]
    forward, backward = policy.make(requests), Classic(recipes.read(name)).make(requests[::-1])[::-1]
    for one, two in zip(forward, backward, strict=True):
        assert isinstance(one, Made) and isinstance(two, Made)
        assert one.sample.picture.tobytes() == two.sample.picture.tobytes()
        assert one.parameters == two.parameters and len(one.sample.things) == len(two.sample.things)
        assert [thing.box for thing in one.sample.things] == [thing.box for thing in two.sample.things]


def test_another_process_gives_the_same_bits(presets: dict[str, Classic]) -> None:
    code = """
import hashlib, numpy as np
from gantk_augment import recipes
from gantk_augment.classic import Classic
picture = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8, endpoint=True)
policy = Classic(recipes.read("photo"))
print(hashlib.sha256(b"".join(policy.transform(picture, seed).tobytes() for seed in range(30))).hexdigest())
"""
    import hashlib

    path = ["import sys", *[f"sys.path.insert(0, {entry!r})" for entry in sys.path]]
    done = subprocess.run([sys.executable, "-c", "\n".join(path) + code], capture_output=True, text=True, check=True)
    here = b"".join(presets["photo"].transform(noise(), seed).tobytes() for seed in range(30))
    assert done.stdout.strip() == hashlib.sha256(here).hexdigest()


@pytest.mark.parametrize("name", PRESETS)
def test_no_other_random_numbers_are_touched(name: str, presets: dict[str, Classic]) -> None:
    def state() -> tuple[Any, ...]:
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().numpy().tobytes()

    before, policy = state(), presets[name]
    first = [policy.transform(noise(), seed).tobytes() for seed in range(20)]
    assert state() == before
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    assert first == [policy.transform(noise(), seed).tobytes() for seed in range(20)]
    assert len(set(first)) > 10


def test_transforms_do_not_share_their_chance() -> None:
    # one stream a transform, all from one seed, would flip both ways or not at all
    picture, policy = noise(), Classic(FLIPS)
    views = [picture, picture[:, ::-1], picture[::-1], picture[::-1, ::-1]]
    found = [
        next(i for i, view in enumerate(views) if np.array_equal(policy.transform(picture, seed), view))
        for seed in range(400)
    ]
    # a binomial of 400 at 1/4 is within 60 to 140 but for a chance of 1e-5
    assert all(60 < found.count(i) < 140 for i in range(4))


# ---- kinds of pictures ----


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_keep_their_kind_and_size(name: str, dtype: Any, channels: int, presets: dict[str, Classic]) -> None:
    for height, width in ((37, 53), (28, 28), (65, 64)):
        for seed in range(12):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                made = make(presets[name], Sample(noise(height, width, channels, dtype)), seed).sample.picture
            assert made.dtype == dtype and made.flags.c_contiguous
            turned = (width, height, channels) if name == "satellite" else (height, width, channels)
            assert made.shape in ((height, width, channels), turned)


@pytest.mark.parametrize("name", PRESETS)
def test_transform_keeps_the_size(name: str, presets: dict[str, Classic]) -> None:
    for shape in ((28, 28, 1), (31, 47, 3), (64, 33, 4)):
        for seed in range(8):
            made = presets[name].transform(noise(*shape), seed)
            assert made.shape == shape and made.dtype == np.uint8


def test_transform_resizes_what_a_crop_leaves() -> None:
    crop = Classic(recipe({"name": "RandomCrop", "height": 16, "width": 20}))
    assert crop.transform(noise(28, 28, 1), 0).shape == (28, 28, 1)
    assert make(crop, Sample(noise(28, 28, 1))).sample.picture.shape == (16, 20, 1)


def test_sixteen_bits_stay_sixteen_bits() -> None:
    picture = noise(40, 40, 1, np.uint16)
    np.testing.assert_array_equal(make(Classic(recipe(FLIP)), Sample(picture)).sample.picture, picture[:, ::-1])
    brighter = recipe({"name": "RandomBrightnessContrast", "brightness_limit": [0.1, 0.1], "contrast_limit": [0, 0]})
    made = make(Classic(brighter), Sample(picture // 2)).sample.picture
    assert len(np.unique(made)) > 1000
    assert abs(int(made.astype(int).mean() - (picture // 2).mean()) - 6553) < 700


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_documents_are_filled_with_white(dtype: Any, channels: int, presets: dict[str, Classic]) -> None:
    black = Sample(np.zeros((64, 64, channels), dtype))
    light = [make(presets["document"], black, seed).sample.picture for seed in range(60)]
    filled = [made for made in light if made.max() > np.iinfo(dtype).max * 0.7]
    assert len(filled) > 20
    for made in filled:  # all channels alike, and white for a few pixels at the border only
        assert np.abs(made.astype(int) - made.mean(axis=2, keepdims=True)).max() < np.iinfo(dtype).max * 0.2
        assert (made[8:-8, 8:-8] < np.iinfo(dtype).max * 0.4).all()


def test_alpha_follows_the_geometry_and_no_colours() -> None:
    picture = noise(32, 32, 4)
    both = recipe(FLIP, {"name": "RandomBrightnessContrast", "brightness_limit": [0.3, 0.3]})
    made = make(Classic(both), Sample(picture)).sample.picture
    np.testing.assert_array_equal(made[:, :, 3], picture[:, ::-1, 3])
    assert made[:, :, :3].mean() > picture[:, :, :3].mean() + 30


@pytest.mark.parametrize("name", sorted(classic.EIGHT_BITS - {"HistogramMatching", "TextImage"}))
def test_what_works_on_eight_bits_is_refused_deeper_pictures(name: str) -> None:
    import albumentations as A

    smooth = cv2.GaussianBlur(np.random.default_rng(0).random((64, 64, 3), np.float32), (0, 0), 2) * 0.6 + 0.2
    levels = A.Compose([getattr(A, name)(p=1.0)], seed=0)(image=smooth)["image"] * 255
    assert np.mean(np.abs(levels - np.rint(levels)) < 1e-3) > 0.9  # so it is: no finer than 8 bits
    policy = Classic(recipe(FLIP, {"name": name}))
    with pytest.raises(InputError, match=f"{name} works on 8 bits"):
        make(policy, Sample(noise(dtype=np.uint16)))


def test_a_transform_that_cannot_is_named_and_the_rest_goes_on() -> None:
    policy = Classic(recipe(FLIP, {"name": "PlanckianJitter"}))  # knows RGB only
    assert isinstance(policy, Policy)
    grey, colour, none = policy.make([Request(0, Sample(noise(channels=1))), Request(0, Sample(noise())), Request(0)])
    assert isinstance(grey, InputError) and "PlanckianJitter failed" in str(grey) and "(40, 56, 1)" in str(grey)
    assert isinstance(colour, Made) and isinstance(none, InputError)
    with pytest.raises(InputError, match="RandomCrop failed"):
        Classic(recipe({"name": "RandomCrop", "height": 99, "width": 99})).transform(noise(), 0)
    with pytest.raises(InputError, match=r"another kind of picture.*float32"):
        make(Classic(recipe({"name": "Normalize"})), Sample(noise()))


# ---- the manifest, and the cost ----


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_json_and_say_what_was_done(name: str, presets: dict[str, Classic]) -> None:
    given = recipes.build(recipes.read(name)["recipe"])
    known = {type(leaf).__name__ for leaf in classic._leaves(given)}
    met: set[str] = set()
    for seed in range(60):
        parameters = make(presets[name], Sample(noise()), seed).parameters
        text = json.dumps(parameters, allow_nan=False)
        assert json.loads(text) == parameters and len(text) < 3000
        met |= {each["name"] for each in parameters["transforms"]}
    assert met == known


def test_parameters_of_a_known_transform() -> None:
    turn = recipe({"name": "Affine", "rotate": [5.0, 5.0]}, {**FLIP, "p": 0.0})
    (only,) = make(Classic(turn), Sample(noise())).parameters["transforms"]
    assert only["name"] == "Affine" and only["rotate"] == 5.0 and len(only["matrix"]) == 3
    blur = recipe({"name": "GaussNoise"})
    assert make(Classic(blur), Sample(noise())).parameters["transforms"] == [
        {"name": "GaussNoise", "noise_map": {"shape": [40, 56, 3]}}
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_cost_over_the_bare_pipeline_is_small(name: str, presets: dict[str, Classic]) -> None:
    devices.hold_memory()  # as in a run
    policy, sample = presets[name], Sample(cv2.GaussianBlur(noise(256, 256), (0, 0), 3))
    (compose, _), ratios = policy._compose(False, False), []

    def bare() -> None:
        compose(image=sample.picture)

    def clock(act: Any) -> int:
        start = time.thread_time_ns()
        act()
        return time.thread_time_ns() - start

    for _ in range(5):
        ours = theirs = 0
        for seed in range(100):
            request = [Request(seed, sample)]
            least = [1 << 60, 1 << 60]
            for _ in range(4):
                policy._seed(seed)
                least = [min(least[0], clock(bare)), min(least[1], clock(lambda r=request: policy.make(r)))]
            theirs, ours = theirs + least[0], ours + least[1]
        ratios.append(ours / theirs)
    assert statistics.median(ratios) < 1.1
