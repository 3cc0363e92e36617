import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmcell.evaluation.readers.coco import read_coco, read_coco_image

SIZE = (6, 9)


def mask_of(x1, y1, x2, y2):
    mask = np.zeros(SIZE, np.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask


def compressed(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {'size': list(SIZE), 'counts': rle['counts'].decode()}


def uncompressed(mask):
    flat = mask.ravel(order='F')
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(changes, prepend=0, append=flat.size).tolist()
    return {'size': list(SIZE), 'counts': counts if not flat[0] else [0, *counts]}


FIRST, SECOND = mask_of(1, 1, 5, 4), mask_of(3, 2, 8, 6)
IMAGES = [
    {'id': 7, 'file_name': 'train/a.png', 'height': 6, 'width': 9},
    {'id': 3, 'file_name': 'train/b.png', 'height': 6, 'width': 9, 'subset': 'unseen'},
]


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def coco(annotations, images=IMAGES):
    numbered = [{'id': 100 + k, 'category_id': 1, **a} for k, a in enumerate(annotations)]
    return {'images': images, 'annotations': numbered, 'categories': [{'id': 1, 'name': 'cell'}]}


def read(path, image_id=7, threshold=0.0, images=None):
    content = read_coco(path, images)
    annotations = content.annotations[image_id]
    return read_coco_image(content.images[image_id], annotations, threshold)


@pytest.mark.parametrize('encode', [compressed, uncompressed])
def test_run_lengths_give_their_masks_the_earlier_object_keeps_shared_pixels(tmp_path, encode):
    annotations = [{'image_id': 7, 'segmentation': encode(m)} for m in (FIRST, SECOND)]
    found = read(write(tmp_path / 'gt.json', coco(annotations)))
    np.testing.assert_array_equal(found.label_map, np.where(FIRST, 1, SECOND * 2))
    assert (found.cut, found.lost, found.left_out) == (1, 0, 0)


def test_polygons_give_the_masks_of_pycocotools_all_parts_one_object(tmp_path):
    parts = [[1.2, 0.7, 4.9, 1.1, 3.3, 5.2], [6, 1, 8, 1, 8, 3, 6, 3]]
    annotations = [{'image_id': 7, 'segmentation': parts}]
    found = read(write(tmp_path / 'gt.json', coco(annotations)))
    expected = coco_mask.decode(coco_mask.frPyObjects(parts, *SIZE)).any(axis=2)
    np.testing.assert_array_equal(found.label_map, expected)
    assert expected[1:3, 6:8].all()


def test_the_higher_score_keeps_shared_pixels_and_the_threshold_is_reached_at_it(tmp_path):
    annotations = [
        {'image_id': 7, 'segmentation': compressed(m), 'score': score}
        for m, score in ((FIRST, 0.5), (SECOND, 0.9), (mask_of(0, 0, 9, 6), 0.49))
    ]
    path = write(tmp_path / 'pred.json', coco(annotations))
    found = read(path, threshold=0.5)
    np.testing.assert_array_equal(found.label_map, np.where(SECOND, 2, FIRST))
    assert (found.cut, found.lost, found.left_out) == (1, 0, 1)
    assert read(path, threshold=0.95).label_map.max() == 0


def test_an_object_without_visible_pixel_is_counted(tmp_path):
    hidden, empty = mask_of(1, 1, 4, 3), mask_of(0, 0, 0, 0)
    annotations = [{'image_id': 7, 'segmentation': compressed(m)} for m in (FIRST, hidden, empty)]
    found = read(write(tmp_path / 'gt.json', coco(annotations)))
    np.testing.assert_array_equal(found.label_map, FIRST)
    assert (found.cut, found.lost) == (0, 2)


@pytest.mark.parametrize('flag', ['iscrowd', 'ignore'])
def test_crowds_are_left_out_and_counted(tmp_path, flag):
    annotations = [
        {'image_id': 7, 'segmentation': compressed(FIRST), flag: 1},
        {'image_id': 7, 'segmentation': compressed(SECOND), flag: 0},
    ]
    found = read(write(tmp_path / 'gt.json', coco(annotations)))
    np.testing.assert_array_equal(found.label_map, SECOND)
    assert found.left_out == 1


def test_a_list_of_results_takes_its_images_from_the_other_side(tmp_path):
    gt = read_coco(write(tmp_path / 'gt.json', coco([])))
    results = [
        {'image_id': 3, 'category_id': 1, 'segmentation': compressed(FIRST), 'score': 0.8},
    ]
    path = write(tmp_path / 'results.json', results)
    np.testing.assert_array_equal(read(path, 3, images=gt.images).label_map, FIRST)
    assert read(path, 7, images=gt.images).label_map.shape == SIZE
    with pytest.raises(
        ValueError, match='results.json: .* needs the one COCO file of these images'
    ):
        read_coco(path)


def test_ids_may_be_numbers_here_and_strings_there(tmp_path):
    gt = read_coco(write(tmp_path / 'gt.json', coco([])))
    results = [{'image_id': '3', 'category_id': 1, 'segmentation': compressed(FIRST), 'score': 0.8}]
    path = write(tmp_path / 'results.json', results)
    np.testing.assert_array_equal(read(path, 3, images=gt.images).label_map, FIRST)
    results[0]['image_id'] = 3.0  # as pandas makes of a column with gaps
    np.testing.assert_array_equal(read(write(path, results), 3, images=gt.images).label_map, FIRST)
    results[0]['image_id'] = 'b'
    write(path, results)
    with pytest.raises(
        ValueError, match=r"results.json: none of its .* 'b', images have 7, 3, \.\.\."
    ):
        read_coco(path, gt.images)


def test_images_keep_their_names_and_subsets(tmp_path):
    images = read_coco(write(tmp_path / 'gt.json', coco([]))).images
    assert {k: (i.file_name, i.size, i.subset) for k, i in images.items()} == {
        7: ('train/a.png', SIZE, ()),
        3: ('train/b.png', SIZE, ('unseen',)),
    }


def test_annotations_of_no_known_image_are_a_problem_not_an_end(tmp_path):
    annotations = [{'image_id': 8, 'segmentation': []}, {'image_id': 7, 'segmentation': []}]
    content = read_coco(write(tmp_path / 'gt.json', coco(annotations)))
    assert content.problem == '1 annotations are of no known image, the first of image_id 8'
    assert len(content.annotations[7]) == 1


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'nuc': {}, 'mag': 40}, 'is not COCO'),
        (3, 'is not COCO'),
        (coco([], [{'id': 1, 'file_name': 'a.png'}]), 'lacks id, file_name, height or width'),
        (coco([], [IMAGES[0], IMAGES[0]]), 'two images have the id 7'),
        (coco([], [{**IMAGES[0], 'subset': 3}]), "image 'train/a.png': its subset is 3"),
        (coco([], [{**IMAGES[0], 'subset': ['a;b']}]), 'without semicolons'),
    ],
)
def test_json_that_is_not_coco_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=f'gt.json: .*{message}'):
        read_coco(write(tmp_path / 'gt.json', content))


def test_text_that_is_not_json_is_refused_with_the_place(tmp_path):
    path = tmp_path / 'gt.json'
    for content in (b'{"images": [', b'\xff\xfe\x00', b''):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='gt.json: is not JSON: '):
            read_coco(path)


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        (None, 'annotation 100: it has no mask'),
        ([[1, 1, 2, 2]], 'three or more points'),
        ({'size': [9, 6], 'counts': [54]}, r'\(9, 6\) .* the image is \(6, 9\)'),
        ({'size': [6, 9], 'counts': [50]}, 'add up to'),
        ({'size': [6, 9], 'counts': 'A'}, 'add up to'),
    ],
)
def test_a_malformed_segmentation_is_refused(tmp_path, segmentation, message):
    path = write(tmp_path / 'gt.json', coco([{'image_id': 7, 'segmentation': segmentation}]))
    with pytest.raises(ValueError, match=message):
        read(path)
