from collections import Counter

import pytest

from mmcell.datasets.splits import draw_validation, fold_splits, random_splits, read_splits

STEMS = ['a.b', 'neg', 'broken', 'unused']


def test_split_lists_take_names_with_and_without_suffix(tmp_path):
    (tmp_path / 'train.txt').write_text('a.b\n\nneg.png\n')
    (tmp_path / 'test.txt').write_text('absent.tif\n')
    assert read_splits(tmp_path, STEMS) == {'train': ['a.b', 'neg'], 'test': ['absent']}


def test_image_in_two_lists_is_refused(tmp_path):
    (tmp_path / 'train.txt').write_text('neg\n')
    (tmp_path / 'val.txt').write_text('neg.png\n')
    with pytest.raises(ValueError, match='val.txt: neg is listed in train.txt already'):
        read_splits(tmp_path, STEMS)


def test_lists_beside_the_three_may_share_images_but_not_repeat_them(tmp_path):
    lists = {'train': ['neg'], 'val': ['a.b'], 'all_train': ['neg', 'a.b'], 'fold1_test': ['neg']}
    for name, stems in lists.items():
        (tmp_path / f'{name}.txt').write_text('\n'.join(stems))
    (tmp_path / 'notes.txt').write_text('not a list')
    (tmp_path / 'log_train.txt').write_text('epoch 1\nepoch 1\n')
    (tmp_path / '._all_train.txt').write_bytes(b'\xe4')
    assert read_splits(tmp_path, STEMS) == lists
    (tmp_path / 'all_train.txt').write_text('neg\nneg\n')
    with pytest.raises(ValueError, match='all_train.txt: neg is listed in all_train.txt already'):
        read_splits(tmp_path, STEMS)


def test_lists_as_windows_writes_them(tmp_path):
    (tmp_path / 'train.txt').write_bytes(b'\xef\xbb\xbfneg\r\na.b\r\n')
    assert read_splits(tmp_path, STEMS) == {'train': ['neg', 'a.b']}
    (tmp_path / 'test.txt').write_bytes(b'K\xe4fer\n')
    with pytest.raises(ValueError, match=r'test.txt: is not UTF-8 text \(.*; save it as such'):
        read_splits(tmp_path, STEMS)


def test_folder_without_lists_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'holds none of train.txt'):
        read_splits(tmp_path, STEMS)


def test_random_split_is_60_20_20_and_depends_on_the_seed_alone():
    stems = [f'{number:03}' for number in range(50)]
    splits = random_splits(stems, seed=3)
    assert [len(splits[name]) for name in ('train', 'val', 'test')] == [30, 10, 10]
    assert sorted(sum(splits.values(), [])) == stems
    assert random_splits(stems[::-1], seed=3) == splits
    assert random_splits(stems, seed=4) != splits


def test_every_image_is_tested_in_one_fold_and_trained_on_in_the_others():
    stems = [f'{number:03}' for number in range(128)]
    splits = fold_splits(stems, 3, seed=1)
    tests = [splits[f'fold{k}_test'] for k in (1, 2, 3)]
    assert sorted(len(test) for test in tests) == [42, 43, 43]
    assert sorted(sum(tests, [])) == stems
    for k in (1, 2, 3):
        assert sorted(splits[f'fold{k}_train'] + splits[f'fold{k}_test']) == stems
    assert list(splits) == [f'fold{k}_{part}' for k in (1, 2, 3) for part in ('train', 'test')]
    assert fold_splits(stems[::-1], 3, seed=1) == splits
    assert fold_splits(stems, 3, seed=2) != splits


def test_groups_stay_together_and_folds_are_filled_from_the_largest_group_on():
    # Letters are groups of 5, 3, 2, 2 images: 5 | 3 + 2, then the last 2 join the 5 or the 3 + 2.
    stems = [
        f'{name}{k}' for name, size in zip('abcd', (5, 3, 2, 2), strict=True) for k in range(size)
    ]
    splits = fold_splits(stems, 2, seed=0, group_of=lambda stem: stem[0])
    groups = [{stem[0] for stem in splits[f'fold{k}_test']} for k in (1, 2)]
    assert not groups[0] & groups[1]
    assert sorted(len(splits[f'fold{k}_test']) for k in (1, 2)) == [5, 7]
    assert {'a', 'b'} not in groups


@pytest.mark.parametrize('folds', [1, 3])
def test_more_folds_than_groups_are_refused(folds):
    with pytest.raises(ValueError, match=f'folds must be from 2 to 2, .*got {folds}'):
        fold_splits(['a1', 'a2', 'b1'], folds, seed=0, group_of=lambda stem: stem[0])


def test_validation_is_drawn_from_every_group():
    groups = {organ: [f'{organ}{k}' for k in range(4)] for organ in ('breast', 'liver')}
    draws = [draw_validation(groups, 1, seed) for seed in range(20)]
    for split in draws:
        assert sorted(stem[:-1] for stem in split['val']) == ['breast', 'liver']
        assert sorted(split['train'] + split['val']) == sorted(sum(groups.values(), []))
    assert len({tuple(split['val']) for split in draws}) > 8
    reordered = {organ: stems[::-1] for organ, stems in reversed(groups.items())}
    assert draw_validation(reordered, 1, 3) == draws[3]


def test_validation_is_drawn_from_every_group_by_number_or_by_fraction():
    groups = {'a': [f'a{k}' for k in range(10)], 'b': ['b0', 'b1', 'b2']}
    for per_group, expected in ((1, {'a': 1, 'b': 1}), (0.3, {'a': 3, 'b': 1}), (0.1, {'a': 1})):
        splits = draw_validation(groups, per_group, seed=0)
        assert Counter(stem[0] for stem in splits['val']) == expected
        assert sorted(splits['train'] + splits['val']) == sum(groups.values(), [])
