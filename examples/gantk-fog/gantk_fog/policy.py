"""The policy: Koschmieder, "Theorie der horizontalen Sichtweite", Beitr. Phys. freien Atmosphäre 12 (1924), 33-53."""

import numpy as np

from gantoolkit.errors import UsageError
from gantoolkit.samples import Made

DEFAULTS = {"visibility": (40, 400), "light": (0.6, 0.95), "near": 5, "far": 500, "horizon": 0.4}
CONTRAST = -np.log(0.02)  # 3.912: at the distance of visibility two hundredths of an object's contrast are left


class Fog:
    name, needs_source, chunk = "fog", True, 1

    def __init__(self, settings):
        if unknown := sorted(set(settings) - set(DEFAULTS)):
            raise UsageError(f"fog has no setting {unknown[0]!r}", expected=", ".join(DEFAULTS))
        self.settings = DEFAULTS | dict(settings)

    def make(self, requests):
        return [self._made(request.source, np.random.default_rng(request.seed)) for request in requests]

    def _made(self, sample, rng):
        visibility, light = (float(rng.uniform(*self.settings[name])) for name in ("visibility", "light"))
        picture, top = sample.picture, np.iinfo(sample.picture.dtype).max
        colour = slice(3) if picture.shape[2] == 4 else slice(None)  # alpha stays
        through = np.exp(-CONTRAST / visibility * self.distances(picture.shape[0]))[:, None, None]
        foggy = linear(picture[..., colour] / top) * through + light * (1 - through)  # eq. of the law, in linear light
        picture = picture.copy()
        picture[..., colour] = np.rint(np.clip(encoded(foggy), 0, 1) * top)
        return Made(sample.with_picture(picture), {"visibility": visibility, "light": light})

    def distances(self, height):
        """Metres that each row of a picture is away: on flat ground 1/d grows evenly from the horizon downwards."""
        near, far, horizon = self.settings["near"], self.settings["far"], self.settings["horizon"]
        below = np.clip((np.linspace(0, 1, height) - horizon) / (1 - horizon), 0, 1)
        return 1 / (1 / far + (1 / near - 1 / far) * below)


def linear(value):
    """sRGB in [0, 1] → light (IEC 61966-2-1)."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def encoded(light):
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)
