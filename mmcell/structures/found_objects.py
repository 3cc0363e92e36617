"""Objects on their way from a network to files: final masks, each in its box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class FoundObjects:
    """N objects of one image, in no more memory than their boxes.

    Attributes:
        boxes: (N, 4) int64, x1, y1, x2, y2 in whole image pixels, x2 and y2 exclusive, inside the
            image.
        patches: N boolean arrays (y2 - y1, x2 - x1), the mask inside the box.
        scores: (N,) float32 class scores in [0, 1].
        classes: (N,) int64, index of the class, from 0.
        ids: (N,) int64 >= 1, distinct within the image: the value in label maps, the name in ROI
            files, the column ``label`` in tables.
        ranks: (N,) float32, who gets a shared pixel: the higher one (``mask_scores`` where a model
            gives them, else the scores).
        limits: limits of the model that cut off what could be objects where these were found, such
            as 'model.test_cfg.rcnn.max_per_img=1000'.

    Raises:
        ValueError: If lengths or shapes do not fit.
    """

    boxes: npt.NDArray[np.int64]
    patches: Sequence[npt.NDArray[np.bool_]]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.float32]
    limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f'boxes must be (N, 4), got {self.boxes.shape}')
        columns = (self.patches, self.scores, self.classes, self.ids, self.ranks)
        lengths = {len(column) for column in (self.boxes, *columns)}
        if len(lengths) != 1:
            raise ValueError(f'every column must have one entry per object, got {sorted(lengths)}')
        # No list or tuple is kept per object: with thousands, Python would look through them all
        # for garbage, again and again.
        sides = zip(*(self.boxes[:, [3, 2]] - self.boxes[:, [1, 0]]).T.tolist(), strict=True)
        for k, (patch, side) in enumerate(zip(self.patches, sides, strict=True)):
            if patch.shape != side:
                raise ValueError(f'mask {k} is {patch.shape} but its box is {self.boxes[k]}')

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> FoundObjects:
        """Objects at ``index``, an integer or boolean array."""
        chosen = np.arange(len(self))[index]
        return FoundObjects.unchecked(
            boxes=self.boxes[chosen],
            patches=[self.patches[k] for k in chosen.tolist()],
            scores=self.scores[chosen],
            classes=self.classes[chosen],
            ids=self.ids[chosen],
            ranks=self.ranks[chosen],
            limits=self.limits,
        )

    def moved(self, x: int, y: int) -> FoundObjects:
        """The objects ``x`` pixels further right and ``y`` pixels further down."""
        return self.with_columns(boxes=self.boxes + [x, y, x, y])

    def numbered(self, first: int) -> FoundObjects:
        """The objects with ids from ``first`` on, in their order."""
        return self.with_columns(ids=np.arange(first, first + len(self)))

    def with_columns(self, **columns: Any) -> FoundObjects:
        """The objects with other values of some attributes, unchecked."""
        same = {field.name: getattr(self, field.name) for field in fields(self)}
        return FoundObjects.unchecked(**{**same, **columns})

    @classmethod
    def unchecked(cls, **columns: Any) -> FoundObjects:
        """Every attribute by name, of objects that were checked: a check reads each mask's shape.

        With thousands of objects that takes as long as what is done with them.
        """
        objects = object.__new__(cls)
        vars(objects).update(columns)
        return objects

    def paint(self, label_map: npt.NDArray[np.integer], corner: tuple[int, int] = (0, 0)) -> None:
        """Write the ids into a label map, a shared pixel the last one's.

        Args:
            label_map: (H, W) integers, with room for all boxes.
            corner: x, y of its upper left pixel in the image.
        """
        boxes = (self.boxes - [*corner, *corner]).tolist()
        for (x1, y1, x2, y2), patch, number in zip(
            boxes, self.patches, self.ids.tolist(), strict=True
        ):
            label_map[y1:y2, x1:x2][patch] = number

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) number of pixels."""
        areas = np.zeros(len(self), dtype=np.int64)
        lengths = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1)
        full = np.flatnonzero(lengths)
        if len(full):
            values = np.concatenate(self.patches, axis=None).view(np.uint8)
            starts = (lengths.cumsum() - lengths)[full]
            areas[full] = np.add.reduceat(values, starts, dtype=np.int64)
        return areas

    @classmethod
    def empty(cls) -> FoundObjects:
        """No objects."""
        none = np.zeros(0, dtype=np.int64)
        nothing = none.astype(np.float32)
        return cls(none.reshape(0, 4), [], nothing, none, none, nothing)

    @staticmethod
    def cat(parts: Sequence[FoundObjects]) -> FoundObjects:
        """Join objects of the same image, in order."""
        if not parts:
            return FoundObjects.empty()
        columns = ('boxes', 'scores', 'classes', 'ids', 'ranks')
        return FoundObjects.unchecked(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
            patches=[patch for part in parts for patch in part.patches],
            limits=tuple(sorted({limit for part in parts for limit in part.limits})),
        )

    @classmethod
    def from_label_map(
        cls,
        label_map: npt.NDArray[np.integer],
        corner: tuple[int, int] = (0, 0),
        scores: npt.NDArray[np.float32] | None = None,
    ) -> FoundObjects:
        """One object per id of a label map, in ascending order of ids, all of class 0.

        Args:
            label_map: (H, W) integers >= 0, 0 = background.
            corner: x, y of the label map's upper left pixel in the image.
            scores: one per object; 1 where missing.
        """
        from scipy import ndimage

        ids, compact = np.unique(label_map, return_inverse=True)
        if not len(ids) or ids[0] != 0:
            ids, compact = np.concatenate([[0], ids]), compact + 1
        compact = compact.reshape(label_map.shape)
        slices = ndimage.find_objects(compact, max_label=len(ids) - 1)
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in slices]
        origin = np.array([*corner, *corner], dtype=np.int64)
        count = len(boxes)
        scores = np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32)
        return cls(
            np.array(boxes, dtype=np.int64).reshape(-1, 4) + origin,
            [compact[window] == k for k, window in enumerate(slices, 1)],
            scores,
            np.zeros(count, dtype=np.int64),
            ids[1:].astype(np.int64),
            scores,
        )
