import numpy as np
import pytest

from mmcell.engine.errors import UserError
from mmcell.evaluation.quoted import Figure, load_quoted, shipped_names

GOOD = 'source: A paper\ntable: 1\ndataset: Cells\nrows:\n  - {method: A, aji: {mean: 0.5}}\n'


def figure(name, method, score, subset='all', table=None):
    rows = [
        row
        for row in load_quoted(name).rows
        if row.method == method and row.subset == subset and table in (None, row.table)
    ]
    return next(row.scores[score] for row in rows if score in row.scores)


@pytest.mark.parametrize('name', shipped_names())
def test_shipped_file_is_valid_and_in_range(name):
    table = load_quoted(name)
    assert table.name == name and table.rows
    assert table.printed_as.keys() <= set(table.scores)
    keys = [(row.method, row.subset, row.table) for row in table.rows]
    assert len(set(keys)) == len(keys)
    unbounded = {'fps', 'object_hausdorff', 'count_difference', 'absolute_count_difference'}
    for row in table.rows:
        for score, (mean, std) in row.scores.items():
            assert score in unbounded or 0 < mean < 1
            assert std is None or 0 < std < mean


def test_all_tables_of_the_papers_are_there():
    prefixes = ('pffnet', 'cell_rcnn_v2', 'object_guided', 'keypoint_graph')
    assert [sum(n.startswith(p) for n in shipped_names()) for p in prefixes] == [13, 3, 5, 2]


@pytest.mark.parametrize(
    ('name', 'method', 'score', 'expected'),
    [
        ('pffnet_kumar', 'PFFNet', 'aji', (0.6107, 0.0726)),
        ('pffnet_kumar', 'CNN3', 'f1', (0.8267, 0.0934)),
        ('pffnet_kumar', 'DIST', 'dice', (0.7863, 0.0550)),
        ('pffnet_tnbc', 'Cell R-CNN V2', 'pq', (0.5845, 0.0964)),
        ('pffnet_bbbc039', 'PFFNet', 'pq', (0.8331, 0.0724)),
        ('pffnet_cvppp', 'Mask R-CNN', 'sbd', (0.8674, 0.0362)),
        ('pffnet_cvppp', 'PFFNet', 'dice', (0.9338, 0.0268)),
        ('pffnet_cvppp_test', 'PFFNet', 'sbd', (0.911, None)),
        ('pffnet_cvppp_test', 'RIS', 'sbd', (0.666, None)),
        ('pffnet_panoptic_kumar', 'UPSNet', 'f1', (0.8315, None)),
        ('pffnet_panoptic_bbbc039', 'PFFNet', 'pq', (0.8330, None)),
        ('pffnet_panoptic_cvppp', 'OANet', 'dice', (0.8994, None)),
        ('pffnet_ablations_tnbc', 'PFFNet, fusion (a)', 'dice', (0.791, None)),
        ('pffnet_ablations_cvppp', 'PFFNet, w/o mask quality', 'pq', (0.7593, None)),
        ('pffnet_ablations_bbbc039', 'PFFNet, w/o semantic consistency', 'f1', (0.9416, None)),
        ('pffnet_cpm17_to_kumar', 'NuClick', 'dq', (0.9819, None)),
        ('cell_rcnn_v2_kumar', 'U-Net', 'dice', (0.7795, None)),
        ('cell_rcnn_v2_tnbc', 'GCN', 'aji', (0.1907, 0.1208)),
        ('cell_rcnn_v2_cell17', 'Cell R-CNN V2', 'object_hausdorff', (9.5832, 3.6237)),
        ('object_guided_dsb2018', 'Object-guided with refinement', 'ap50', (0.8556, None)),
        ('object_guided_plant', 'PointRend', 'fps', (16.87, None)),
        ('object_guided_neural', 'Keypoint Graph', 'box_ap', (0.4368, None)),
        ('object_guided_ctc', 'Object-guided, PhC-C2DL-PSC', 'ctc_seg', (0.569, None)),
        ('object_guided_leaf', 'Object-guided, A3', 'count_difference', (-0.23, None)),
        ('keypoint_graph_neural', 'Keypoint Graph (seg branch)', 'ap70', (0.6308, None)),
        ('keypoint_graph_dsb2018', 'CornerNet', 'box_ap50', (0.4799, None)),
    ],
)
def test_figures_are_those_of_the_papers(name, method, score, expected):
    assert figure(name, method, score) == pytest.approx(expected)


@pytest.mark.parametrize('method', ['CNN3', 'DIST', 'Mask R-CNN', 'Cell R-CNN V2', 'PFFNet'])
def test_means_of_kumars_8_seen_and_6_unseen_images_make_those_of_all_14(method):
    table = load_quoted('pffnet_kumar')
    for score in next(r for r in table.rows if r.method == method).scores:
        seen, unseen, both = (
            figure('pffnet_kumar', method, score, subset).mean
            for subset in ('seen', 'unseen', 'all')
        )
        np.testing.assert_allclose((8 * seen + 6 * unseen) / 14, both, atol=1.01e-4)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text(GOOD + '  - {method: B, subset: seen, table: 2, aji: {mean: 51, std: 2}}\n'
                    'percent: [aji]\n')  # fmt: skip
    table = load_quoted(path)
    assert (table.name, table.source, table.table, table.dataset) == (
        'mine',
        'A paper',
        '1',
        'Cells',
    )
    assert [(r.method, r.subset, r.table) for r in table.rows] == [
        ('A', 'all', '1'),
        ('B', 'seen', '2'),
    ]
    assert table.rows[1].scores == {'aji': Figure(0.51, 0.02)}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('rows: [', 'cannot be read as YAML'),
        ('[]', 'expected source, table, dataset'),
        (GOOD.replace('source', 'sauce'), "unknown entry 'sauce'"),
        (GOOD.replace('dataset: Cells\n', ''), "lacks 'dataset'"),
        (GOOD.replace('method: A, ', ''), 'row 1: lacks its method'),
        (GOOD.replace(', aji: {mean: 0.5}', ''), r'row 1 \(A\): holds no score'),
        (GOOD.replace('{mean: 0.5}', '0.5'), r'row 1 \(A\), aji: expected {mean'),
        (GOOD.replace('0.5', 'half'), "aji: expected a number, got 'half'"),
        (GOOD.replace('mean: 0.5', 'mean: 0.5, sdt: 1'), 'aji: expected {mean'),
        (GOOD.replace('aji', 'AJI'), "row 1: unknown score 'AJI', write 'aji'"),
        (GOOD + 'percent: aji', 'expected percent as a list'),
        (GOOD + 'printed_as: [AJI]', 'printed_as as score: name'),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path, content, message):
    path = tmp_path / 'broken.yaml'
    path.write_text(content)
    with pytest.raises(UserError, match=rf'broken\.yaml.*{message}'):
        load_quoted(path)


def test_optional_entries_may_be_empty(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text(GOOD + 'notes:\npercent:\nprinted_as:\n')
    table = load_quoted(path)
    assert (table.notes, table.printed_as, table.rows[0].scores['aji'].mean) == ('', {}, 0.5)


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(UserError, match="Did you mean 'pffnet_kumar'"):
        load_quoted('pfnet_kumar')
