"""Prediction on image files: label maps, overlays and a table; one bad file stops nothing."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmcell.datasets.image_io import IMAGE_SUFFIXES, read_image
from mmcell.engine.checkpoints import describe_mismatch, require_checkpoint
from mmcell.engine.config import load_config
from mmcell.engine.errors import CheckpointError, DataError
from mmcell.structures.flattening import flatten_predictions
from mmcell.visualization.overlay import overlay_objects, write_png

SUMMARY_COLUMNS = ('image', 'objects', 'mean_area_px', 'seconds')
FAILURE_COLUMNS = ('image', 'error')


class Failure(NamedTuple):
    """An image that gave no result.

    Attributes:
        path: the file.
        error: what went wrong, in one line.
    """

    path: Path
    error: str


def load_model(
    config: str | Path, checkpoint: str | Path, device: str | torch.device = 'auto'
) -> nn.Module:
    """Build the model of a config with the weights of a checkpoint.

    Args:
        config: a config file.
        checkpoint: a file whose parameters are exactly the model's.
        device: such as 'cpu' or 'cuda:0'; 'auto' takes an accelerator where there is one.

    Returns:
        The model in evaluation mode, with the config in its attribute ``cfg``.

    Raises:
        ConfigError: If there is no such config.
        CheckpointError: If the checkpoint is missing, broken or of another architecture.
    """
    cfg = load_config(config)
    require_checkpoint(checkpoint)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(cfg.model)
    # Compared below, where the message can say more; MMEngine's own would only be a warning.
    content = load_checkpoint(model, str(checkpoint), map_location='cpu', logger='silent')
    mismatch = describe_mismatch(model, content)
    if mismatch:
        raise CheckpointError(
            f'{checkpoint} does not fit the model of {config}: {mismatch}. Use the config it was '
            'trained with.'
        )
    model.cfg = cfg
    return model.to(get_device() if device == 'auto' else device).eval()


class Predictor:
    """Finds the objects of one image.

    Args:
        model: as :func:`load_model` returns it.
        score_threshold: predictions with a class score below it are left out.
    """

    def __init__(self, model: nn.Module, score_threshold: float = 0.5):
        self._model = model
        self._score_threshold = score_threshold
        self._pipeline = _array_pipeline(model.cfg)

    def __call__(self, image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Segment an image.

        Args:
            image_rgb: (H, W, 3).

        Returns:
            (H, W) label map, 0 is background, objects are 1 to N without gaps.
        """
        image_bgr = np.ascontiguousarray(image_rgb[:, :, ::-1])
        data = self._pipeline(dict(img=image_bgr, img_id=0))
        batch = dict(inputs=[data['inputs']], data_samples=[data['data_samples']])
        with torch.inference_mode():
            (sample,) = self._model.test_step(batch)
        return _number_without_gaps(
            flatten_predictions(sample.pred_instances, self._score_threshold)
        )


