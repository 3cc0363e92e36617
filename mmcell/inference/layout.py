"""How images lie in a stored array: what each axis is, or an error that says what is unclear."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

# Axes that hold the channels of one image: C separate ones, S the samples of a colour.
_CHANNEL_AXES = 'CS'
# What tifffile and we call an axis that nothing tells the meaning of.
_UNKNOWN = 'Q'
# An axis of length 1 that the user's axes leave out.
_IDLE = '_'

# Names, or numbers from 1, as a list or separated by commas; None lets the image decide.
Channels = str | int | Sequence[str | int] | None

COLOURS = ('red', 'green', 'blue')


class Layout(NamedTuple):
    """How the images of a stored array lie in it.

    Attributes:
        shape: of the array.
        axes: one letter per axis: Y row, X column, C channel, S colour sample; along any other
            axis lie images of their own.
        channels: names. Fewer than the channel axis is long where it ends in alpha.
        is_colour: whether the channels are red, green and blue.
    """

    shape: tuple[int, ...]
    axes: str
    channels: tuple[str, ...]
    is_colour: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height, width in pixels."""
        return self.shape[self.axes.index('Y')], self.shape[self.axes.index('X')]

    @property
    def channel_axis(self) -> str:
        """Letter of the axis along which the channels lie; '' where there is but one."""
        return next((a for a in _CHANNEL_AXES if a in self.axes and self.length(a) > 1), '')

    @property
    def page_axes(self) -> str:
        """Letters of the axes along which images of their own lie."""
        inner = {'Y', 'X', self.channel_axis}
        return ''.join(axis for axis in self.axes if axis not in inner)

    @property
    def pages(self) -> list[tuple[int, ...]]:
        """Where each image lies along ``page_axes``."""
        return list(itertools.product(*(range(self.length(axis)) for axis in self.page_axes)))

    def length(self, axis: str) -> int:
        """Length of an axis."""
        return self.shape[self.axes.index(axis)]


def find_layout(
    what: str,
    shape: Sequence[int],
    axes: str,
    given_axes: str | None = None,
    names: Sequence[str] = (),
    num_alpha: int = 0,
    is_colour: bool | None = None,
) -> Layout:
    """Settle what every axis of a stored array is.

    Args:
        what: the file, for errors.
        shape: of the array.
        axes: one letter per axis as the file says or :func:`guess_axes` has it; Q is unknown.
        given_axes: what the user says instead. Axes of length 1 may be left out.
        names: of the channels, where the file says.
        num_alpha: how many samples at the end are not colours.
        is_colour: whether samples (axis S) are colours. Default: where they are 3 or 4, of which
            the fourth is alpha.

    Raises:
        ValueError: If the array has no pixels, or it is not clear what an axis is.
    """
    shape = tuple(int(length) for length in shape)
    if 0 in shape:
        raise ValueError(f'{what}: has no pixels, its shape is {shape}')
    if given_axes is not None:
        axes = _match_axes(what, shape, given_axes.strip().upper())
        names, num_alpha, is_colour = (names if 'C' in axes else ()), 0, None
    _require_known(what, shape, axes)
    layout = Layout(shape, axes, (), is_colour=False)
    count = layout.length(layout.channel_axis) if layout.channel_axis else 1
    if layout.channel_axis == 'S':
        if is_colour is None:
            is_colour = count in (3, 4)
            num_alpha = count - 3 if is_colour else num_alpha
        count -= num_alpha
        if is_colour and count == 3:
            return layout._replace(channels=COLOURS, is_colour=True)
    usable = len(names) == count and len(set(names)) == count and all(names)
    return layout._replace(
        channels=tuple(names) if usable else tuple(map(unnamed, range(1, count + 1)))
    )


def unnamed(number: int) -> str:
    """Name of a channel, counted from 1, that the file does not name."""
    return f'channel {number}'


def guess_axes(shape: Sequence[int]) -> str:
    """Axes of an array that comes without any: one gray plane, or colours in the last axis.

    Returns:
        One letter per axis, Q where the shape does not tell.
    """
    if len(shape) == 2:
        return 'YX'
    if len(shape) == 3:
        may_end_in_colour, may_begin_with_it = shape[2] in (1, 3, 4), shape[0] in (3, 4)
        if may_end_in_colour:
            return _UNKNOWN * 3 if may_begin_with_it else 'YXS'
        return 'CYX' if shape[0] == 1 else f'{_UNKNOWN}YX'
    lengthy = [length for length in shape if length > 1]
    if 2 <= len(lengthy) < len(shape):
        letters = iter(guess_axes(lengthy))
        return ''.join(next(letters) if length > 1 else _IDLE for length in shape)
    return _UNKNOWN * len(shape)


