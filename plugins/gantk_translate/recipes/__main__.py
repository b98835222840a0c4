"""`python -m gantk_translate.recipes RECIPE OUT`: build a data set."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gantk_translate import recipes
from gantk_translate.recipes import day_night, line_art, maps
from gantoolkit.errors import GantkError


def main(words: Sequence[str] | None = None) -> int:
    """Build what the words of a command line name; the exit code."""
    given = vars(parser().parse_args(words))
    build, out = given.pop("build"), given["out"]
    try:
        counts = build(**given)
    except GantkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{out}: " + ", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
    return 0


def parser() -> argparse.ArgumentParser:
    """The recipes and their options, named as the arguments of `build`."""
    made = argparse.ArgumentParser(
        prog="python -m gantk_translate.recipes",
        description=recipes.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = made.add_subparsers(required=True, metavar="RECIPE")
    lines = _recipe(kinds, "line-art", line_art.build, "line art and the coloured drawing")
    lines.add_argument(
        "--widths",
        type=_numbers,
        default=(1.0,),
        metavar="F,F",
        help="of the training part's lines, such as 0.55,1,1.5",
    )
    world = _recipe(kinds, "maps", maps.build, "satellite picture and relief map")
    world.add_argument("--relief", default=maps.RELIEFS[0], choices=maps.RELIEFS, help="the map of side B")
    for recipe in (lines, world):
        recipe.add_argument("--package", type=Path, help="a downloaded wheel or a folder; default: what is installed")
    night = _recipe(kinds, "day-night", day_night.build, "a day photograph and a night made of it")
    night.add_argument("--photos", type=Path, required=True, help="a folder of photographs taken by day")
    return made


def _recipe(kinds: Any, name: str, build: Callable[..., Counter[str]], about: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = kinds.add_parser(name, help=about, description=about)
    made.add_argument("out", type=Path, help="a new folder")
    made.add_argument("--size", type=_side, default=128, help="side of a picture in pixels (default 128)")
    made.set_defaults(build=build)
    return made


def _side(text: str) -> int:
    side = int(text)
    if not 16 <= side <= 1024:
        raise argparse.ArgumentTypeError(f"expected 16 to 1024 pixels, got {side}")
    return side


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(number) for number in text.split(","))
    if not all(0 < number <= 10 for number in numbers):
        raise argparse.ArgumentTypeError(f"expected factors above 0, at most 10, got {text}")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
