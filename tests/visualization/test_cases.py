import json

import cv2
import numpy as np
import pytest
import tifffile

from mmcell.engine.errors import UserError
from mmcell.visualization.case_files import CaseFiles
from mmcell.visualization.cases import Case, _window, draw_cases
from mmcell.visualization.overlay import FALSE, MATCHED, MISSED, match_colors


def label_map(*boxes, size=(40, 40)):
    labels = np.zeros(size, dtype=np.int64)
    for k, (x1, y1, x2, y2) in enumerate(boxes, 1):
        labels[y1:y2, x1:x2] = k
    return labels


FIRST, SECOND, ELSEWHERE = (2, 2, 12, 12), (20, 4, 30, 14), (25, 25, 35, 35)


def colours(pixels):
    return {color for color in (MATCHED, MISSED, FALSE) if (pixels == color).all(-1).any()}


@pytest.fixture
def case():
    return Case(
        'an image',
        np.full((40, 40, 3), 128, dtype=np.uint8),
        label_map(FIRST, SECOND),
        {'good': label_map(FIRST), 'bad': label_map(FIRST, ELSEWHERE)},
        {'good': 'AJI 0.5', 'bad': 'AJI 0.4'},
    )


def test_colours_of_objects_are_those_of_their_matches():
    gt_colors, pred_colors = match_colors(label_map(FIRST, SECOND), label_map(ELSEWHERE, FIRST))
    assert gt_colors[1:].tolist() == [list(MATCHED), list(MISSED)]
    assert pred_colors[1:].tolist() == [list(FALSE), list(MATCHED)]


def test_the_largest_id_of_a_type_has_a_colour():
    gt, pred = ((label_map(FIRST) * 255).astype(np.uint8) for _ in range(2))
    assert match_colors(gt, pred)[0][255].tolist() == list(MATCHED)


def test_a_row_shows_image_ground_truth_and_each_method(case):
    page = draw_cases([case])[:-30]  # without the legend
    assert page.shape[1] == 4 * 408 + 8
    panels = [page[:, 8 + 408 * k : 408 * (k + 1)] for k in range(4)]
    assert [colours(panel) for panel in panels] == [
        set(),
        {MATCHED, MISSED},
        {MATCHED},
        {MATCHED, FALSE},
    ]


def test_an_object_that_one_method_finds_is_not_missed_by_all(case):
    found = case._replace(predictions={**case.predictions, 'bad': label_map(SECOND)})
    truth = draw_cases([found])[:-30, 416:816]
    assert colours(truth) == {MATCHED}


def test_rows_of_different_images_make_one_page(case):
    wide = Case(
        'wide',
        np.zeros((20, 80, 3), dtype=np.uint8),
        label_map(size=(20, 80)),
        {name: label_map(size=(20, 80)) for name in case.predictions},
        case.captions,
    )
    heights = [draw_cases([each]).shape[0] for each in (case, wide)]
    page = draw_cases([case, wide])
    assert page.shape[0] == sum(heights) - 30  # one legend
    assert page.dtype == np.uint8


def test_window_is_where_most_is_wrong():
    trouble = np.zeros((50, 90), dtype=np.float32)
    trouble[5:8, 3:6] = 1
    trouble[30:40, 70:80] = 1
    rows, columns = _window(trouble, 20)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (20, 20)
    assert rows.start <= 30 and rows.stop >= 40 and columns.start <= 70 and columns.stop >= 80
    # Higher than the image: all rows, and the first 60 columns that hold the larger trouble.
    assert _window(trouble, 60) == (slice(0, 50), slice(20, 80))


@pytest.fixture
def folders(tmp_path):
    for folder in ('images', 'gt', 'A', 'B'):
        (tmp_path / folder).mkdir()
    for name in ('x', 'y'):
        cv2.imwrite(str(tmp_path / 'images' / f'{name}.png'), np.zeros((40, 40, 3), np.uint8))
        tifffile.imwrite(tmp_path / 'gt' / f'{name}_masks.tif', label_map(FIRST).astype(np.uint16))
        tifffile.imwrite(tmp_path / 'A' / f'{name}.tif', label_map(SECOND).astype(np.uint16))
    tifffile.imwrite(tmp_path / 'B' / 'x.tif', label_map(ELSEWHERE).astype(np.uint16))
    return tmp_path


