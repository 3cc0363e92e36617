import json

import numpy as np
import pytest
from scipy import stats

from mmcell.engine.errors import UserError
from mmcell.evaluation.comparison import Spread, compare_methods, read_method
from mmcell.evaluation.statistics import paired_test

IMAGES = list('abcdef')


@pytest.fixture
def write(tmp_path):
    """Write a table of scores per image; returns what reads it back."""

    def write(name, columns, images=IMAGES):
        lines = [','.join(['image', *columns])]
        lines += [
            ','.join([image, *(str(values[k]) for values in columns.values())])
            for k, image in enumerate(images)
        ]
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / 'per_image.csv').write_text('\n'.join(lines) + '\n')
        return read_method(folder)

    return write


@pytest.fixture
def pair(write):
    return [
        write(
            'A', {'aji': [0.5, 0.6, 0.7, 0.8, 0.6, 0.7], 'count_difference': [-1, 0, 2, 1, 0, 0]}
        ),
        write(
            'B', {'aji': [0.4, 0.6, 0.5, 0.7, 0.5, 0.4], 'count_difference': [-3, 1, 3, 1, 2, 0]}
        ),
    ]


def test_tests_are_those_of_scipy_on_paired_values(pair):
    result = compare_methods(pair)
    assert (result.reference, result.scores) == ('A', ('aji',))
    tested = result.tests['aji']['B']
    expected = stats.ttest_rel(
        [0.5, 0.6, 0.7, 0.8, 0.6, 0.7], [0.4, 0.6, 0.5, 0.7, 0.5, 0.4], alternative='greater'
    )
    assert tested.test.p_t == pytest.approx(expected.pvalue)
    assert tested.p_t_holm == tested.test.p_t  # a family of one


def test_the_seed_is_that_of_the_bootstrap(pair):
    values = [[method.scores['aji'][image] for image in IMAGES] for method in pair]
    intervals = set()
    for seed in (0, 7):
        found = compare_methods(pair, seed=seed).tests['aji']['B'].test
        assert found == paired_test(*map(np.array, values), 'higher', seed)
        intervals.add((found.ci_low, found.ci_high))
    assert len(intervals) == 2


def test_names_differ_in_suffixes_as_tools_write_them(write, pair):
    other = write('C', {'aji': [0.5] * 6}, ['a.png', 'b.tif', 'c_masks.tif', 'd', 'e', 'f.jpg'])
    assert compare_methods([pair[0], other]).images == IMAGES


def test_pairs_are_made_by_name_not_by_line(write, pair):
    shuffled = write('C', {'aji': [0.4, 0.5, 0.7, 0.5, 0.6, 0.4]}, ['f.png', 'e.png', 'd.png',
                     'c.png', 'b.png', 'a.png'])  # fmt: skip
    result = compare_methods([*pair, shuffled], reference='B')
    assert result.tests['aji']['C'].test.note.startswith('identical')
    assert result.tests['aji']['C'].p_t_holm == 1


def test_mean_and_sample_deviation_by_hand(pair):
    mean, std, n = compare_methods(pair).spread('A', 'aji')
    # Deviations from 0.65: 0.15, 0.05, 0.05, 0.15, 0.05, 0.05; squares add up to 0.055.
    assert (mean, std, n) == (pytest.approx(0.65), pytest.approx(np.sqrt(0.055 / 5)), 6)


def test_holm_corrects_over_the_methods_of_a_score(write, pair):
    third = write('C', {'aji': [0.45, 0.6, 0.6, 0.7, 0.5, 0.5]})
    tests = compare_methods([*pair, third]).tests['aji']
    p = sorted((tested.test.p_t, tested.p_t_holm) for tested in tests.values())
    assert p[0][1] == pytest.approx(2 * p[0][0])
    assert p[1][1] == pytest.approx(max(2 * p[0][0], p[1][0]))


