"""The recipe of clip art: what an SVG says of itself, what is left out, and drawings that are not square."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gantk_text2image.captions import open_captions
from gantk_text2image.recipes import clipart
from gantk_text2image.recipes.__main__ import main
from gantoolkit import recipes
from gantoolkit.errors import InputError

FREE = "http://web.resource.org/cc/PublicDomain"


def svg(title: str = "", keywords: str = "", licence: str = FREE, width: str = "20pt", height: str = "10pt") -> str:
    listed = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords.split(","))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"
        xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:cc="http://web.resource.org/cc/"
        xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><rdf:RDF><cc:Work>
        <dc:title>{title}</dc:title><dc:subject><rdf:Bag>{listed}</rdf:Bag></dc:subject>
        <dc:creator><cc:Agent><dc:title>Ann Artist</dc:title></cc:Agent></dc:creator>
        <cc:license rdf:resource="{licence}"/></cc:Work></rdf:RDF></metadata>
        <rect width="26.67" height="13.33" fill="#ff0000"/></svg>"""


def test_what_an_svg_says() -> None:
    found = clipart.said(svg("Clipart by Somebody - red_box_01", "hash,Box,,Ann Artist,Box"))
    assert found == clipart.Said("red box", ("box",), True)
    assert clipart.captions(found, Counter()) == ["red box", "a drawing of a red box", "box"]
    assert clipart.captions(found, Counter({"red box": clipart.SETS})) == ["box"]
    assert clipart.said(svg("Ann Artist")).title == "" and clipart.said("<svg/>") == clipart.Said("", (), True)
    assert not clipart.said(svg("a", licence="http://creativecommons.org/licenses/GPL/2.0/")).free
    with pytest.raises(InputError, match="not a well-formed SVG"):
        clipart.said("<svg>")


def test_a_drawing_that_is_not_square_stays_whole() -> None:
    pytest.importorskip("resvg_py")
    for width, height, inside, outside in (("20pt", "10pt", (16, 2), (2, 16)), ("10pt", "20pt", (2, 16), (16, 2))):
        picture = recipes.drawn(svg(width=width, height=height).replace('width="26.67" height="13.33"',
            'width="100%" height="100%"'), 32)  # fmt: skip
        assert picture.shape == (32, 32, 3)
        assert tuple(picture[inside]) == (255, 0, 0) and tuple(picture[outside]) == (255, 255, 255)


def test_the_data_set(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    animals = tmp_path / "in" / clipart.INSIDE / "animals" / "birds"
    animals.mkdir(parents=True)
    for n in range(30):
        (animals / f"bird{n}.svg").write_text(svg(f"bird {'abcdefghij'[n % 10] * 3}", "bird,animal"))
    (animals / "silent.svg").write_text(svg("12", ""))
    (animals / "torn.svg").write_text("<svg")
    (animals / "theirs.svg").write_text(svg("a dog", licence="http://example.org/mine"))
    (animals / "blank.svg").write_text(svg("nothing").replace("#ff0000", "#ffffff"))
    other = tmp_path / "in" / clipart.INSIDE / "computer"
    other.mkdir()
    (other / "icon.svg").write_text(svg("icon"))
    out = tmp_path / "out"
    assert main(["clipart", str(out), "--package", str(tmp_path / "in"), "--size", "32"]) == 0
    found = open_captions(out)
    assert found.problems == [] and len(found) == 30
    assert all(found.attributes(i) == {"category": "animals", "kind": "birds"} for i in range(30))
    sides: dict[str, set[str | None]] = {}
    for i in range(30):
        sides.setdefault(found.captions(i)[0], set()).add(found.split(i))
    assert all(len(side) == 1 for side in sides.values())  # drawings of one title are in one part
    card = (out / "README.md").read_text()
    for why in ("nothing said", "not drawn", "another licence", "blank"):
        assert f"left out: {why} | 1" in card


def test_a_package_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    with pytest.raises(InputError, match="apt-get download openclipart-svg"):
        clipart.build(tmp_path / "out", package=tmp_path / "nowhere")