def predict_images(
    model: nn.Module,
    paths: Sequence[str | Path],
    out_dir: str | Path,
    score_threshold: float = 0.5,
    on_done: Callable[[Path], object] = lambda path: None,
) -> list[Failure]:
    """Segment image files and write what was found.

    Writes into ``out_dir``: ``labels/<stem>.tif`` (0 is background, objects 1 to N; uint16, int32
    above 65,535 objects; compressed; written without objects, too), ``overlays/<stem>.png``,
    ``summary.csv`` (a row per image, as it is done) and, if an image fails, ``failures.csv``.

    Args:
        model: as :func:`load_model` returns it.
        paths: image files: 8 or 16 bits; gray, RGB or RGBA.
        out_dir: made if missing. Results of a former call must not be in it.
        score_threshold: predictions with a class score below it are left out.
        on_done: called with each path once it is dealt with.

    Returns:
        The images that failed; all others have their results.

    Raises:
        DataError: If results of two images would have one name, or ``out_dir`` holds results.
    """
    paths, out_dir = [Path(path) for path in paths], Path(out_dir)
    _require_distinct_stems(paths)
    summary = out_dir / 'summary.csv'
    if summary.exists():
        raise DataError(f'{out_dir} holds results already: choose another folder or delete it.')
    for folder in ('labels', 'overlays'):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    predictor = Predictor(model, score_threshold)
    failures = []
    with open(summary, 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(SUMMARY_COLUMNS)
        for path in paths:
            try:
                table.writerow(_predict_file(predictor, path, out_dir))
                file.flush()  # an interrupted run leaves the rows of what is done
            except Exception as error:  # whatever is wrong with one image, the others count
                failures.append(Failure(path, ' '.join(str(error).split()) or repr(error)))
            on_done(path)
    if failures:
        with open(out_dir / 'failures.csv', 'w', newline='') as file:
            csv.writer(file).writerows([FAILURE_COLUMNS, *failures])
    return failures


def _predict_file(predictor: Predictor, path: Path, out_dir: Path) -> tuple[str, int, str, str]:
    """Segment one file, write label map and overlay, return its row of the summary."""
    start = time.perf_counter()
    image = read_image(path)
    labels = predictor(image)
    write_label_map(out_dir / 'labels' / f'{path.stem}.tif', labels)
    picture = overlay_objects(image, labels, title=path.name)
    write_png(out_dir / 'overlays' / f'{path.stem}.png', picture)
    num_objects = int(labels.max(initial=0))
    mean_area = f'{np.count_nonzero(labels) / num_objects:.1f}' if num_objects else ''
    return path.name, num_objects, mean_area, f'{time.perf_counter() - start:.3f}'


def write_label_map(path: str | Path, label_map: npt.NDArray[np.integer]) -> None:
    """Write a label map as compressed TIFF: uint16, int32 where an id exceeds 65,535."""
    dtype = np.uint16 if label_map.max(initial=0) <= np.iinfo(np.uint16).max else np.int32
    tifffile.imwrite(path, label_map.astype(dtype), compression='zlib')


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """Expand files, folders and glob patterns to image files.

    Args:
        inputs: a file is taken whatever its name; of a folder the images directly in it; of a
            pattern such as ``'slides/*.tif'`` what matches.

    Returns:
        Paths, each once, in the order of the inputs, sorted within each.

    Raises:
        DataError: If an input gives no image.
    """
    found: dict[Path, None] = {}
    for entry in map(Path, inputs):
        if entry.is_file():
            images = [entry]
        elif entry.is_dir():
            images = sorted(p for p in entry.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        else:
            anchor = Path(entry.anchor)
            images = sorted(p for p in anchor.glob(str(entry.relative_to(anchor))) if p.is_file())
        if not images:
            raise DataError(
                f'{entry}: no image there; expected a file, a folder or a pattern of '
                f'{", ".join(IMAGE_SUFFIXES)}'
            )
        found.update(dict.fromkeys(images))
    return list(found)


def _array_pipeline(cfg: Config) -> Compose:
    """The config's test pipeline for images in memory, without annotations."""
    loader, *transforms = get_test_pipeline_cfg(cfg)
    without_annotations = [t for t in transforms if 'Annotations' not in t['type']]
    return Compose([{**loader, 'type': 'mmdet.LoadImageFromNDArray'}, *without_annotations])


def _number_without_gaps(label_map: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    is_present = np.bincount(label_map.ravel()) > 0
    is_present[0] = False
    return (is_present.cumsum() * is_present).astype(np.int32)[label_map]


def _require_distinct_stems(paths: list[Path]) -> None:
    counts = Counter(path.stem for path in paths)
    twice = [str(path) for path in paths if counts[path.stem] > 1]
    if twice:
        raise DataError(
            f'the results of these images would have one name: {", ".join(twice[:4])}. Predict '
            'them into folders of their own.'
        )
