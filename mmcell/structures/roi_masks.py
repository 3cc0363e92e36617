"""Instance masks that stay in their boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mmcell.functional.label_map import (
    MaskPixels,
    column_runs,
    flatten_to_label_map,
    foreground_pixels,
)
from mmcell.functional.mask_nms import mask_nms
from mmcell.functional.polygons import Rings, trace_polygons
from mmcell.functional.ragged import pixel_boxes, ragged_arange
from mmcell.functional.rle import Rle, counts_to_rle


class RoiMasks:
    """N instance masks on their box grids, inside an image of known size.

    What every mmcell detector returns in ``pred_instances.masks``. Nothing here allocates
    N x H x W, except :meth:`to_bitmaps`, whose purpose that is.

    Args:
        boxes: (N, 4) float, x1, y1, x2, y2 in pixels; a pixel is the unit square right of and below
            its coordinates. Boxes may reach over the image border.
        probs: (N, h, w) values in [0, 1] on a regular grid that spans the box, or a sequence of N
            tensors (h_i, w_i) for masks of different resolution. Boolean masks are legal.
        image_size: height and width in pixels.

    Raises:
        ValueError: If shapes do not fit, or ``image_size`` is not positive.
    """

    def __init__(
        self, boxes: Tensor, probs: Tensor | Sequence[Tensor], image_size: tuple[int, int]
    ) -> None:
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f'boxes must be (N, 4), got {tuple(boxes.shape)}')
        if len(probs) != len(boxes):
            raise ValueError(f'got {len(boxes)} boxes but {len(probs)} masks')
        height, width = (int(side) for side in image_size)
        if height <= 0 or width <= 0:
            raise ValueError(f'image_size must be positive (height, width), got {image_size}')
        self.boxes = boxes.detach().float()
        self.image_size = (height, width)
        if isinstance(probs, Tensor):
            if probs.ndim != 3:
                raise ValueError(f'probs must be (N, h, w), got {tuple(probs.shape)}')
            sizes = boxes.new_tensor(probs.shape[1:], dtype=torch.int64).expand(len(probs), 2)
            values = probs.detach().flatten()
        else:
            sizes = torch.tensor([mask.shape for mask in probs], dtype=torch.int64)
            sizes = sizes.reshape(-1, 2).to(boxes.device)
            values = torch.cat([mask.detach().flatten() for mask in probs] or [boxes.new_zeros(0)])
        self._grid_sizes = sizes
        self._values = values.float()

    @classmethod
    def _from_flat(
        cls, boxes: Tensor, values: Tensor, grid_sizes: Tensor, image_size: tuple[int, int]
    ) -> RoiMasks:
        masks = cls.__new__(cls)
        masks.boxes, masks._values, masks._grid_sizes = boxes, values, grid_sizes
        masks.image_size = image_size
        return masks

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        height, width = self.image_size
        return f'RoiMasks({len(self)} masks in {height} x {width} pixels, {self.device})'

    @property
    def device(self) -> torch.device:
        """Where boxes and values are."""
        return self.boxes.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W), the shape that the masks would have as bitmaps."""
        return (len(self), *self.image_size)

    @property
    def probs(self) -> Tensor:
        """(N, h, w) values in [0, 1].

        Raises:
            ValueError: If the masks have grids of different size.
        """
        if len(self) and bool((self._grid_sizes != self._grid_sizes[0]).any()):
            raise ValueError('the masks have grids of different size: index them one by one')
        height, width = self._grid_sizes[0].tolist() if len(self) else (0, 0)
        return self._values.view(len(self), height, width)

    def __getitem__(self, index: int | slice | list[int] | np.ndarray | Tensor) -> RoiMasks:
        """Masks at ``index``: an int (kept as one mask), slice, integer list or boolean mask."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f'index {index} is out of range for {len(self)} masks')
            index = [int(index)]
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.device)
            index = index.long() if index.dtype != torch.bool else index
        chosen = torch.arange(len(self), device=self.device)[index]
        lengths = self._grid_sizes.prod(1)
        owner, position = ragged_arange(lengths[chosen])
        starts = lengths.cumsum(0) - lengths
        values = self._values[starts[chosen][owner] + position]
        return self._from_flat(
            self.boxes[chosen], values, self._grid_sizes[chosen], self.image_size
        )

    @staticmethod
    def cat(parts: Sequence[RoiMasks]) -> RoiMasks:
        """Join masks of the same image.

        Raises:
            ValueError: If there is nothing to join, or the image sizes differ.
        """
        if not parts or len({part.image_size for part in parts}) != 1:
            sizes = [part.image_size for part in parts]
            raise ValueError(f'cat needs masks of one image size, got {sizes}')
        return RoiMasks._from_flat(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part._values for part in parts]),
            torch.cat([part._grid_sizes for part in parts]),
            parts[0].image_size,
        )

    def to(self, *args: object, **kwargs: object) -> RoiMasks:
        """Move to a device; takes the arguments of ``Tensor.to``, ignoring those for dtypes."""
        device = torch.empty(0, device=self.device).to(*args, **kwargs).device  # type: ignore[call-overload]
        return self._from_flat(
            self.boxes.to(device),
            self._values.to(device),
            self._grid_sizes.to(device),
            self.image_size,
        )

    def cpu(self) -> RoiMasks:
        """Move to host memory."""
        return self.to('cpu')

    def cuda(self) -> RoiMasks:
        """Move to the current CUDA device."""
        return self.to('cuda')

    def detach(self) -> RoiMasks:
        """Itself: the masks never carry a gradient."""
        return self

    def numpy(self) -> RoiMasks:
        """Itself: there is no N x H x W array to convert to; ask for bitmaps where you need one."""
        return self

    def rescale(self, factors: Sequence[float], image_size: tuple[int, int]) -> RoiMasks:
        """The same masks in the image at another size.

        Args:
            factors: of x1, y1, x2, y2.
            image_size: height and width in pixels of the other image.
        """
        boxes = self.boxes * self.boxes.new_tensor(factors)
        return self._from_flat(boxes, self._values, self._grid_sizes, image_size)

    def to_label_map(
        self, scores: Tensor, threshold: float = 0.5, min_visible: float = 0.0
    ) -> Tensor:
        """Flatten the masks into one integer image.

        Args:
            scores: (N,) float; a shared pixel goes to the mask with the higher score.
            threshold: a pixel belongs to a mask if its value is >= this.
            min_visible: masks that keep less than this fraction of their pixels are dropped
                (0 to 1; the authors' code of PFFNet uses 0.3).

        Returns:
            (H, W) int32, 0 is background, k + 1 the k-th mask; ids of masks without a pixel are
            missing.

        Raises:
            ValueError: If there is not one score per mask.
        """
        if len(scores) != len(self):
            raise ValueError(f'got {len(scores)} scores for {len(self)} masks')
        height, width = self.image_size
        chunks = [(p.owner, p.y * width + p.x) for p in self._foreground(threshold)]
        if not chunks:
            return torch.zeros(height, width, dtype=torch.int32, device=self.device)
        owner, flat = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        labels = flatten_to_label_map(
            owner, flat, scores.to(self.device), height * width, min_visible
        )
        return labels.view(height, width)

    def nms(self, scores: Tensor, iou_threshold: float, threshold: float = 0.5) -> Tensor:
        """Non-maximum suppression by the IoU of the masks, not of their boxes.

        Args:
            scores: (N,) float; of equal scores the earlier mask is the better.
            iou_threshold: a mask is dropped if its IoU with a better one that stays is > this.
            threshold: a pixel belongs to a mask if its value is >= this.

        Returns:
            Indices of the masks that stay, the best first. Masks without a pixel stay.

        Raises:
            ValueError: If there is not one score per mask.
        """
        _, clipped = pixel_boxes(self.boxes, self.image_size)
        widths, heights = (clipped[:, 2:] - clipped[:, :2]).unbind(1)
        ends = (widths * heights).cumsum(0)
        starts = ends - widths * heights
        size = int(ends[-1]) if len(self) else 0
        pixels = torch.zeros(size, dtype=torch.bool, device=self.device)
        for owner, x, y in self._foreground(threshold):
            row, column = y - clipped[owner, 1], x - clipped[owner, 0]
            pixels[starts[owner] + row * widths[owner] + column] = True
        return mask_nms(pixels, clipped, scores.to(self.device), iou_threshold)

    def expected_iou(self, threshold: float = 0.5) -> Tensor:
        """IoU that each mask can be expected to have with its object, as far as its values tell.

        If values are the probabilities that cells of the grid belong to the object, a mask of the
        cells in F shares sum_F p with it in expectation, and they cover |F| + sum_(not F) p
        together. The quotient is near 1 for a mask that is sure of every cell.

        Args:
            threshold: a cell belongs to a mask if its value is >= this.

        Returns:
            (N,) in [0, 1]; 0 for a mask without a cell.
        """
        lengths = self._grid_sizes.prod(1)
        owner, _ = ragged_arange(lengths)
        inside = self._values >= threshold
        per_cell = torch.stack([self._values * inside, torch.where(inside, 1, self._values)], 1)
        sums = per_cell.new_zeros(len(self), 2).index_add_(0, owner, per_cell)
        return sums[:, 0] / sums[:, 1].clamp(min=torch.finfo(sums.dtype).tiny)

    def to_rle(self, threshold: float = 0.5) -> list[Rle]:
        """Compressed COCO run lengths, one dict per mask; overlaps survive."""
        height, width = self.image_size
        runs = [
            torch.stack(column_runs(pixels, height))
            for pixels in self._foreground(threshold, column_major=True)
        ]
        owner, start, end = self._by_owner(runs)
        bounds = np.searchsorted(owner, np.arange(len(self) + 1))
        edges = np.stack([start, end], axis=1)
        rles = []
        for first, last in zip(bounds[:-1], bounds[1:], strict=True):
            stops = np.concatenate([[0], edges[first:last].ravel(), [height * width]])
            rles.append(counts_to_rle(np.diff(stops), self.image_size))
        return rles

    def to_polygons(self, threshold: float = 0.5) -> list[list[Rings]]:
        """Outlines along pixel edges in image coordinates: for each mask a list of its pieces."""
        return [trace_polygons(patch, corner) for patch, corner in self.to_patches(threshold)]

    def to_patches(self, threshold: float = 0.5) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        """Each mask as bool (h, w) along its whole-pixel box, with the image x, y of its corner."""
        _, clipped = pixel_boxes(self.boxes, self.image_size)
        batches = [torch.stack(pixels) for pixels in self._foreground(threshold)]
        owner, x, y = self._by_owner(batches)
        bounds = np.searchsorted(owner, np.arange(len(self) + 1))
        for k, (x1, y1, x2, y2) in enumerate(clipped.tolist()):
            patch = np.zeros((y2 - y1, x2 - x1), dtype=bool)
            mine = slice(bounds[k], bounds[k + 1])
            patch[y[mine] - y1, x[mine] - x1] = True
            yield patch, (x1, y1)

    def to_bitmaps(self, threshold: float = 0.5) -> Tensor:
        """(N, H, W) bool: one byte per mask and image pixel, so for few masks only."""
        bitmaps = torch.zeros(self.shape, dtype=torch.bool, device=self.device)
        for owner, x, y in self._foreground(threshold):
            bitmaps[owner, y, x] = True
        return bitmaps

    def _foreground(self, threshold: float, *, column_major: bool = False) -> Iterator[MaskPixels]:
        return foreground_pixels(
            self._values,
            self._grid_sizes,
            self.boxes,
            self.image_size,
            threshold,
            column_major=column_major,
        )

    @staticmethod
    def _by_owner(batches: list[Tensor]) -> np.ndarray:
        """Join (K, T) batches whose first row is the owner, in the order of the masks."""
        rows = torch.cat(batches, dim=1) if batches else torch.zeros(3, 0, dtype=torch.int64)
        return rows[:, rows[0].argsort(stable=True)].cpu().numpy()