def case_files(folders):
    predictions = {name: str(folders / name) for name in 'AB'}
    return CaseFiles(folders / 'images', str(folders / 'gt'), predictions)


def test_images_with_a_file_everywhere_are_found_by_name(folders):
    files = case_files(folders)
    assert files.images == {'x'}
    case = files.read('x', 'title', {'A': 'AJI 0.5', 'C': 'AJI 0.1'})
    assert case.captions == {'A': 'AJI 0.5', 'B': 'no score'}
    np.testing.assert_array_equal(case.gt, label_map(FIRST))
    np.testing.assert_array_equal(case.predictions['B'], label_map(ELSEWHERE))


def test_ids_as_large_as_colours_are_numbered_anew(folders):
    labels = np.array([0, 2**32 - 1, 7], np.uint32)[label_map(FIRST, SECOND)]
    tifffile.imwrite(folders / 'B' / 'x.tif', labels)
    found = case_files(folders).read('x', '', {}).predictions['B']
    np.testing.assert_array_equal(found, label_map(SECOND, FIRST))


def test_masks_beside_their_images_are_no_images(folders):
    tifffile.imwrite(folders / 'images' / 'x_masks.tif', label_map(FIRST).astype(np.uint16))
    assert case_files(folders).read('x', '', {}).image_rgb.max() == 0
    cv2.imwrite(str(folders / 'images' / 'x.jpg'), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(UserError, match=r'x\.jpg and .*x\.png are of one image: leave one'):
        case_files(folders).read('x', '', {})


def test_a_label_map_of_another_size_is_named(folders):
    tifffile.imwrite(folders / 'B' / 'x.tif', label_map(size=(30, 40)).astype(np.uint16))
    with pytest.raises(UserError, match=r'B/x\.tif is \(30, 40\), its image \(40, 40\)'):
        case_files(folders).read('x', '', {})


def test_a_broken_file_is_named(folders):
    (folders / 'gt' / 'x_masks.tif').write_bytes(b'no TIFF')
    with pytest.raises(UserError, match=r'x_masks\.tif'):
        case_files(folders).read('x', '', {})


def test_an_ambiguous_file_is_named(folders):
    (folders / 'B' / 'x_masks.tif').write_bytes((folders / 'B' / 'x.tif').read_bytes())
    with pytest.raises(UserError, match=r'x\.tif and .*x_masks\.tif are of one image'):
        case_files(folders).read('x', '', {})


def test_an_empty_folder_is_named(folders):
    (folders / 'C').mkdir()
    with pytest.raises(UserError, match='C: no objects there'):
        CaseFiles(folders / 'images', str(folders / 'gt'), {'C': str(folders / 'C')})


def test_coco_files_are_read_and_weak_predictions_are_not_drawn(folders):
    box = [2, 2, 12, 2, 12, 12, 2, 12]
    annotation = {'id': 1, 'image_id': 7, 'category_id': 1, 'iscrowd': 0, 'segmentation': [box]}
    image = {'id': 7, 'file_name': 'x.png', 'height': 40, 'width': 40}
    categories = [{'id': 1, 'name': 'cell'}]
    coco = {'images': [image], 'annotations': [annotation], 'categories': categories}
    (folders / 'gt.json').write_text(json.dumps(coco))
    results = [{**annotation, 'score': 0.9}, {**annotation, 'score': 0.4}]
    results[1]['segmentation'] = [[20, 20, 30, 20, 30, 30, 20, 30]]
    (folders / 'results.json').write_text(json.dumps(results))
    predictions = {'A': str(folders / 'results.json')}
    case = CaseFiles(folders / 'images', str(folders / 'gt.json'), predictions).read('x', '', {})
    np.testing.assert_array_equal(case.gt > 0, label_map(FIRST) > 0)
    np.testing.assert_array_equal(case.predictions['A'] > 0, label_map(FIRST) > 0)


def test_a_broken_coco_file_is_named(folders):
    (folders / 'gt.json').write_text('{')
    with pytest.raises(UserError, match=r'gt\.json'):
        CaseFiles(folders / 'images', str(folders / 'gt.json'), {})
