"""mmcell: biomedical instance segmentation on MMDetection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mmcell.inference.model import Model

__version__ = '0.1.0'


def load(config: str | Path, checkpoint: str | Path, device: str = 'auto') -> Model:
    """Load a model for prediction: see :func:`mmcell.inference.model.load`."""
    from mmcell.inference import model  # heavy, and importing mmcell is not

    return model.load(config, checkpoint, device)
