"""Errors that the user can put right, and how the tools show them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Something the user can put right: its message alone says what is wrong and what to do."""


class ConfigError(UserError):
    """A config, or an option given on top of it, cannot be used."""


class DataError(UserError):
    """A data set that the config names is missing or empty."""


class CheckpointError(UserError):
    """A checkpoint is missing, broken, or of another model."""


class OutputError(UserError):
    """A result cannot be written."""


class NonFiniteLossError(UserError):
    """Training diverged."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a :class:`UserError` into its message and exit status 1, without a traceback."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f'error: {error}') from None


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn errors of the system, such as a full disk, into an :class:`OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f'{path} cannot be written to ({error.strerror or error}): make room, or choose '
            'another folder'
        ) from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest up to three of ``known`` as a sentence with a leading blank; '' if none is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f' Did you mean {" or ".join(map(repr, close))}?' if close else ''
