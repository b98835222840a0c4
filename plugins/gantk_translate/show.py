"""Pictures of what a translator does: input, output and target side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit.images import contact_sheet
from gantoolkit.resample import resize_array

if TYPE_CHECKING:
    from gantk_translate.data import Data

ROWS = 6  # examples on a sheet
LEAST_SIDE, MOST_SIDE = 96, 512  # pixels: smaller pictures are shown larger by whole factors, larger ones smaller
Planes = np.ndarray  # (C, H, W) float32, [-1, 1]


def triptychs(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str]) -> np.ndarray:
    """Rows of pictures under the captions of their columns.

    Args:
        rows: of (H, W, 3) uint8 of any sizes, all of one length.
        captions: one a column.

    Returns:
        (H', W', 3) uint8.
    """
    cells = [fitting(picture) for row in rows for picture in row]
    return contact_sheet(cells, len(captions), list(captions) * len(rows))


def fitting(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with its longer side between `LEAST_SIDE` (reached by whole factors) and `MOST_SIDE`."""
    side = max(picture.shape[:2])
    if side > MOST_SIDE:
        height, width = (max(1, round(length * MOST_SIDE / side)) for length in picture.shape[:2])
        return resize_array(picture, (height, width))
    factor = -(-LEAST_SIDE // side)
    return picture.repeat(factor, 0).repeat(factor, 1)


def while_training(config: TranslateConfig, dataset: Data, networks: Mapping[str, nn.Module]) -> np.ndarray | None:
    """The first held-out pictures, always the same.

    Columns: input, the style (style), output, back again (cyclegan), and the target where there are pairs.
    """
    examples = dataset.held_out()
    sources = planes_of(dataset, dataset.source, examples.sources, ROWS)
    targets = planes_of(dataset, dataset.target, examples.targets, ROWS)
    styles = styles_for(sources, targets) if config.game == "style" else None
    outputs = translated(networks["generator"], sources, styles)
    columns = {"input": (dataset.source, sources)}
    if styles is not None:
        columns = {"content": (dataset.source, sources), "style": (dataset.target, styles)}
    columns["output"] = dataset.target, outputs
    if "back" in networks:
        columns["back again"] = dataset.source, translated(networks["back"], outputs)
    if examples.paired and styles is None:
        columns["target"] = dataset.target, targets
    pictures = [[side.shown(planes) for planes in column] for side, column in columns.values()]
    return triptychs(list(zip(*pictures, strict=True)), list(columns))


def planes_of(dataset: Data, side: Side, pictures: Sequence[np.ndarray], most: int) -> list[Planes]:
    """The first `most` pictures of a side as networks see them while training, without chance."""
    chosen = (pictures[index] for index in range(min(most, len(pictures))))
    return [side.encode(dataset.standard(values, side)) for values in chosen]


def styles_for(sources: Sequence[Planes], targets: Sequence[Planes]) -> list[Planes]:
    """A style for each content: the targets in turn, over and over."""
    return [targets[index % len(targets)] for index in range(len(sources))]


def translated(network: nn.Module, sources: Sequence[Planes], styles: Sequence[Planes] | None = None) -> list[Planes]:
    """What a network in eval mode makes of each picture, one at a time: memory stays that of one."""
    weight = next(network.parameters(), None)
    device = "cpu" if weight is None else weight.device

    def tensor(planes: Planes) -> torch.Tensor:
        return torch.from_numpy(planes)[None].to(device)

    with torch.no_grad():
        given = [(tensor(a),) if styles is None else (tensor(a), tensor(styles[i])) for i, a in enumerate(sources)]
        return [network(*planes)[0].float().cpu().numpy() for planes in given]
