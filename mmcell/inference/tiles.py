"""The objects of one image of any size, tile by tile, as if it had been one piece.

Each tile is read, shown to the network and sorted out on its own, in any process; putting tiles
together is light and happens in one place, in raster order, so that the result does not depend on
who did which tile. See :mod:`mmcell.functional.tiling` for cores, overlap and halo,
:mod:`mmcell.inference.tile_objects` for what a tile hands over, and
:mod:`mmcell.inference.tile_merging` for what becomes of it; many images at once go through
:mod:`mmcell.inference.stream`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mmcell.functional.tiling import TilePlan
from mmcell.inference.distribution import OrderedMap, in_process
from mmcell.inference.image_source import ImageSource
from mmcell.inference.intensity import DisplayRange
from mmcell.inference.stream import (
    Detect,
    Found,
    ImageTask,
    TileDone,
    find_in_image,
)
from mmcell.inference.tile_merging import Batch


def find_objects(
    source: ImageSource,
    detect_factory: Callable[[], Detect],
    plan: TilePlan,
    *,
    display_range: DisplayRange,
    ordered_map: OrderedMap = in_process,
    tiles: Sequence[int] | npt.NDArray[np.int64] | None = None,
    on_tile: Callable[[int, int], object] = lambda done, total: None,
) -> Iterator[Batch]:
    """Segment an image tile by tile.

    Pixels that several masks cover go to the one of highest rank, of equal ranks to the one whose
    box begins further up, then further left: nothing depends on the tiles or on who does them.
    Masks that keep no pixel are left out.

    Args:
        source: the image.
        detect_factory: builds what finds objects in uint8 (h, w, 3) RGB; pickled if there are
            workers. Objects come in the window's pixels, all above the score threshold, and may
            overlap.
        plan: the tiles, of the image's size; one tile for an image that fits in memory.
        display_range: how stored pixels become what the network sees.
        ordered_map: does the tiles, here or elsewhere.
        tiles: numbers of the tiles to do, ascending, e.g. those with tissue
            (:meth:`TilePlan.tiles_with`); all if None.
        on_tile: called with the numbers of tiles done and in all.

    Yields:
        Objects that are final, each once, with ids 1 to N in the order in which they come; the
        stored pixels (h, w, C) of a part of the image that covers them, and the x, y of its upper
        left pixel. Memory is that of a tile for each worker, and what lies within the overlap of
        the lower border of one row of tiles.

    Raises:
        ValueError: If plan and image differ in size, or ``tiles`` is not ascending.
        Exception: What reading or detecting raises.
    """
    numbers = None if tiles is None else [int(number) for number in tiles]
    task = ImageTask(source, detect_factory, plan, display_range, numbers)
    for event in find_in_image(task, ordered_map):
        if isinstance(event, Found):
            yield event.objects, event.pixels, event.corner
        elif isinstance(event, TileDone):
            on_tile(event.done, len(task.numbers))
        elif event.error is not None:
            raise event.error