def test_values_near_zero_are_better_where_zero_is(pair):
    test = compare_methods(pair, ['count_difference']).tests['count_difference']['B'].test
    assert (test.wins, test.ties, test.losses) == (4, 2, 0)
    assert test.mean_difference == pytest.approx(4 / 6 - 10 / 6)


def test_images_that_a_method_lacks_are_named_and_left_out_of_everything(write, pair):
    short = write('C', {'aji': [0.4, 0.5, 0.6, 0.7]}, ['a.png', 'b.tif', 'c_masks.png', 'z'])
    result = compare_methods([*pair, short])
    assert result.images == IMAGES[:3]
    assert result.left_out == {
        'd': ['C'],
        'e': ['C'],
        'f': ['C'],
        'z': ['A', 'B'],
    }
    assert result.spread('A', 'aji') == Spread(pytest.approx(0.6), pytest.approx(0.1), 3)
    assert result.tests['aji']['B'].test.n == 3


def test_images_without_a_value_are_left_out_of_that_score_alone(write):
    first = write('A', {'aji': [0.5, '', 'nan', 0.8, 0.6, 'inf'], 'dice': [1, 1, 0.9, 1, 1, 0.8]})
    second = write('B', {'aji': [0.4, 0.6, 0.5, 0.7, 0.5, 0.4], 'dice': [0.9, 1, 1, 1, 1, 0.7]})
    result = compare_methods([first, second])
    assert result.undefined('aji') == ['b', 'c', 'f']
    assert result.undefined('dice') == []
    assert result.spread('B', 'aji').n == result.tests['aji']['B'].test.n == 3
    assert result.spread('B', 'aji').mean == pytest.approx(1.6 / 3)


def test_a_score_with_too_few_values_is_not_tested_and_says_why(write):
    first = write('A', {'aji': [0.5, '', '', '', '', 0.5], 'dice': [1, 1, 0.9, 1, 1, 0.8]})
    second = write('B', {'aji': [0.4] * 6, 'dice': [0.9, 1, 1, 1, 1, 0.7]})
    result = compare_methods([first, second])
    assert result.untested == {'aji': '2 images have a value in every method, 3 are needed'}
    assert result.tests['aji'] == {} and 'B' in result.tests['dice']


def test_a_method_without_a_score_is_left_out_of_its_tests(write, pair):
    without = write('C', {'dice': [0.5] * 6})
    result = compare_methods([*pair, without])
    assert result.scores == ('aji', 'dice')
    assert list(result.tests['aji']) == ['B']
    assert result.spread('C', 'aji') is None
    assert result.untested == {'dice': 'A does not have this score'}


def test_subsets_of_the_papers(write):
    subset = ['seen', 'seen', 'unseen', 'unseen', 'seen;large', '']
    first = write('A', {'aji': [0.1, 0.2, 0.3, 0.5, 0.6, 0.9], 'subset': subset})
    second = write('B', {'aji': [0.2] * 6})
    result = compare_methods([first, second])
    assert list(result.subsets) == ['seen', 'unseen', 'large', 'all']
    assert result.spread('A', 'aji', 'seen').mean == pytest.approx(0.3)
    assert result.spread('A', 'aji', 'unseen') == pytest.approx((0.4, 0.1 * np.sqrt(2), 2))
    one = result.spread('A', 'aji', 'large')
    assert (one.mean, one.n) == (0.6, 1) and np.isnan(one.std)
    assert result.spread('A', 'aji').n == 6


def test_contradicting_subsets_are_refused(write):
    first = write('A', {'aji': [0.5] * 6, 'subset': ['seen'] * 6})
    second = write('B', {'aji': [0.2] * 6, 'subset': ['seen'] * 5 + ['unseen']})
    with pytest.raises(UserError, match='f into different subsets: A: seen, B: unseen'):
        compare_methods([first, second])


