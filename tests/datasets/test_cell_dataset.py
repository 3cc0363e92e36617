import copy
import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from pycocotools import mask as coco_mask

import mmcell.plugin  # noqa: F401
from mmcell.datasets.cell_dataset import CellDataset

SQUARE = np.zeros((20, 30), dtype=np.uint8)
SQUARE[5:9, 10:16] = 1


def rle(mask=SQUARE):
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {'size': encoded['size'], 'counts': encoded['counts'].decode()}


def plain_runs(mask=SQUARE):
    """Run lengths down the columns, background first."""
    pixels = mask.ravel('F')
    edges = np.flatnonzero(np.diff(pixels)) + 1
    return np.diff([0, *edges, pixels.size]).tolist()


@pytest.fixture
def coco():
    """Two images, the second without objects; one object of 4 x 6 pixels."""
    return {
        'images': [
            {'id': 4, 'file_name': 'a.png', 'height': 20, 'width': 30},
            {'id': 9, 'file_name': 'b.png', 'height': 20, 'width': 30},
        ],
        'categories': [{'id': 1, 'name': 'nucleus'}],
        'annotations': [
            {
                'id': 77,
                'image_id': 4,
                'category_id': 1,
                'bbox': [10, 5, 6, 4],
                'area': 24,
                'iscrowd': 0,
                'segmentation': rle(),
            }
        ],
    }


@pytest.fixture
def build(tmp_path):
    def build_dataset(content, **kwargs):
        (tmp_path / 'train.json').write_text(json.dumps(content))
        config = {
            'type': 'CellDataset',
            'data_root': str(tmp_path),
            'ann_file': 'train.json',
            'data_prefix': {'img': 'images/'},
        }
        return DATASETS.build({**config, **kwargs})

    return build_dataset


def test_instances_and_images_without_objects_are_read(build, coco, tmp_path):
    dataset = build(coco)
    assert isinstance(dataset, CellDataset)
    assert len(dataset) == 2
    first, second = dataset.get_data_info(0), dataset.get_data_info(1)
    assert first['img_path'] == str(tmp_path / 'images' / 'a.png')
    assert (first['img_id'], first['height'], first['width']) == (4, 20, 30)
    (instance,) = first['instances']
    assert (instance['bbox'], instance['bbox_label'], instance['ignore_flag']) == (
        [10, 5, 16, 9],
        0,
        0,
    )
    assert second['instances'] == []


def test_file_that_was_cut_off_is_named(tmp_path):
    (tmp_path / 'train.json').write_text('{"images": [{"id"')
    with pytest.raises(ValueError, match=r'train.json: is no JSON, or cut off .*convert the data'):
        DATASETS.build(
            dict(type='CellDataset', data_root=str(tmp_path), ann_file='train.json', pipeline=[])
        )


def test_images_without_objects_go_only_on_request(build, coco):
    assert len(build(coco, filter_cfg={'filter_empty_gt': True})) == 1


@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
@pytest.mark.parametrize(
    'segmentation',
    [
        rle(),
        {'size': [20, 30], 'counts': plain_runs()},
        [[10, 5, 16, 5, 16, 9, 10, 9]],
    ],
    ids=['compressed', 'uncompressed', 'polygons'],
)
def test_every_kind_of_segmentation_gives_the_same_mask(build, coco, segmentation):
    coco['annotations'][0]['segmentation'] = segmentation
    (instance,) = build(coco).get_data_info(0)['instances']
    np.testing.assert_array_equal(coco_mask.decode(instance['mask']), SQUARE)


def test_flat_polygon_and_empty_box(build, coco):
    coco['annotations'][0].update(bbox=None)
    assert len(build(coco).get_data_info(0)['instances']) == 1
    coco['annotations'][0].update(segmentation=[10, 5, 16, 5, 16, 9, 10, 9])
    with pytest.raises(
        ValueError, match=r'train.json: image .a.png., annotation .*: a polygon of it'
    ):
        build(coco)


def test_object_of_one_pixel_is_kept(build, coco):
    speck = np.zeros_like(SQUARE)
    speck[3, 4] = 1
    coco['annotations'][0].update(segmentation=rle(speck), bbox=[4.2, 3.2, 0.5, 0.5], area=0.25)
    (instance,) = build(coco).get_data_info(0)['instances']
    assert instance['bbox'] == [4, 3, 5, 4]


def test_crowds_are_kept_as_ignored(build, coco):
    coco['annotations'][0]['iscrowd'] = 1
    assert build(coco).get_data_info(0)['instances'][0]['ignore_flag'] == 1


