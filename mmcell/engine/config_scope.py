"""``_base_ = 'mmcell::pffnet_kumar.py'``: inheriting from mmcell's configs, installed anywhere.

MMEngine resolves ``package::`` for a fixed list of OpenMMLab's packages, and only for names with a
folder in them. Importing this module adds mmcell's flat names; a config that uses them is read
after ``import mmcell.plugin``, which ``tools/train.py`` and ``tools/test.py`` see to.
"""

from __future__ import annotations

from mmengine.config import Config

PREFIX = 'mmcell::'

_resolve = Config._get_cfg_path


def resolve_config(cfg_path: str, filename: str) -> tuple[str, str | None]:
    """Find a config that another one names in ``_base_``.

    Args:
        cfg_path: As written in ``_base_``.
        filename: The config that names it.

    Returns:
        Its path, and the scope its components are looked up in: mmcell registers in MMDetection's
        registries, so its configs need no scope of their own.

    Raises:
        FileNotFoundError: If mmcell has no config of this name; lists those it has.
    """
    if not cfg_path.startswith(PREFIX):
        return _resolve(cfg_path, filename)
    from .config import package_dir

    folder = package_dir('configs')
    path = folder / cfg_path[len(PREFIX) :]
    if not path.is_file():
        known = ', '.join(sorted(config.name for config in folder.glob('*.py')))
        raise FileNotFoundError(f'{filename}: mmcell has no config {path.name}, but has {known}.')
    return str(path), None


Config._get_cfg_path = staticmethod(resolve_config)
