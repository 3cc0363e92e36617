"""The Cell Tracking Challenge: videos with gold (by hand) and silver (computed) segmentation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.datasets.coco_writer import CellImage
from mmcell.datasets.image_io import TIFF_SUFFIXES, read_image
from mmcell.datasets.label_io import read_label_map, require_size_of
from mmcell.datasets.layouts import Entries, Files, Layout, Splits, paired_entries
from mmcell.functional.overlap import overlap_table

EXPECTED = '01/t000.tif with 01_ST/SEG/man_seg000.tif'
TRAINED = '01'  # the video that is trained on
# Ends of stems: gold annotation alone, and gold with silver where there is none.
GOLD, MIXED = '_gold', '_mixed'

LabelMap = npt.NDArray[np.int64]


class Published(NamedTuple):
    """What is known of a data set.

    Attributes:
        size: height, width of a frame in pixels.
        counts: frames per split (object-guided paper, table III).
    """

    size: tuple[int, int]
    counts: dict[str, int]


PUBLISHED = {
    'Fluo-N2DL-HeLa': Published((700, 1100), {'all_train': 184}),
    'PhC-C2DH-U373': Published((520, 696), {'all_train': 230}),
    'PhC-C2DL-PSC': Published((576, 720), {'all_train': 202, 'all_gold_train': 4}),
}


def ctc_layout(folder: Path) -> Layout:
    """``01``, ``02``, ``01_GT/SEG/man_seg*.tif``, ``01_ST/SEG/man_seg*.tif`` of a 2D data set.

    Silver annotation is of all cells of a frame; gold annotation is better drawn, but in many
    frames of some cells only, and nothing says of which. So a network trains on silver, or on gold
    with silver cells where there is no gold one; gold alone is for SEG, which asks nothing about
    other cells. A frame without silver annotation is none without cells: it is in no split.

    Stems are ``01_t000`` (silver), ``01_t000_gold`` and ``01_t000_mixed``. Splits:

    - ``train``, ``val``: silver, of video 01 and 02.
    - ``test``: gold, of video 02.
    - ``gold_train``: gold mixed with silver, of video 01.
    - ``all_train``, ``all_gold_train``, ``all_test``: the same of both videos.

    Markers for tracking (``01_GT/TRA``) are passed over. Folds are of silver frames, by video.

    Raises:
        ValueError: If there is no such data set, or more than one.
    """
    root = _find_root(folder.resolve())
    frames = _by_frame(root, '', r't(\d{3,})')
    silver = _by_frame(root, '_ST/SEG', r'man_seg(\d{3,})')
    gold = _by_frame(root, '_GT/SEG', r'man_seg(\d{3,})')
    if not frames or not silver:
        raise ValueError(
            f'{root}: found {len(frames)} frames and {len(silver)} with silver annotation; '
            f'expected {EXPECTED}, of two dimensions'
        )
    mixed = {stem: paths for stem, paths in gold.items() if stem in silver}
    published = PUBLISHED.get(root.name)
    return Layout(
        {
            **paired_entries(frames, silver, 'silver annotation for {}', _read_frame),
            **_variants(frames, gold, GOLD, _read_frame),
            **_variants(frames, mixed, MIXED, _read_mixed),
        },
        official=lambda seed: _splits(silver, gold, mixed),
        group_of=_video,
        counts=published and published.counts,
        sizes=[published.size] if published else (),
        remarks=[] if published else [_unknown(root)],
        folded=list(silver),
    )


def _find_root(folder: Path) -> Path:
    """The folder that holds ``01_ST`` and the like; not what macOS adds to archives."""
    roots = {
        path.parent.parent
        for path in folder.glob('**/[0-9][0-9]_*T/SEG')
        if '__MACOSX' not in path.parts
    }
    if len(roots) != 1:
        raise ValueError(
            f'{folder}: found {len(roots)} annotated data sets of the Cell Tracking Challenge, '
            f'expected one: {EXPECTED}; convert each into a folder of its own'
        )
    return roots.pop()


def _by_frame(root: Path, kind: str, pattern: str) -> Files:
    """Files per ``<video>_t<number>``, of the folders ``<video><kind>`` of all videos."""
    files: Files = {}
    for path in sorted(root.glob(f'[0-9][0-9]{kind}/*')):
        number = re.fullmatch(pattern, path.stem)
        if number and path.suffix.lower() in TIFF_SUFFIXES:
            video = path.relative_to(root).parts[0][:2]
            files.setdefault(f'{video}_t{number[1]}', []).append(path)
    return files


def _variants(
    frames: Files, annotations: Files, ending: str, read: Callable[[Path, Path], CellImage]
) -> Entries:
    """Entries of the annotated frames alone, with ``ending`` behind their stems."""
    return paired_entries(
        {f'{stem}{ending}': frames.get(stem, []) for stem in annotations},
        {f'{stem}{ending}': paths for stem, paths in annotations.items()},
        '',
        read,
    )


def _splits(silver: Files, gold: Files, mixed: Files) -> Splits:
    gold_stems, mixed_stems = (
        [f'{s}{end}' for s in of] for of, end in ((gold, GOLD), (mixed, MIXED))
    )
    return {
        'train': [stem for stem in silver if _video(stem) == TRAINED],
        'val': [stem for stem in silver if _video(stem) != TRAINED],
        'test': [stem for stem in gold_stems if _video(stem) != TRAINED],
        'gold_train': [stem for stem in mixed_stems if _video(stem) == TRAINED],
        'all_train': list(silver),
        'all_gold_train': mixed_stems,
        'all_test': gold_stems,
    }


def _video(stem: str) -> str:
    return stem.split('_')[0]


def _unknown(root: Path) -> str:
    known = ', '.join(PUBLISHED)
    return f'{root.name} is none of {known}: numbers and sizes of images are not checked'


def _read_frame(image: Path, annotation: Path) -> CellImage:
    return CellImage.from_label_map(*_read_both(image, annotation))


def _read_mixed(image: Path, gold: Path) -> CellImage:
    pixels, gold_map = _read_both(image, gold)
    video = gold.parent.parent.name[:2]
    silver = gold.parents[2] / f'{video}_ST' / 'SEG' / gold.name
    return CellImage.from_label_map(pixels, fill_in(gold_map, _read_annotation(silver, pixels)))


def _read_both(image: Path, annotation: Path) -> tuple[npt.NDArray[np.uint8], LabelMap]:
    pixels = read_image(image)
    return pixels, _read_annotation(annotation, pixels)


def _read_annotation(path: Path, pixels: npt.NDArray[np.uint8]) -> LabelMap:
    labels = read_label_map(path, in_pieces=True)
    require_size_of(path, labels, pixels)
    if not labels.any():
        raise ValueError(f'{path}: annotates no cell; a frame without annotation is no negative')
    return labels


def fill_in(gold: LabelMap, silver: LabelMap) -> LabelMap:
    """Gold cells, and the silver ones that are none of them.

    Two cells are the same if they share more than half of the smaller of them.

    Args:
        gold: (H, W) int64, 0 = background.
        silver: (H, W) int64.

    Returns:
        (H, W) int64: gold labels as they are, silver ones above them, on pixels without gold.
    """
    table = overlap_table(gold, silver)
    smaller = np.minimum(table.gt_areas[table.gt_index], table.pred_areas[table.pred_index])
    drawn = table.pred_ids[table.pred_index[2 * table.intersections > smaller]]
    added = (gold == 0) & (silver > 0) & ~np.isin(silver, drawn)
    return np.where(added, gold.max() + silver, gold)
