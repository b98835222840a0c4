"""Augmentation inside other libraries' pipelines; each module needs its own library, and nothing here imports them."""