def choose_channels(what: str, names: Sequence[str], channels: Channels) -> tuple[int, ...]:
    """Which channels a network is shown, as gray or as red, green and blue.

    Args:
        what: the file, for errors.
        names: of all channels.
        channels: one to three names or numbers from 1 in the order red, green, blue, as a list or
            separated by commas. None: the only channel, or all three.

    Returns:
        Their indices, from 0.

    Raises:
        ValueError: If a channel does not exist, or ``channels`` are needed and missing.
    """
    numbered = enumerate(names, start=1)
    known = ', '.join(name if name == unnamed(k) else f'{k} {name}' for k, name in numbered)
    if channels is None:
        if len(names) in (1, 3):
            return tuple(range(len(names)))
        raise ValueError(
            f'{what}: has {len(names)} channels ({known}) and networks take one as gray or three '
            'as red, green and blue; choose with --channels, such as --channels 1 or --channels '
            '3,2,1 (names work, too)'
        )
    wanted = str(channels).split(',') if isinstance(channels, (str, int)) else list(channels)
    chosen = tuple(_index_of(what, names, str(channel).strip(), known) for channel in wanted)
    if not 1 <= len(chosen) <= 3 or len(set(chosen)) != len(chosen):
        raise ValueError(
            f'{what}: channels are {channels!r}, expected one to three different ones of {known}'
        )
    return chosen


def _index_of(what: str, names: Sequence[str], channel: str, known: str) -> int:
    matches = [k for k, name in enumerate(names) if name.casefold() == channel.casefold()]
    if not matches and channel.isdecimal() and 1 <= int(channel) <= len(names):
        matches = [int(channel) - 1]
    if len(matches) != 1:
        raise ValueError(f'{what}: has no channel {channel!r}, its channels are {known}')
    return matches[0]


def _match_axes(what: str, shape: tuple[int, ...], given: str) -> str:
    """The user's axes, one per axis of the array."""
    if not given.isalpha() or len(set(given)) != len(given) or not {'Y', 'X'} <= set(given):
        raise ValueError(
            f'{what}: axes are {given!r}, expected a different letter for each axis of {shape}, '
            'with Y (rows) and X (columns) among them, such as YX, YXS or CYX'
        )
    if len(given) == len(shape):
        return given
    lengthy = sum(length > 1 for length in shape)
    if len(given) != lengthy:
        raise ValueError(
            f'{what}: axes {given!r} are {len(given)}, but its shape {shape} has {len(shape)} axes'
        )
    letters = iter(given)
    return ''.join(next(letters) if length > 1 else _IDLE for length in shape)


def _require_known(what: str, shape: tuple[int, ...], axes: str) -> None:
    lengths = dict(zip(axes, shape, strict=True))
    said = f'{what}: has shape {shape} with axes {axes}'
    unknown = [k for k, axis in enumerate(axes) if axis == _UNKNOWN and shape[k] > 1]
    if unknown or not {'Y', 'X'} <= lengths.keys():
        raise ValueError(
            f'{said}, where Q is unknown; say what they are with --axes, such as '
            f'{" or ".join(_examples(axes))} (C channels, S colours, Z or T images of their own)'
        )
    if lengths.get('C', 1) > 1 and lengths.get('S', 1) > 1:
        raise ValueError(
            f'{said}, channels that are colours themselves; take them as images of their own with '
            f'--axes {axes.replace("C", "Z" if "Z" not in axes else "R")}'
        )


def _examples(axes: str) -> list[str]:
    if axes.count(_UNKNOWN) == 1 and {'Y', 'X'} <= set(axes):
        return [axes.replace(_UNKNOWN, 'C'), axes.replace(_UNKNOWN, 'Z')]
    return {3: ['CYX', 'YXS', 'ZYX'], 4: ['ZCYX', 'ZYXS']}.get(len(axes), ['TZCYX', 'TZYXS'])
