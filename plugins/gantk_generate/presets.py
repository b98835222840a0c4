"""Known recipes as rows of data: `gantk train generate FOLDER/ --preset NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Radford et al. 2015 (arXiv:1511.06434): Adam 2e-4, beta1 .5, batch norm in both networks, latent of 100. No average
# of the weights: it would not fit the statistics that batch norm has gathered.
_DCGAN: dict[str, Any] = {
    "arch": "dcgan",
    "latent": 100,
    "batch": 32,
    "channels": 64,
    "critic_channels": 64,
    "batch_norm": True,
    "penalty": "none",
    "gamma": 0.0,
    "lr": 2e-4,
    "lr_end": 1.0,
    "beta1": 0.5,
    "beta2": 0.999,
    "ema_nimg": 0.0,
}

PRESETS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "tiny": {"channels": 16, "critic_channels": 16, "nimg": 20_000, "score_pictures": 200},
    # few pictures: what the critic sees is augmented, as strongly as it overfits (Karras et al. 2020, 2006.06676)
    "few": {"augment": "color,translation,cutout", "mirror": True},
    # points in space, as in the ring and the grid
    "points": {
        "arch": "mlp",
        "latent": 2,
        "channels": 64,
        "critic_channels": 64,
        "batch": 512,
        "nimg": 9_600_000,
        "gamma": 5e-3,
        "gamma_end": 0.1,
        "penalty_every": 1,
        "lr": 3e-3,
        "lr_end": 0.05,
        "ema_nimg": 30_000.0,
    },
    # Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1, on DCGAN's networks: saturates when the critic wins
    "dcgan-minimax": {**_DCGAN, "loss": "minimax"},
    "dcgan": {**_DCGAN, "loss": "nonsaturating"},
    # Mao et al. 2017 (arXiv:1611.04076)
    "lsgan": {**_DCGAN, "loss": "lsgan"},
    # Miyato et al. 2018 (arXiv:1802.05957): hinge loss, spectral norm, five moves of the critic, beta (0, .9)
    "hinge-sn": {
        **_DCGAN,
        "loss": "hinge",
        "batch_norm": False,
        "spectral_norm": True,
        "critic_moves": 5,
        "beta1": 0.0,
        "beta2": 0.9,
    },
    # Gulrajani et al. 2017 (arXiv:1704.00028): penalty of 10, five moves of the critic, 1e-4, beta (0, .9), no
    # batch norm in the critic
    "wgan-gp": {
        **_DCGAN,
        "loss": "wasserstein",
        "batch_norm": False,
        "penalty": "gp",
        "penalty_every": 1,
        "gamma": 10.0,
        "gamma_end": 1.0,
        "critic_moves": 5,
        "lr": 1e-4,
        "beta1": 0.0,
        "beta2": 0.9,
    },
    # Karras et al. 2020 (arXiv:1912.04958): lazy R1 every 16, path length every 4; rate 2.5e-3 as in 2006.06676
    "stylegan2": {
        "arch": "style",
        "latent": 128,
        "loss": "nonsaturating",
        "penalty": "r1",
        "penalty_every": 16,
        "gamma_end": 1.0,
        "path_length": 2.0,
        "path_every": 4,
        "ema_nimg": 10_000.0,
        "lr": 2.5e-3,
        "lr_end": 1.0,
    },
}
