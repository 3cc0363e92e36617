import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes

from mmcell.visualization.score_plots import _wrapped, draw_boxes, draw_scatter

VALUES = {
    'A': np.array([0.5, 0.6, 0.7, 0.9]),
    'B': np.array([0.4, 0.6, 0.8, 0.7]),
    'C': np.array([0.1, 0.2, 0.3, 0.4]),
}


@pytest.fixture
def drawn(monkeypatch):
    """What reaches matplotlib: name of the method -> its calls' arguments."""
    calls = {'boxplot': [], 'scatter': []}
    for name, seen in calls.items():
        original = getattr(Axes, name)

        def spy(self, *args, original=original, seen=seen, **kwargs):
            seen.append((args, kwargs))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Axes, name, spy)
    return calls


def test_one_box_per_method_holds_its_values(drawn, tmp_path):
    draw_boxes(tmp_path / 'new' / 'box.png', VALUES, 'AJI', 'B')
    ((boxes,), options) = drawn['boxplot'][0]
    np.testing.assert_array_equal(boxes, list(VALUES.values()))
    assert options['tick_labels'] == ['A', 'B', 'C']
    assert cv2.imread(str(tmp_path / 'new' / 'box.png')).std() > 0


def test_reference_stands_upwards_against_each_other_method(drawn, tmp_path):
    draw_scatter(tmp_path / 'scatter.png', 'B', VALUES, 'AJI')
    points = [args for args, _ in drawn['scatter']]
    assert [x.tolist() for x, _ in points] == [VALUES['A'].tolist(), VALUES['C'].tolist()]
    assert all(y.tolist() == VALUES['B'].tolist() for _, y in points)


def test_subsets_differ_in_colour(drawn, tmp_path):
    groups = ['seen', 'unseen', 'seen', 'unseen']
    draw_scatter(tmp_path / 'scatter.png', 'A', {k: VALUES[k] for k in 'AB'}, 'AJI', groups)
    (seen, seen_options), (unseen, unseen_options) = drawn['scatter']
    assert (seen[0].tolist(), unseen[0].tolist()) == ([0.4, 0.8], [0.6, 0.7])
    assert seen_options['color'] != unseen_options['color']


def test_same_scores_give_the_same_file(tmp_path):
    paths = [tmp_path / 'first.png', tmp_path / 'second.png']
    for path in paths:
        draw_scatter(path, 'A', VALUES, 'AJI', better='zero')
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_equal_values_everywhere_can_be_drawn(tmp_path):
    same = {name: np.full(3, 0.5) for name in 'AB'}
    draw_boxes(tmp_path / 'box.png', same, 'AJI')
    draw_scatter(tmp_path / 'scatter.png', 'A', same, 'AJI')
    assert (tmp_path / 'scatter.png').stat().st_size > 0


def test_long_names_break_at_blanks_underscores_and_hyphens():
    assert _wrapped('Otsu + watershed') == 'Otsu +\nwatershed'
    assert _wrapped('mask_rcnn_tiny_dsb2018') == 'mask_rcnn_\ntiny_dsb2018'
    assert _wrapped('Mask R-CNN') == 'Mask R-CNN'
