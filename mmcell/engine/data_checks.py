"""Data sets are checked before a run starts, not when the first batch is asked for."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from .config import package_dir, walk_config
from .errors import DataError

# What numpy says when BaseDataset packs a list of no images.
_MMENGINE_EMPTY = 'need at least one array to concatenate'


def require_annotations(cfg: Config, *loaders: str) -> None:
    """Check that the annotation files of the named dataloaders exist.

    Args:
        cfg: The whole config.
        loaders: Keys such as 'train_dataloader'; those that the config lacks are passed over.

    Raises:
        DataError: Naming the file and the converter that makes it.
    """
    for loader in loaders:
        for path, node in walk_config(cfg.get(loader) or {}, loader):
            ann_file, root = node.get('ann_file'), node.get('data_root') or ''
            if 'type' not in node or not ann_file or '://' in f'{root}{ann_file}':
                continue
            file = Path(root) / ann_file
            if not file.is_file():
                missing = file if not root or Path(root).is_dir() else Path(root)
                raise DataError(
                    f'{missing} does not exist ({path}). {_converter_hint(root)} If the data are '
                    f'elsewhere, say --cfg-options {path}.data_root=FOLDER for each dataloader.'
                )


def build_dataloader(runner: Runner, name: str) -> None:
    """Build one dataloader of ``runner``, so that faults of its data show before anything runs.

    Args:
        runner: Its loop is built too.
        name: 'train_dataloader', 'val_dataloader' or 'test_dataloader'.

    Raises:
        DataError: The data set refuses its annotations, or is empty: a sampler that draws without
            end would look for an image for ever; or it has more classes than the model.
    """
    try:
        images = len(getattr(runner, name).dataset)
    except ValueError as error:
        if str(error) != _MMENGINE_EMPTY:
            raise DataError(f'{name}: {error}') from error
        images = 0
    if images == 0:
        dataset = runner.cfg[name].dataset
        filters = dataset.get('filter_cfg')
        raise DataError(
            f'{name} holds no image of {dataset.get("ann_file") or dataset.get("type")}'
            + (f': filter_cfg={dict(filters)} lets none through.' if filters else '.')
        )
    _require_classes(runner, name)


def _require_classes(runner: Runner, name: str) -> None:
    """Refuse more classes in the data than the head that names objects has."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    head = getattr(getattr(model, 'roi_head', model), 'bbox_head', None)
    number = getattr(head, 'num_classes', None)
    metainfo = getattr(getattr(runner, name).dataset, 'metainfo', {})
    # Panoptic data sets also have classes of regions.
    classes = metainfo.get('thing_classes', metainfo.get('classes'))
    if isinstance(number, int) and classes is not None and number < len(classes):
        raise DataError(
            f'{name} has {len(classes)} classes, {", ".join(classes)}, but the model {number}: set '
            f'num_classes of its heads, or metainfo=dict(classes=...) of the data sets.'
        )


def _converter_hint(root: str) -> str:
    converters, name = package_dir('tools') / 'dataset_converters', Path(root).name
    # The data sets ctc_hela, ctc_psc, ... share one.
    names = (name, name.split('_')[0], 'label_folder')
    files = (converters / f'{each}.py' for each in names)
    return f'Convert the data first: python {next(filter(Path.is_file, files))} --help.'
