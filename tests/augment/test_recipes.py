"""Recipes: the presets are what albumentations itself reads, and a bad file is one line of error."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gantk_augment import recipes
from gantk_augment.classic import Classic
from gantk_augment.options import RECIPES
from gantoolkit.errors import GantkError, InputError, UsageError

GOOD = "transform:\n  __class_fullname__: Compose\n  p: 1.0\n  transforms:\n"


def test_the_presets_are_those_on_offer() -> None:
    assert set(recipes.names()) == set(RECIPES)


@pytest.mark.parametrize("name", recipes.names())
def test_albumentations_reads_a_preset_as_we_do(name: str) -> None:
    import albumentations as A

    path = recipes.PRESETS / f"{name}.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = A.load(path, data_format="yaml")
    read = recipes.read(name)
    assert A.to_dict(theirs) == A.to_dict(recipes.build(read["recipe"]))
    assert read == json.loads(json.dumps(read)) == recipes.read(str(path))


@pytest.mark.parametrize("name", recipes.names())
def test_a_preset_gives_reasons(name: str) -> None:
    lines = (recipes.PRESETS / f"{name}.yaml").read_text().splitlines()
    assert any(line.startswith("# Left out: ") for line in lines)
    for before, line in pairwise(lines):
        if line.startswith("    - __class_fullname__"):
            assert before.strip().startswith("#"), line


def test_what_is_left_out_of_presets_where_it_would_change_the_meaning() -> None:
    def used(name: str) -> set[str]:
        return set((recipes.PRESETS / f"{name}.yaml").read_text().replace("- ", "").split()) - {"#"}

    flips = {"HorizontalFlip", "VerticalFlip", "D4", "Transpose", "RandomRotate90"}
    assert not flips & used("medical") and not flips & used("document")
    assert not {"ColorJitter", "HueSaturationValue", "ElasticTransform"} & used("medical")
    assert flips & used("faces") == {"HorizontalFlip"} and "D4" in used("satellite")


def test_what_albumentations_writes_is_read_back(tmp_path: Path) -> None:
    import albumentations as A

    saved = A.Compose([A.HorizontalFlip(), A.OneOf([A.Affine(rotate=(-5, 5)), A.GaussianBlur()], p=0.3)], p=0.9)
    A.save(saved, tmp_path / "mine.yml", data_format="yaml")
    assert A.to_dict(recipes.build(recipes.read(str(tmp_path / "mine.yml"))["recipe"])) == A.to_dict(saved)
    A.save(A.Transpose(p=0.2), tmp_path / "one.yaml", data_format="yaml")
    assert Classic(recipes.read(str(tmp_path / "one.yaml"))).make([]) == []


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"no recipe 'foto'.*photo"):
        recipes.read("foto")
    with pytest.raises(UsageError, match=r"no recipe .*gone\.yaml"):
        recipes.read("gone.yaml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder"):
        recipes.read(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no recipe"),
        ("- 1\n- 2\n", "got list"),
        ("a: 1\nb: 2\n", "got the keys a, b"),
        ("transform: 3\n", "no recipe"),
        ("transform: {p: 1}\n", "without __class_fullname__"),
        ("{unclosed: [", "no recipe"),
        ("a: \x00", "no recipe"),
        (GOOD + "    - __class_fullname__: HorizontalFlop\n", "unknown transform 'HorizontalFlop'; did you mean Horiz"),
        (GOOD + "    - 5\n", "without __class_fullname__"),
        ("transform: {__class_fullname__: Compose, transforms: 5}\n", "expected a list"),
        (GOOD + "    - {__class_fullname__: Affine, rotate: upright, p: 1}\n", "bad parameters of Affine: rotate"),
        (GOOD + "    - {__class_fullname__: HorizontalFlip, p: 7}\n", "bad parameters of HorizontalFlip: p"),
        (GOOD + "    - {__class_fullname__: HorizontalFlip, angle: 7, p: 1}\n", "HorizontalFlip.*angle"),
        (GOOD + "    - {__class_fullname__: HorizontalFlip, p: .nan}\n", "no recipe"),
        (GOOD + "    - {__class_fullname__: Lambda, name: x, p: 1}\n", "runs code"),
        (GOOD + "    - {__class_fullname__: OneOf, n: 1, transforms: []}\n", "refuses"),
        ("transform: !!python/object/apply:os.system ['touch pwned']\n", "no recipe"),
        ("transform: !!python/name:os.system\n", "no recipe"),
        ("__version__: 2020-01-01\n" + GOOD + "    []\n", "no recipe"),
        ("a: &a [1, 2]\nb: *a\n", "anchors and aliases"),
        ("transform: &a\n  __class_fullname__: Compose\n  transforms: [*a]\n", "anchors and aliases"),
        ("transform: " + "{__class_fullname__: Compose, transforms: [" * 40 + "]}" * 40, "deep at most"),
        ("[" * 20_000, "at most 100 levels"),
        ("#" * 100_001, "at most 100,000 bytes"),
    ],
)
def test_a_bad_file_is_one_line_of_error(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        recipes.read("bad.yaml")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("bad.yaml") and len(str(caught.value)) < 400
    assert not (tmp_path / "pwned").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet="transform: {}[]&*!-_clas\n'\"0.9", max_size=80).map(str.encode),
        st.recursive(
            st.one_of(st.none(), st.floats(), st.text(max_size=5), st.sampled_from(["Compose", "OneOf", "Affine"])),
            lambda inner: (
                st.dictionaries(
                    st.sampled_from(["transform", "transforms", "__class_fullname__", "p", "rotate"]), inner, max_size=4
                )
                | st.lists(inner, max_size=3)
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps({"transform": value}).encode()),
    )
)
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    try:
        Classic(recipes.read(str(path)))
    except GantkError as error:
        assert "\n" not in str(error)


def test_bad_settings_are_refused_by_the_policy() -> None:
    for given_settings in ({}, {"recipe": None}, {"recipe": {"transform": []}}):
        with pytest.raises(InputError, match="no recipe"):
            Classic(given_settings)


def test_a_preset_is_read_without_albumentations() -> None:
    code = (
        "import sys; sys.path[:0] = ['.', 'plugins']; from gantk_augment import recipes; "
        "recipes.read('photo'); print('albumentations' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"
