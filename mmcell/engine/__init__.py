"""Training and testing through MMEngine's Runner: checks, launch, hooks, curves."""

from . import config_scope  # noqa: F401  mmcell:: in _base_ works from here on
