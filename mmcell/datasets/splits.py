"""Which images are for training, validation and test, and the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = ('train', 'val', 'test')


def read_splits(folder: Path, stems: Iterable[str]) -> dict[str, list[str]]:
    """Read ``train.txt``, ``val.txt`` and ``test.txt``, as many as there are.

    Lists of other names that end like these, such as ``all_train.txt`` and ``fold1_test.txt``, are
    read as well if they name an image of the data set, and may share images with any.

    Args:
        folder: where the lists are: one image per line, with or without suffix.
        stems: the images of the data set.

    Raises:
        FileNotFoundError: If there is none of the three lists.
        ValueError: If an image is listed twice, within a list or in two of the three, or a list is
            not UTF-8 text.
    """
    known = set(stems)
    main = [file for split in SPLITS if (file := folder / f'{split}.txt').is_file()]
    if not main:
        raise FileNotFoundError(f'{folder}: holds none of train.txt, val.txt, test.txt')
    lists = {file: _read_stems(file, known) for file in main}
    for file in sorted(file for split in SPLITS for file in folder.glob(f'*_{split}.txt')):
        with suppress(ValueError):  # no text, so no list
            stems_there = _read_stems(file, known)
            if not known.isdisjoint(stems_there):
                lists[file] = stems_there
    listed_in: dict[str, str] = {}
    for file, stems_there in lists.items():
        seen = listed_in if file in main else {}
        for stem in stems_there:
            if stem in seen:
                raise ValueError(f'{file}: {stem} is listed in {seen[stem]} already')
            seen[stem] = file.name
    return {file.stem: stems_there for file, stems_there in lists.items()}


def _read_stems(file: Path, known: set[str]) -> list[str]:
    return [line if line in known else Path(line).stem for line in read_list(file)]


def read_list(file: Path) -> list[str]:
    """The lines of a text file, without blanks around them and without empty ones.

    Raises:
        ValueError: If it is not UTF-8 text; a byte order mark is passed over.
    """
    try:
        text = file.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{file}: is not UTF-8 text ({error}); save it as such') from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def subsets_of(image: Mapping[str, Any], file: str | Path) -> list[str]:
    """The subsets that an image of a COCO file belongs to.

    Args:
        image: its entry; ``subset`` is a name or a list of names, and may be missing.
        file: for the error.

    Raises:
        ValueError: If it is anything else, or a name holds a semicolon, which joins them in tables.
    """
    names = image.get('subset', [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name and ';' not in name for name in names
    ):
        raise ValueError(
            f'{file}: image {image["file_name"]!r}: its subset is {names!r}, expected a name or a '
            'list of names, without semicolons'
        )
    return names


def random_splits(
    stems: Iterable[str], seed: int, fractions: tuple[float, float] = (0.6, 0.2)
) -> dict[str, list[str]]:
    """Shuffle into train, val and test.

    Args:
        stems: images; their order does not matter.
        seed: same seed, same split.
        fractions: of train and val; the rest is test.
    """
    shuffled = sorted(stems)
    np.random.default_rng(seed).shuffle(shuffled)
    first = round(len(shuffled) * fractions[0])
    second = first + round(len(shuffled) * fractions[1])
    parts = shuffled[:first], shuffled[first:second], shuffled[second:]
    return dict(zip(SPLITS, parts, strict=True))


def draw_validation(
    groups: Mapping[str, Sequence[str]], per_group: float, seed: int
) -> dict[str, list[str]]:
    """Split into train and val, some images of every group drawn for validation.

    Args:
        groups: images per group, such as an organ; their order does not matter.
        per_group: images of a group to draw; below 1, the fraction of them.
        seed: same seed, same split.
    """
    random = np.random.default_rng(seed)
    splits: dict[str, list[str]] = {'train': [], 'val': []}
    for _, stems in sorted(groups.items()):
        shuffled = random.permutation(sorted(stems)).tolist()
        drawn = round(per_group * len(stems)) if per_group < 1 else int(per_group)
        splits['val'] += shuffled[:drawn]
        splits['train'] += shuffled[drawn:]
    return {split: sorted(stems) for split, stems in splits.items()}


def fold_splits(
    stems: Iterable[str],
    folds: int,
    seed: int,
    group_of: Callable[[str], str] | None = None,
) -> dict[str, list[str]]:
    """Splits of a cross-validation: ``fold1_train``, ``fold1_test``, ``fold2_train``, ...

    Args:
        stems: images; their order does not matter.
        folds: how many; every image is in the test split of one and the training split of the rest.
        seed: same seed, same folds.
        group_of: stem -> its group, such as a patient; the images of a group stay in one fold, and
            folds are filled up from the largest group on. Default: every image on its own.

    Raises:
        ValueError: If there are fewer groups than folds, or fewer than 2 folds.
    """
    groups: dict[str, list[str]] = {}
    for stem in sorted(stems):
        groups.setdefault(group_of(stem) if group_of else stem, []).append(stem)
    if not 2 <= folds <= len(groups):
        raise ValueError(
            f'folds must be from 2 to {len(groups)}, the number of images or groups of images that '
            f'stay together, got {folds}'
        )
    shuffled = sorted(groups)
    np.random.default_rng(seed).shuffle(shuffled)
    tests: list[list[str]] = [[] for _ in range(folds)]
    for name in sorted(shuffled, key=lambda name: -len(groups[name])):
        min(tests, key=len).extend(groups[name])
    splits = {}
    for number, test in enumerate(tests, start=1):
        train = [stem for other in tests if other is not test for stem in other]
        splits[f'fold{number}_train'] = sorted(train)
        splits[f'fold{number}_test'] = sorted(test)
    return splits
