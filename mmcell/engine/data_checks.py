"""Data sets are checked before a run starts, not when the first batch is asked for."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from torch.utils.data import DataLoader

from .config import package_dir, walk_config
from .errors import DataError


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


def require_images(name: str, loader: DataLoader) -> None:
    """Raise :class:`DataError` if a data set is empty: the sampler would wait for ever."""
    if len(loader.dataset) == 0:
        ann_file = getattr(loader.dataset, 'ann_file', '')
        filters = getattr(loader.dataset, 'filter_cfg', None)
        raise DataError(
            f'{name} holds no image'
            + (f': {ann_file} lists none' if ann_file else '')
            + (f' that filter_cfg={dict(filters)} lets through' if filters else '')
            + '.'
        )


def _converter_hint(root: str) -> str:
    converters = package_dir('tools') / 'dataset_converters'
    converter = converters / f'{Path(root).name}.py'
    if not converter.is_file():
        converter = converters / 'label_folder.py'
    return f'Convert the data first: python {converter} --help.'
