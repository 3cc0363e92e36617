"""Reading a config and the options on top of it, with mistakes said plainly."""

from __future__ import annotations

import copy
import difflib
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmdet.registry
import mmengine.registry
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import Registry
from mmengine.runner import Runner

import mmcell

from . import config_scope  # noqa: F401  configs may build on 'mmcell::...'
from .errors import ConfigError, did_you_mean

# What Runner reads from the top level of a config; every other top-level name is a variable that
# was used up when the file was read.
RUNNER_KEYS = (set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}) | {
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
}
# An unknown key this close to a known one is a typing error; others may be meant.
TYPO_RATIO = 0.9


def package_dir(name: str) -> Path:
    """Folder ``name`` ('configs' or 'tools') of an installed package or of a checkout."""
    package = Path(mmcell.__file__).parent
    installed = package / '.mim' / name
    return installed if installed.is_dir() else package.parent / name


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a config file and merge ``--cfg-options`` into it.

    Args:
        path: A config file.
        overrides: Dotted key -> value, as ``mmengine.config.DictAction`` gives them.

    Raises:
        ConfigError: The file, or one it builds on, does not exist or is no config, or an override
            names a key that nothing would read. Close names are suggested.
    """
    path = Path(path)
    if not path.is_file():
        folder = package_dir('configs')
        known = [str(p) for pattern in ('', 'ablations/') for p in folder.glob(f'{pattern}*.py')]
        stems = {Path(p).stem: p for p in known}
        close = difflib.get_close_matches(path.stem, stems, n=3, cutoff=0.5)
        hint = ' or '.join(stems[stem] for stem in close)
        raise ConfigError(
            f'config {path} does not exist.'
            + (f' Did you mean {hint}?' if hint else f' See {folder}.')
        )
    try:
        cfg = Config.fromfile(str(path))
    except FileNotFoundError as error:
        raise ConfigError(f'config {path} builds on a file that is missing: {error}') from error
    except (OSError, SyntaxError) as error:
        raise ConfigError(f'{path} is no config: {error}') from error
    # Whatever its lines, the modules that it imports or entries that do not fit its bases' raise.
    except Exception as error:
        raise ConfigError(f'{path} cannot be read: {type(error).__name__}: {error}') from error
    if overrides:
        for key in overrides:
            _check_override(cfg, key)
        cfg.merge_from_dict(copy.deepcopy(overrides))  # which takes _delete_ out
    return cfg


def walk_config(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yield (dotted path, dict) for every dict inside ``node``, itself included."""
    if isinstance(node, dict):
        yield path, node
        children: Any = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    else:
        return
    for key, child in children:
        yield from walk_config(child, f'{path}.{key}' if path else str(key))


def cell_metrics(cfg: Config, evaluator: str = 'test_evaluator') -> list[dict]:
    """The CellMetrics that a config is tested or, by ``val_evaluator``, validated with."""
    nodes = walk_config(cfg.get(evaluator) or {}, evaluator)
    return [node for _, node in nodes if node.get('type') in ('CellMetric', 'mmdet.CellMetric')]


def _check_override(cfg: Config, key: str) -> None:
    top, *rest = key.split('.')
    if top not in RUNNER_KEYS:
        readers = [
            f'{path}.{key}'
            for path, node in walk_config(cfg._cfg_dict)
            if path.split('.')[0] in RUNNER_KEYS and key in node
        ]
        if top in cfg:
            hint = f' Set {", ".join(readers)} instead.' if readers else ''
            raise ConfigError(
                f'--cfg-options {key}: {top!r} is a variable of the config file, used up when the '
                f'file was read: changing it now has no effect.{hint}'
            )
        raise ConfigError(
            f'--cfg-options {key}: nothing reads a top-level key {top!r}.'
            + did_you_mean(top, RUNNER_KEYS)
        )
    if top not in cfg:  # optional, such as model_wrapper_cfg
        return
    node, parent = cfg.get(top), top
    for part in rest:
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}: {parent} is a list of {len(node)}; '
                    f'{part!r} is not one of its places 0..{len(node) - 1}.'
                )
            node = node[int(part)]
        elif isinstance(node, dict):
            if part not in node:
                _reject_or_announce(key, parent, part, list(node))
                return
            node = node[part]
        else:
            raise ConfigError(f'--cfg-options {key}: {parent} is {node!r} and has no keys.')
        parent = f'{parent}.{part}'


def _reject_or_announce(key: str, parent: str, part: str, known: list[str]) -> None:
    if difflib.get_close_matches(part, known, n=1, cutoff=TYPO_RATIO):
        raise ConfigError(
            f'--cfg-options {key}: {parent} has no key {part!r}.' + did_you_mean(part, known)
        )
    # No runner and so no log file yet.
    print_log(
        f'warning: --cfg-options {key} adds the key {part!r}, which {parent} does not have so far.'
        + did_you_mean(part, known)
    )


@contextmanager
def plain_build_errors(cfg: Config) -> Iterator[None]:
    """Turn a build error that stems from a name in ``cfg`` into a :class:`ConfigError`.

    MMEngine builds data sets and loops late, so this spans building and running. Errors that do
    not fit an entry of ``cfg`` pass unchanged.
    """
    try:
        yield
    except KeyError as error:
        message = _explain_unknown_type(str(error), cfg)
        if message is None:
            raise
        raise ConfigError(message) from error
    except TypeError as error:
        message = _explain_unknown_argument(str(error), cfg)
        if message is None:
            raise
        raise ConfigError(message) from error


def _registries() -> list[Registry]:
    modules = (mmdet.registry, mmengine.registry)
    return [v for m in modules for v in vars(m).values() if isinstance(v, Registry)]


def _explain_unknown_type(error: str, cfg: Config) -> str | None:
    found = re.search(r'(\S+) is not in the (?:\w+::)?([\w ]+?) registry', error.strip('\'"'))
    if not found:
        return None
    name, registry = found.groups()
    places = [p for p, node in walk_config(cfg._cfg_dict) if node.get('type') == name]
    known = {n for r in _registries() if r.name == registry for n in r.module_dict}
    return (
        f'{" and ".join(f"{p}.type" for p in places) or "type"} = {name!r}: no {registry} of this '
        f'name is registered.{did_you_mean(name, known)} A class of your own is registered by '
        'naming its module in custom_imports.'
    )


def _explain_unknown_argument(error: str, cfg: Config) -> str | None:
    found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", error)
    if not found:
        return None
    rejecting, argument = found.groups()
    for path, node in walk_config(cfg._cfg_dict):
        if argument not in node or not isinstance(node.get('type'), str):
            continue
        for registry in _registries():
            built = registry.module_dict.get(node['type'])
            if inspect.isclass(built) and rejecting in {c.__name__ for c in built.__mro__}:
                known = {p for c in built.__mro__ for p in _init_parameters(c)}
                return f'{path}: {node["type"]} has no argument {argument!r}.' + did_you_mean(
                    argument, known
                )
    return None


def _init_parameters(cls: type) -> set[str]:
    if '__init__' not in vars(cls) or cls is object:
        return set()
    return set(inspect.signature(cls.__init__).parameters) - {'self', 'args', 'kwargs'}
