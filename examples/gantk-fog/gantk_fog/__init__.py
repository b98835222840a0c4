"""The hooks. Importing this file runs at every start of `gantk`, so it imports nothing heavy."""

from gantoolkit import hookimpl


@hookimpl
def gantk_augmentations():
    return {"fog": _fog}


def _fog(settings):
    from gantk_fog.policy import Fog

    return Fog(settings)
