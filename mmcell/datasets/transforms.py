"""Augmentation that microscopy needs beyond MMDetection's own."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes


@TRANSFORMS.register_module()
class RandomRotate90(BaseTransform):
    """Rotate counter-clockwise by one, two or three quarter turns, each as likely.

    Required Keys: img; optional: gt_bboxes (HorizontalBoxes), gt_masks (LabelMapMasks), gt_seg_map.
    Modified Keys: the same, and img_shape.

    Args:
        prob: probability of rotating at all, in [0, 1]; 0.75 makes all four orientations equally
            likely.
    """

    def __init__(self, prob: float = 0.75) -> None:
        self.prob = _probability(prob)

    @cache_randomness
    def _turns(self) -> int:
        return int(np.random.randint(1, 4)) if np.random.random() < self.prob else 0

    def transform(self, results: dict) -> dict:
        """Rotate image, boxes, masks and semantic map together."""
        turns = self._turns()
        if turns == 0:
            return results
        size = results['img'].shape[:2]
        results['img'] = np.ascontiguousarray(np.rot90(results['img'], turns))
        results['img_shape'] = results['img'].shape[:2]
        if 'gt_bboxes' in results:
            boxes = results['gt_bboxes'].tensor
            results['gt_bboxes'] = HorizontalBoxes(rotate90_boxes(boxes, size, turns))
        if 'gt_masks' in results:
            results['gt_masks'] = results['gt_masks'].rotate90(turns)
        if 'gt_seg_map' in results:
            results['gt_seg_map'] = np.ascontiguousarray(np.rot90(results['gt_seg_map'], turns))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


def rotate90_boxes(boxes: torch.Tensor, size: tuple[int, int], turns: int) -> torch.Tensor:
    """Boxes after ``numpy.rot90(image, turns)``.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        size: height, width before the rotation.
        turns: quarter turns counter-clockwise.
    """
    height, width = size
    for _ in range(turns % 4):
        x1, y1, x2, y2 = boxes.unbind(dim=1)
        boxes = torch.stack([y1, width - x2, y2, width - x1], dim=1)
        height, width = width, height
    return boxes


# The 3 x 3 kernel that changes nothing.
_IDENTITY = np.float32([[0, 0, 0], [0, 1, 0], [0, 0, 0]])


class _RandomPixelTransform(BaseTransform):
    """Change the pixels of an 8-bit image with probability ``prob``.

    Required and modified key: img ((H, W, C) uint8).
    """

    def __init__(self, prob: float) -> None:
        self.prob = _probability(prob)

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8:
            raise TypeError(
                f'{type(self).__name__} needs a uint8 image, got {image.dtype}; place it before '
                'PhotoMetricDistortion in the pipeline'
            )
        if np.random.random() < self.prob:
            results['img'] = self.apply(image)
        return results

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The changed image, a new uint8 array."""
        raise NotImplementedError

    def __repr__(self) -> str:
        settings = ', '.join(f'{name}={value}' for name, value in vars(self).items())
        return f'{type(self).__name__}({settings})'


@TRANSFORMS.register_module()
class RandomGaussianBlur(_RandomPixelTransform):
    """Blur with a Gaussian of random width.

    Args:
        sigma: range of the standard deviation in pixels, drawn uniformly.
        prob: probability, in [0, 1].
    """

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        self.sigma = _positive_range('sigma', sigma)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """See the class."""
        return cv2.GaussianBlur(image, (0, 0), np.random.uniform(*self.sigma))


@TRANSFORMS.register_module()
class RandomMedianBlur(_RandomPixelTransform):
    """Replace every pixel by the median of its neighbourhood.

    Args:
        kernel_sizes: sides of the neighbourhood in pixels, odd, one drawn at random.
        prob: probability, in [0, 1].
    """

    def __init__(self, kernel_sizes: Sequence[int] = (3, 5), prob: float = 0.5) -> None:
        super().__init__(prob)
        if not kernel_sizes or any(size < 3 or size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f'kernel_sizes must be odd and >= 3, got {kernel_sizes}')
        self.kernel_sizes = tuple(kernel_sizes)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """See the class."""
        return cv2.medianBlur(image, int(np.random.choice(self.kernel_sizes)))


@TRANSFORMS.register_module()
class RandomGaussianNoise(_RandomPixelTransform):
    """Add independent Gaussian noise to every pixel and channel.

    Args:
        std: range of the standard deviation in gray levels of 0..255, drawn uniformly.
        prob: probability, in [0, 1].
    """

    def __init__(self, std: tuple[float, float] = (2.0, 12.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        self.std = _positive_range('std', std)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """See the class."""
        noise = np.random.normal(0, np.random.uniform(*self.std), image.shape)
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class RandomEmboss(_RandomPixelTransform):
    """Add a relief lit from the top left; flat regions stay as they are.

    Args:
        strength: range of the factor of the relief, drawn uniformly; the relief is the sum of three
            differences, each of a pixel below or right and its opposite.
        prob: probability, in [0, 1].
    """

    relief = np.float32([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]])

    def __init__(self, strength: tuple[float, float] = (0.2, 0.7), prob: float = 0.5) -> None:
        super().__init__(prob)
        self.strength = _positive_range('strength', strength)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """See the class."""
        return cv2.filter2D(image, -1, _IDENTITY + np.random.uniform(*self.strength) * self.relief)


@TRANSFORMS.register_module()
class RandomSharpen(_RandomPixelTransform):
    """Move every pixel away from the mean of its eight neighbours.

    Args:
        amount: range of the factor of their difference, drawn uniformly.
        prob: probability, in [0, 1].
    """

    def __init__(self, amount: tuple[float, float] = (0.2, 1.0), prob: float = 0.5) -> None:
        super().__init__(prob)
        self.amount = _positive_range('amount', amount)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """See the class."""
        difference = (9 * _IDENTITY - 1) / 8
        return cv2.filter2D(image, -1, _IDENTITY + np.random.uniform(*self.amount) * difference)


@TRANSFORMS.register_module()
class RandomChannelShuffle(_RandomPixelTransform):
    """Put the colour channels into a random order, each order as likely."""

    def apply(self, image: np.ndarray) -> np.ndarray:
        """See the class."""
        return np.ascontiguousarray(image[:, :, np.random.permutation(image.shape[2])])


def _probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f'prob must be in [0, 1], got {value}')
    return value


def _positive_range(name: str, bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not 0 < low <= high:
        raise ValueError(f'{name} must be a range 0 < low <= high, got {bounds}')
    return low, high
