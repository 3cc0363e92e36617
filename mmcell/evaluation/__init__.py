"""MMEngine metrics: thin wrappers over ``mmcell.functional``."""
