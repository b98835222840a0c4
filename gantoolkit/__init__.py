"""gantoolkit: generative adversarial networks as plugins."""

__version__ = "0.1.0"