def test_fewer_than_three_common_images_are_refused_with_the_reason(write, pair):
    renamed = write('C', {'aji': [0.5] * 4}, ['a.png', 'b.png', 'x.tif', 'y.tif'])
    with pytest.raises(UserError, match='2 images are common .* C: a'):
        compare_methods([pair[0], renamed])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'reference': 'Bee'}, "no method 'Bee'.*Methods are A, B"),
        ({'scores': ['dice']}, "no score 'dice'.*Known are aji"),
        ({'scores': ['aji', 'ap50']}, 'ap50 ranks the detections of all images: images have no'),
    ],
)
def test_unknown_names_are_refused_with_what_there_is(pair, options, message):
    with pytest.raises(UserError, match=message):
        compare_methods(pair, **options)


def test_one_method_or_equal_names_are_refused(pair):
    with pytest.raises(UserError, match='one method alone'):
        compare_methods(pair[:1])
    with pytest.raises(UserError, match='different names, got A, A'):
        compare_methods([pair[0], pair[0]])


def test_names_come_from_the_folder_the_table_or_the_caller(write, tmp_path):
    table = write('A', {'aji': [0.5] * 6}).source
    assert read_method(table).name == 'A'
    other = table.rename(tmp_path / 'Mask R-CNN.csv')
    assert read_method(other).name == 'Mask R-CNN'
    assert read_method(other, 'M').name == 'M'


def test_files_beside_the_table_are_read(write, tmp_path):
    write('A', {'aji': [0.5] * 6})
    (tmp_path / 'A/summary.json').write_text(json.dumps({'pooled': {'pq': 0.5}}))
    assert read_method(tmp_path / 'A').summary == {'pooled': {'pq': 0.5}}
    (tmp_path / 'A/summary.json').write_text('{"pooled": {"pq": "good"}}')
    with pytest.raises(UserError, match=r'summary\.json: "pooled" is not a number per score'):
        read_method(tmp_path / 'A')
    (tmp_path / 'A/summary.json').unlink()
    (tmp_path / 'A/timing.json').write_text('{"fps":')
    with pytest.raises(UserError, match=r'timing\.json: cannot be read as JSON'):
        read_method(tmp_path / 'A')


def test_images_of_one_name_in_several_folders_are_told_apart(tmp_path):
    (tmp_path / 'a.csv').write_text('image,img_id,aji\n1.png,4,0.5\n2.png,5,0.7\n1.png,6,0.6\n')
    method = read_method(tmp_path / 'a.csv')
    assert method.scores['aji'] == {'1 (id 4)': 0.5, '2': 0.7, '1 (id 6)': 0.6}
    (tmp_path / 'b.csv').write_text('image,aji\n01/1,0.5\n2,0.7\n02/1,0.6\n')
    method = read_method(tmp_path / 'b.csv')
    assert method.scores['aji'] == {'01/1': 0.5, '2': 0.7, '02/1': 0.6}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', r'line 1: expected a column "image" .*, got nothing'),
        ('image,score\na.png,1\n', r'line 1: expected a column "image".*got image, score'),
        ('image,aji\n', 'holds no image'),
        ('image,aji\na.png,0.5\nb.png,high\n', "line 3, aji: expected a number.*'high'"),
        ('image,aji\na.png,0.5\na.png,0.6\n', "line 3: image 'a.png' is there already"),
        ('image,aji\na.png,0.5\na.tif,0.6\n', "line 3: image 'a.tif' is there already"),
        ('image,aji\n,0.5\n', "line 2: image '' has no name"),
        ('image,aji,dice\na.png,0.5,0.6\nb.png,0.5\n', 'line 3: expected 3 cells'),
        ('image,aji\na.png,0.5,0.6\n', 'line 2: expected 2 cells'),
        ('image,aji\n"a.png,0.5\n', 'cannot be read as CSV'),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / 'broken.csv').write_text(content)
    with pytest.raises(UserError, match=rf'broken\.csv.*{message}'):
        read_method(tmp_path / 'broken.csv')


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r'per_image\.csv: no such table'):
        read_method(tmp_path)
