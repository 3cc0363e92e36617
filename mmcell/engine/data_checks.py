"""Data sets are checked before a run starts, not when the first batch is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.evaluation.ranked import RANKED_SCORES
from mmcell.evaluation.registry import SCORES
from mmcell.evaluation.summary import DEFAULT_SCORES

from .config import cell_metrics, package_dir, walk_config
from .errors import ConfigError, DataError

# What numpy says when BaseDataset packs a list of no images.
_MMENGINE_EMPTY = 'need at least one array to concatenate'


def require_annotations(cfg: Config, *phases: str) -> None:
    """Check that annotation files exist, and that evaluators have those of their dataloaders.

    Args:
        cfg: The whole config.
        phases: 'train', 'val' or 'test'; what the config lacks of them is passed over.

    Raises:
        ConfigError: An evaluator names another annotation file than its dataloader. Its images
            would be taken for those of the same number.
        DataError: Naming the missing file and the converter that makes it.
    """
    for phase in phases:
        loader, evaluator = f'{phase}_dataloader', f'{phase}_evaluator'
        files = [
            _annotation_file(path, node)
            for path, node in walk_config(cfg.get(loader) or {}, loader)
            if 'type' in node and _is_local(node)
        ]
        for path, node in walk_config(cfg.get(evaluator) or {}, evaluator):
            # Of several data sets an evaluator reads a file that joins theirs.
            if len(files) != 1 or not _is_local(node):
                continue
            if Path(node['ann_file']).resolve() != files[0].resolve():
                raise ConfigError(
                    f'{path} scores against {node["ann_file"]}, but {loader} reads {files[0]}: say '
                    f'--cfg-options {path}.ann_file={files[0]}.'
                )


def _is_local(node: dict) -> bool:
    """Whether an entry of a config names an annotation file of this machine."""
    return bool(node.get('ann_file')) and '://' not in f'{node.get("data_root")}{node["ann_file"]}'


def _annotation_file(path: str, dataset: dict) -> Path:
    root = dataset.get('data_root') or ''
    file = Path(root) / dataset['ann_file']
    if not file.is_file():
        missing = file if not root or Path(root).is_dir() else Path(root)
        raise DataError(
            f'{missing} does not exist ({path}). {_converter_hint(root)} If the data are '
            f'elsewhere, say --cfg-options {path}.data_root=FOLDER for each dataloader, and '
            'ann_file=FILE for evaluators that have one.'
        )
    return file


def build_dataloader(runner: Runner, name: str) -> None:
    """Build one dataloader of ``runner``, so that faults of its data show before anything runs.

    Args:
        runner: Its loop is built too.
        name: 'train_dataloader', 'val_dataloader' or 'test_dataloader'.

    Raises:
        DataError: The data set refuses its annotations, or is empty: a sampler that draws without
            end would look for an image for ever; or it has more classes than the model.
        ConfigError: A RoI head finds objects of more classes than it has masks for.
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


def require_best_score(cfg: Config) -> None:
    """Check that validation gives the score that the best checkpoint is chosen by.

    MMEngine would ask for it after the first validation, and end the training.

    Raises:
        ConfigError: It is a score of CellMetric's, which ``val_evaluator`` does not give.
    """
    chosen = (cfg.get('default_hooks', {}).get('checkpoint') or {}).get('save_best')
    if cfg.get('val_dataloader') is None:
        return
    given = {
        f'{metric.get("prefix") or CellMetric.default_prefix}/{score}'
        for metric in cell_metrics(cfg, 'val_evaluator')
        for score in _names_of_scores(metric.get('scores', DEFAULT_SCORES))
    }
    ours = {f'{CellMetric.default_prefix}/{score}' for score in _names_of_scores('all')}
    for name in [chosen] if isinstance(chosen, str) else chosen or ():
        if re.sub('_(std|pooled)$', '', name) in ours - given:
            others = f', but {", ".join(sorted(given))}' if given else ''
            raise ConfigError(
                f'default_hooks.checkpoint.save_best={name!r}: val_evaluator does not give this '
                f'score{others}. Choose another one, or None.'
            )


def require_whole_epochs(cfg: Config) -> None:
    """Check that a training by epochs has checkpoints of whole ones.

    MMEngine would resume one from within an epoch with the first image of that epoch, and count on.

    Raises:
        ConfigError: They are saved by iterations.
    """
    loop = cfg.get('train_cfg') or {}
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    by_epoch = loop.get('by_epoch', loop.get('type') == 'EpochBasedTrainLoop')
    if by_epoch and not hook.get('by_epoch', True):
        raise ConfigError(
            'train_cfg goes by epochs, default_hooks.checkpoint by iterations, from which --resume '
            'could not go on: set default_hooks.checkpoint.by_epoch=True and its interval in '
            'epochs, and log_processor.by_epoch=True, or train with IterBasedTrainLoop.'
        )


def _names_of_scores(chosen: str | Sequence[str]) -> Iterable[str]:
    names = [chosen] if isinstance(chosen, str) else chosen
    return (*SCORES, *RANKED_SCORES) if 'all' in names else names


def _require_classes(runner: Runner, name: str) -> None:
    """Refuse more classes in the data than a head of the model has."""
    metainfo = getattr(getattr(runner, name).dataset, 'metainfo', {})
    # Panoptic data sets also have classes of regions.
    classes = metainfo.get('thing_classes', metainfo.get('classes'))
    if classes is None:
        return
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    head = getattr(getattr(model, 'roi_head', model), 'bbox_head', None)
    numbers = {
        f'{path}.num_classes': node['num_classes']
        for path, node in walk_config(runner.cfg.model, 'model')
        if 'num_classes' in node and 'rpn_head' not in path
    } or {type(head).__name__: getattr(head, 'num_classes', None)}
    numbers = {k: n for k, n in numbers.items() if isinstance(n, int)}
    small = [f'{k}={n}' for k, n in numbers.items() if n < len(classes)]
    if small:
        raise DataError(
            f'{name} has {len(classes)} classes, {", ".join(classes)}, but the model has '
            f'{", ".join(small)}: set num_classes of its heads (KeypointGraphHead has one class), '
            'or metainfo=dict(classes=...) of the data sets.'
        )
    _require_masks_of_all_classes(numbers)


def _require_masks_of_all_classes(numbers: dict[str, int]) -> None:
    """Refuse a RoI head whose boxes have classes that its masks lack."""
    found = {k: n for k, n in numbers.items() if '.bbox_head' in k}
    masks = {k: n for k, n in numbers.items() if re.search(r'\.(mask\w*|point)_head', k)}
    if found and masks and min(masks.values()) < max(found.values()):
        said = ', '.join(f'{k}={n}' for k, n in {**found, **masks}.items())
        raise ConfigError(f'{said}: set num_classes of all heads alike.')


def _converter_hint(root: str) -> str:
    converters, name = package_dir('tools') / 'dataset_converters', Path(root).name
    # The data sets ctc_hela, ctc_psc, ... share one.
    names = (name, name.split('_')[0], 'label_folder')
    files = (converters / f'{each}.py' for each in names)
    return f'Convert the data first: python {next(filter(Path.is_file, files))} --help.'