def test_subsets_are_lists_of_names_empty_where_none_is_named(build, coco):
    def subsets():
        dataset = build(coco)
        return [dataset.get_data_info(index)['subset'] for index in range(2)]

    assert subsets() == [[], []]
    coco['images'][0]['subset'] = 'unseen'
    coco['images'][1]['subset'] = ['seen', 'liver']
    assert subsets() == [['unseen'], ['seen', 'liver']]


def test_mask_without_pixels_is_left_out_with_a_warning(build, coco, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'mmcell.datasets.cell_dataset.print_log', lambda text, **_: logged.append(text)
    )
    coco['annotations'][0]['segmentation'] = rle(SQUARE * 0)
    assert build(coco).get_data_info(0)['instances'] == []
    assert len(logged) == 1
    assert 'train.json: 1 annotations have a mask without a single pixel' in logged[0]
    assert logged[0].endswith('the first is 77')


def test_labels_follow_the_names_not_the_order_of_the_file(build, coco):
    coco['categories'] = [{'id': 5, 'name': 'stroma'}, {'id': 1, 'name': 'nucleus'}]
    dataset = build(coco, metainfo={'classes': ('lymphocyte', 'nucleus', 'stroma')})
    assert dataset.get_data_info(0)['instances'][0]['bbox_label'] == 1


def change(**values):
    return lambda coco: coco['annotations'][0].update(values)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (change(bbox=[26, 5, 6, 4]), r"'a.png', annotation 77: its bbox \[26, 5, 6, 4\].*outside"),
        (change(bbox=[10, -4, 6, 4]), 'annotation 77: its bbox'),
        (change(bbox=[10, 5, -6, 4]), 'annotation 77: its bbox'),
        (change(segmentation=rle(np.ones((20, 31), np.uint8))), r'77: its mask is \(20, 31\)'),
        (change(segmentation=None), 'annotation 77: it has no mask'),
        (change(segmentation={'size': [20, 30], 'counts': [5, 5]}), '77: counts must be >= 0 and'),
        (change(segmentation={'size': [20, 30], 'counts': [-5, 605]}), '77: counts must be >= 0'),
        (change(segmentation={'size': [20, 30], 'counts': 'abc'}), '77: .* run lengths must be'),
        (change(segmentation=[]), 'annotation 77: it has no mask'),
        (change(segmentation=[[1, 2, 3, 4]]), 'annotation 77: a polygon of it'),
        (change(category_id=3), r'annotation 77: its category id is 3, known are \[1\]'),
        (change(image_id=5), 'annotation 77 belongs to image 5, which is not listed'),
        (lambda coco: coco.update(images=[]), 'train.json: the data set is empty'),
        (lambda coco: coco['images'][1].update(id=4), 'image ids are not unique'),
        (lambda coco: coco['images'][0].pop('width'), 'image 4 lacks width'),
        (lambda coco: coco['images'][0].update(subset=[3]), r"image 'a.png': its subset is \[3\]"),
        (
            lambda coco: coco['images'][0].update(subset='a;b'),
            'list of names, without semicolons',
        ),
        (
            lambda coco: coco.update(categories=[{'id': 1, 'name': 'nuclei'}]),
            r"has categories \['nuclei'\], but .* classes \['nucleus'\]",
        ),
    ],
)
def test_damage_is_named_with_file_image_and_annotation(build, coco, damage, message):
    damaged = copy.deepcopy(coco)
    damage(damaged)
    with pytest.raises(ValueError, match=message) as error:
        build(damaged)
    assert error.match('train.json')


def test_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.json: no such annotation file'):
        CellDataset(ann_file=str(tmp_path / 'nowhere.json'))


def test_real_patches_load_with_their_own_class_name(test_data):
    config = {
        'type': 'CellDataset',
        'data_root': str(test_data / 'data' / 'kumar_patches'),
        'ann_file': 'annotations.json',
        'data_prefix': {'img': 'images/'},
        'pipeline': [{'type': 'mmdet.LoadCellImage'}, {'type': 'mmdet.LoadCellAnnotations'}],
    }
    with pytest.raises(ValueError, match=r"categories \['nuclei'\]"):
        DATASETS.build(config)
    dataset = DATASETS.build({**config, 'metainfo': {'classes': ('nuclei',)}})
    assert len(dataset) == 10
    for results in dataset:
        assert results['img'].shape == (256, 256, 3)
        assert (results['gt_masks'].areas > 0).all()
        assert len(results['gt_masks']) == len(results['gt_bboxes']) > 20
