"""`python -m gantk_text2image.recipes RECIPE OUT`: build a data set."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from gantk_text2image import recipes
from gantk_text2image.recipes import clipart, drawings, emoji, shapes, stamps
from gantoolkit.errors import GantkError, UsageError

BUILDERS: dict[str, Callable[..., Counter[str]]] = {
    "drawings": drawings.build,
    "shapes": shapes.build,
    "emoji": emoji.build,
    "clipart": clipart.build,
    "stamps": stamps.build,
}
DRAWN = ("train", "test", "seed")  # options of recipes that draw at random


def main(words: Sequence[str] | None = None) -> int:
    """Build what the words of a command line name; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gantk_text2image.recipes",
        description=recipes.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", choices=BUILDERS)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--size", type=int, default=64, help="side of a picture in pixels (default 64)")
    parser.add_argument("--package", type=Path, help="where the downloaded packages are (all but shapes)")
    parser.add_argument("--train", type=int, help="pictures to train on (drawings, shapes)")
    parser.add_argument("--test", type=int, help="pictures of new combinations (drawings, shapes; default 2000)")
    parser.add_argument("--seed", type=int, help="of everything random (drawings, shapes; default 0)")
    arguments = vars(parser.parse_args(words))
    recipe, out = arguments.pop("recipe"), arguments.pop("out")
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        wrong = {"shapes": {"package"}, "drawings": set()}.get(recipe, set(DRAWN))
        if unknown := sorted(wrong & given.keys()):
            raise UsageError(f"--{unknown[0]} makes no sense for {recipe}")
        if least := [name for name in ("size", "train") if given.get(name, 1) < 1]:
            raise UsageError(f"--{least[0]}", expected="at least 1", actual=given[least[0]])
        counts = BUILDERS[recipe](out, **given)
    except GantkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{out}: " + ", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
