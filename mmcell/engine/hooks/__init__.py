"""Importing this package registers the hooks."""

from .average_buffers_hook import AverageBuffersHook
from .curves_hook import CurvesHook
from .density_guard_hook import DensityGuardHook
from .finite_loss_hook import FiniteLossHook
from .matching_checkpoint_hook import MatchingCheckpointHook
from .own_best_checkpoint_hook import OwnBestCheckpointHook
from .progress_bar_hook import ProgressBarHook
from .timing_hook import TimingHook

__all__ = [
    'AverageBuffersHook',
    'CurvesHook',
    'DensityGuardHook',
    'FiniteLossHook',
    'MatchingCheckpointHook',
    'OwnBestCheckpointHook',
    'ProgressBarHook',
    'TimingHook',
]
