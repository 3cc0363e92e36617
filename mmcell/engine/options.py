"""Command line options that training and testing share, with MMDetection's names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction


class _ConfigOptions(DictAction):
    """MMEngine's action, which removes the spaces of paths, too."""

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """A single value as it is, several as MMEngine reads them."""
        text = val.strip('\'" ')
        if ',' in text or text[:1] in ('(', '['):
            return DictAction._parse_iterable(text)
        return DictAction._parse_int_float_bool(text)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the values to those of former options of this name."""
        for value in values or ():
            if '=' not in value:
                parser.error(f'argument {option_string}: expected KEY=VALUE, got {value!r}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError):  # MMEngine's, of brackets that it cannot pair
            parser.error(
                f'argument {option_string}: cannot read {" ".join(map(str, values or ()))}: values '
                'are numbers, words and lists of them such as [a,b]; entries of a dict are set by '
                'KEY.NAME=VALUE'
            )


def add_config_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--cfg-options``.

    Args:
        parser: changed in place.
        example: a ``KEY=VALUE`` for the help.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_ConfigOptions,
        metavar='KEY=VALUE',
        help=f'change the config, for example {example} "key=[a,b]"',
    )


def add_shared_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--cfg-options``, ``--launcher`` and ``--local_rank``.

    Args:
        parser: changed in place.
        example: a ``KEY=VALUE`` for the help of ``--cfg-options``.
    """
    add_config_options(parser, example)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def export_local_rank(args: argparse.Namespace) -> None:
    """Put ``--local_rank`` where MMEngine reads it, unless the launcher has done so."""
    local_rank = os.environ.get('OMPI_COMM_WORLD_LOCAL_RANK', str(args.local_rank))
    os.environ.setdefault('LOCAL_RANK', local_rank)
