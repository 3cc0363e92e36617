"""Masks of annotations as integer label layers instead of one full-size bitmap per object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mmcv
import numpy as np
import numpy.typing as npt
import torch
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes
from mmdet.structures.mask import BaseInstanceMasks, BitmapMasks
from scipy import ndimage
from torch import Tensor

from mmcell.functional.label_roi_align import label_roi_align
from mmcell.functional.rle import Rle, counts_to_rle, label_map_to_rles, rles_to_label_layers


class LabelMapMasks(BaseInstanceMasks):
    """N object masks stored on L label layers; L is 1 unless objects overlap.

    An image of 1000 x 1000 with 1,000 nuclei takes 4 MB here and 1 GB as ``BitmapMasks``. Every
    operation of the training pipeline works on the layers; objects that were indexed away stay
    there as values that no id names, so indexing copies no pixels.

    Args:
        layers: (L, H, W) integers, L >= 1, 0 = background. Kept as int32.
        ids: (N,) integers > 0, the value that object k has on exactly one of the layers. An id
            without pixels is an empty mask.

    Raises:
        ValueError: If shapes or types are not as described.
    """

    def __init__(self, layers: npt.ArrayLike, ids: npt.ArrayLike) -> None:
        layers, ids = np.asarray(layers), np.asarray(ids)
        if layers.ndim != 3 or len(layers) < 1 or not np.issubdtype(layers.dtype, np.integer):
            raise ValueError(
                f'layers must be (L, H, W) integers with L >= 1, got {layers.shape} {layers.dtype}'
            )
        if ids.ndim != 1 or (len(ids) and ids.min() < 1):
            raise ValueError(f'ids must be (N,) integers > 0, got {ids}')
        self.layers = layers.astype(np.int32, copy=False)
        self.ids = ids.astype(np.int64)

    @classmethod
    def from_label_map(cls, label_map: npt.ArrayLike) -> LabelMapMasks:
        """One mask per id of a label map, in ascending order; 0 = background.

        Args:
            label_map: (H, W) integers >= 0; ids may have gaps.
        """
        label_map = np.asarray(label_map)
        ids = np.unique(label_map)
        return cls(label_map[None], ids[ids != 0])

    @classmethod
    def from_rles(cls, rles: Sequence[Rle], size: tuple[int, int]) -> LabelMapMasks:
        """Masks from COCO RLEs, overlapping ones on different layers.

        Args:
            rles: N masks, all of ``size``.
            size: height, width in pixels; needed where there is no mask.
        """
        return cls(rles_to_label_layers(rles, size), np.arange(1, len(rles) + 1))

    @classmethod
    def cat(cls, masks: Sequence[LabelMapMasks]) -> LabelMapMasks:
        """Join masks of one image size, in order.

        Parts that share their layers (what ``InstanceData`` makes when it is indexed by a tensor)
        go on sharing them.

        Raises:
            ValueError: If there is nothing to join or sizes differ.
        """
        if not masks:
            raise ValueError('masks must hold at least one LabelMapMasks, got none')
        sizes = {(part.height, part.width) for part in masks}
        if len(sizes) > 1:
            raise ValueError(f'masks must have one image size, got {sorted(sizes)}')
        distinct = list({id(part.layers): part.layers for part in masks}.values())
        if len(distinct) == 1:
            return cls(distinct[0], np.concatenate([part.ids for part in masks]))
        highest = {id(layers): int(layers.max(initial=0)) for layers in distinct}
        for part in masks:  # empty masks have ids above those on the layers
            highest[id(part.layers)] = max(highest[id(part.layers)], int(part.ids.max(initial=0)))
        offset = dict(zip(highest, np.cumsum([0, *highest.values()]), strict=False))
        return cls(
            np.concatenate([np.where(part > 0, part + offset[id(part)], 0) for part in distinct]),
            np.concatenate([part.ids + offset[id(part.layers)] for part in masks]),
        )

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return self.layers.shape[1]

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return self.layers.shape[2]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Any) -> LabelMapMasks:
        """Masks at an int (one mask), slice, list, bool or index array or tensor."""
        if isinstance(index, Tensor):
            index = index.cpu().numpy()
        if isinstance(index, list):
            index = np.asarray(index, dtype=None if index else np.int64)
        return LabelMapMasks(self.layers, np.atleast_1d(self.ids[index]))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_masks={len(self)}, height={self.height}, '
            f'width={self.width}, num_layers={len(self.layers)})'
        )

    def rescale(
        self, scale: float | tuple[int, int], interpolation: str = 'nearest'
    ) -> LabelMapMasks:
        """Resize, keeping the aspect ratio; ``scale`` as in ``mmcv.imrescale``."""
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width), interpolation)

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> LabelMapMasks:
        """Resize to (height, width) by nearest neighbour, the only choice for labels.

        A pixel takes what lies below its centre, as in images that are resized bilinearly. OpenCV's
        nearest neighbour takes what lies below its corner, and so shifts objects by up to half a
        pixel against their image.
        """
        if interpolation != 'nearest':
            raise ValueError(f"interpolation must be 'nearest', got {interpolation!r}")
        rows, columns = (
            (2 * np.arange(size) + 1) * old_size // (2 * size)
            for size, old_size in zip(out_shape, (self.height, self.width), strict=True)
        )
        return self._with(self.layers[:, rows][:, :, columns])

    def flip(self, flip_direction: str = 'horizontal') -> LabelMapMasks:
        """Mirror 'horizontal', 'vertical' or 'diagonal' (both)."""
        axes = {'horizontal': (2,), 'vertical': (1,), 'diagonal': (1, 2)}
        if flip_direction not in axes:
            raise ValueError(f'flip_direction must be one of {tuple(axes)}, got {flip_direction!r}')
        return self._with(np.flip(self.layers, axes[flip_direction]))

    def rotate90(self, turns: int) -> LabelMapMasks:
        """Rotate counter-clockwise by ``turns`` quarter turns, as ``numpy.rot90`` does."""
        return self._with(np.rot90(self.layers, turns, axes=(1, 2)))

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> LabelMapMasks:
        """Append background at the bottom and right up to (height, width)."""
        if pad_val != 0:
            raise ValueError(f'pad_val must be 0, the background, got {pad_val}')
        height, width = out_shape
        if height < self.height or width < self.width:
            raise ValueError(f'cannot pad {self.height, self.width} to the smaller {out_shape}')
        if (height, width) == (self.height, self.width):
            return self
        return self.expand(height, width, 0, 0)

    def crop(self, bbox: np.ndarray) -> LabelMapMasks:
        """Cut out ``bbox`` (4,) integers x1, y1, x2, y2, clipped to the image."""
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        # At least one pixel, as BitmapMasks has it.
        return self._with(self.layers[:, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)])

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> LabelMapMasks:
        """Place the image on a background of (expanded_h, expanded_w) at (top, left)."""
        layers = np.zeros((len(self.layers), expanded_h, expanded_w), dtype=np.int32)
        layers[:, top : top + self.height, left : left + self.width] = self.layers
        return self._with(layers)

    def crop_and_resize(
        self,
        bboxes: np.ndarray | Tensor,
        out_shape: tuple[int, int],
        inds: np.ndarray | Tensor,
        device: str | torch.device = 'cpu',
        interpolation: str = 'bilinear',
        binarize: bool = True,
    ) -> BitmapMasks:
        """Mask targets as mmdet's heads ask for them; see `roi_targets`.

        Args:
            bboxes: (P, 4) x1, y1, x2, y2 in pixels.
            out_shape: height, width of a target.
            inds: (P,) the mask that belongs to each box.
            device: where to compute.
            interpolation: unused, as in ``BitmapMasks``: RoIAlign decides.
            binarize: True: at least half covered gives 1; False: the covered fraction.

        Returns:
            P masks of ``out_shape``.
        """
        targets = self.roi_targets(
            torch.as_tensor(bboxes, device=device),
            torch.as_tensor(inds, device=device),
            out_shape,
        )
        if binarize:
            targets = targets >= 0.5
        return BitmapMasks(targets.cpu().numpy(), *out_shape)

    def roi_targets(self, boxes: Tensor, indices: Tensor, out_shape: tuple[int, int]) -> Tensor:
        """The fraction of each bin of a box that its object covers.

        Args:
            boxes: (P, 4) float, x1, y1, x2, y2 in pixels, on any device.
            indices: (P,) int64, the mask that belongs to each box.
            out_shape: bins down and across.

        Returns:
            (P, *out_shape) in [0, 1], on the device and of the dtype of ``boxes``.
        """
        device = boxes.device
        indices = indices.to(device)
        return label_roi_align(
            torch.from_numpy(np.ascontiguousarray(self.layers)).to(device),
            torch.from_numpy(self.layer_index()).to(device)[indices],
            torch.from_numpy(self.ids).to(device)[indices],
            boxes,
            out_shape,
        )

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) pixels of each whole object."""
        return np.bincount(self.layers.ravel(), minlength=self._id_bound())[self.ids]

    def get_bboxes(self, dst_type: str | type[BaseBoxes] = 'hbox') -> BaseBoxes:
        """Tight boxes around the pixels, right and bottom exclusive; 0, 0, 0, 0 for empty masks.

        Args:
            dst_type: mmdet's box type, by name or class.
        """
        boxes = np.zeros((self._id_bound(), 4), dtype=np.float32)
        for layer in self.layers:
            for label, extent in enumerate(ndimage.find_objects(layer), start=1):
                if extent is not None:
                    rows, cols = extent
                    boxes[label] = cols.start, rows.start, cols.stop, rows.stop
        return HorizontalBoxes(boxes[self.ids]).convert_to(dst_type)

    def to_label_map(self) -> npt.NDArray[np.int32]:
        """(H, W) int32: 0 = background, k + 1 = mask k; where masks overlap, the first one."""
        # Numbered backwards, so that the smaller index is the larger number.
        rank = np.zeros(self._id_bound(), dtype=np.int32)
        rank[self.ids[::-1]] = np.arange(1, len(self) + 1)
        top = rank[self.layers].max(axis=0)
        return np.where(top > 0, len(self) + 1 - top, 0).astype(np.int32)

    def to_rle(self) -> list[Rle]:
        """The masks as COCO RLEs, overlaps kept; an empty mask has no object run."""
        by_id: dict[int, Rle] = {}
        for layer in self.layers:
            ids, rles = label_map_to_rles(layer)
            by_id.update(zip(ids.tolist(), rles, strict=True))
        empty = counts_to_rle([self.height * self.width], (self.height, self.width))
        return [by_id.get(k, empty) for k in self.ids.tolist()]

    def to_ndarray(self) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8 bitmaps: the memory that this class avoids, on request only."""
        bitmaps = np.zeros((len(self), self.height, self.width), dtype=np.uint8)
        for bitmap, layer, label in zip(bitmaps, self.layer_index(), self.ids, strict=True):
            bitmap[:] = self.layers[layer] == label
        return bitmaps

    def to_tensor(self, dtype: torch.dtype, device: str | torch.device) -> Tensor:
        """(N, H, W) bitmaps as a tensor: the memory that this class avoids, on request only."""
        return torch.as_tensor(self.to_ndarray(), dtype=dtype, device=device)

    def translate(self, *args: Any, **kwargs: Any) -> LabelMapMasks:
        """Not available."""
        raise _unsupported('translate')

    def shear(self, *args: Any, **kwargs: Any) -> LabelMapMasks:
        """Not available."""
        raise _unsupported('shear')

    def rotate(self, *args: Any, **kwargs: Any) -> LabelMapMasks:
        """Not available."""
        raise _unsupported('rotate')

    def _with(self, layers: np.ndarray) -> LabelMapMasks:
        """The same objects on moved pixels."""
        return LabelMapMasks(np.ascontiguousarray(layers), self.ids)

    def _id_bound(self) -> int:
        """One more than the largest value on the layers or among the ids."""
        return 1 + max(int(self.layers.max(initial=0)), int(self.ids.max(initial=0)))

    def layer_index(self) -> npt.NDArray[np.int64]:
        """(N,) the layer of each object; 0 for empty masks."""
        if len(self.layers) == 1:
            return np.zeros(len(self), dtype=np.int64)
        bound = self._id_bound()
        present = np.stack([np.bincount(layer.ravel(), minlength=bound) for layer in self.layers])
        return present.argmax(axis=0)[self.ids]


def _unsupported(operation: str) -> NotImplementedError:
    """The transforms behind these ask for interpolated masks, which labels cannot be."""
    return NotImplementedError(
        f'LabelMapMasks cannot {operation}: use RandomFlip, RandomRotate90, Resize, RandomCrop or '
        'Pad, or load with LoadAnnotations(with_mask=True), which makes full-size bitmaps'
    )


def gt_label_map(masks: LabelMapMasks | BitmapMasks) -> npt.NDArray[np.int32]:
    """Flatten annotated masks, mmcell's or MMDetection's.

    Args:
        masks: of one image.

    Returns:
        (H, W) int32, k + 1 = object k; where objects overlap the earlier one wins.
    """
    if isinstance(masks, LabelMapMasks):
        return masks.to_label_map()
    label_map = np.zeros((masks.height, masks.width), dtype=np.int32)
    for k in reversed(range(len(masks.masks))):
        label_map[masks.masks[k] > 0] = k + 1
    return label_map
