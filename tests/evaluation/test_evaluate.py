import csv
import errno
import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import tifffile
from click.testing import CliRunner

from mmcell.cli import main
from mmcell.engine.errors import UserError
from mmcell.evaluation.evaluate import (
    choose_scores,
    conclude,
    match_sides,
    read_subsets,
    score_pairs,
)
from mmcell.evaluation.pairs import Pair
from mmcell.evaluation.readers.files import Entry, image_name
from mmcell.evaluation.summary import DEFAULT_SCORES, DEFINITIONS
from mmcell.functional.polygons import label_map_to_polygons
from mmcell.functional.rle import label_map_to_rles
from mmcell.functional.scores import aji, panoptic_quality
from mmcell.inference.sources import ArraySource
from mmcell.inference.writers import open_writers
from mmcell.structures import FoundObjects

SIZE = (24, 31)


def labels_of(seed, shift=0):
    """Rectangles with gapped ids; the shift makes a prediction of them."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SIZE, np.int32)
    for k, (y, x) in enumerate([(1, 1), (2, 17), (12, 3), (13, 19)]):
        height, width = rng.integers(4, 9, 2)
        labels[y : y + height, x + shift : x + shift + width] = [3, 70_000, 12, 900][k]
    return labels


def write_tif(path, labels):
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, labels)


def write_npy(path, labels):
    np.save(path, labels)


def write_cellpose(path, labels):
    np.save(path, {'masks': labels.astype(np.uint32), 'flows': []})


def write_mat(path, labels):
    scipy.io.savemat(path, {'inst_map': labels.astype(np.float64)})


def write_coco(path, labels):
    ids, rles = label_map_to_rles(labels)
    image = {'id': 5, 'file_name': 'x/img1.jpg', 'height': SIZE[0], 'width': SIZE[1]}
    annotations = [
        {'id': k, 'image_id': 5, 'segmentation': {**rle, 'counts': rle['counts'].decode()}}
        for k, rle in enumerate(rles)
    ]
    path.write_text(json.dumps({'images': [image], 'annotations': annotations}))


def write_geojson(path, labels):
    features = [
        {
            'type': 'Feature',
            'geometry': {
                'type': 'MultiPolygon',
                'coordinates': [[e.tolist(), *[h.tolist() for h in hs]] for e, hs in polygons],
            },
        }
        for polygons in label_map_to_polygons(labels).values()
    ]
    text = json.dumps({'type': 'FeatureCollection', 'features': features}).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == '.gz' else text)


FORMATS = {
    'img1.tif': write_tif,
    'img1.stardist.tif': write_tif,
    'img1_cp_masks.tif': write_tif,
    'img1.npy': write_npy,
    'img1_seg.npy': write_cellpose,
    'img1.mat': write_mat,
    'coco.json': write_coco,
    'img1.geojson': write_geojson,
    'img1.geojson.gz': write_geojson,
}


@pytest.fixture
def folders(tmp_path):
    """Two folders of label maps: a, b, c, and b with nothing to find."""
    for k, name in enumerate('abc'):
        empty = name == 'b'
        write_tif(tmp_path / 'gt' / f'{name}.tif', labels_of(k) * (not empty))
        write_tif(tmp_path / 'pred' / f'{name}_masks.tif', labels_of(k, 1) * (not empty))
    return tmp_path


def run(folder, *options, gt='gt', pred='pred'):
    sides = ['--gt', str(folder / gt), '--pred', str(folder / pred)]
    return CliRunner().invoke(main, ['evaluate', *sides, '--workers', '1', *map(str, options)])


def table(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def failures(folder, **sides):
    result = run(folder, '--out', folder / 'out', **sides)
    assert result.exit_code == 1, result.output
    rows = table(folder / 'out' / 'failures.csv')
    for row in rows:
        assert row['error'] in result.stderr
    return {row['image']: row['error'] for row in rows}


@pytest.mark.parametrize('gt', FORMATS)
@pytest.mark.parametrize('pred', FORMATS)
def test_any_format_scores_against_any_other(tmp_path, gt, pred):
    for side, name, shift in (('gt', gt, 0), ('pred', pred, 1)):
        (tmp_path / side).mkdir()
        FORMATS[name](tmp_path / side / name, labels_of(0, shift))
    if 'geojson' in gt and 'geojson' in pred:
        assert 'neither side says how large' in failures(tmp_path)['img1']
        return
    result = run(tmp_path, '--out', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    (row,) = table(tmp_path / 'out' / 'per_image.csv')
    assert row['image'] == 'img1'
    assert float(row['aji']) == aji(labels_of(0), labels_of(0, 1))
    assert float(row['pq']) == panoptic_quality(labels_of(0), labels_of(0, 1)).pq
    assert (row['n_gt'], row['n_pred'], row['n_detections'], row['img_id']) == ('4', '4', '4', '')


def test_summary_holds_means_definitions_and_how_it_was_made(folders):
    result = run(folders, '--out', folders / 'out', '--scores', 'pq,aji')
    assert result.exit_code == 0, result.output
    summary = json.loads((folders / 'out' / 'summary.json').read_text())
    maps = [(labels_of(k), labels_of(k, 1)) for k in (0, 2)]
    assert summary['scores']['aji']['mean'] == pytest.approx(np.mean([aji(*m) for m in maps]))
    assert list(summary['scores']) == ['aji', 'pq']
    assert summary['definitions']['aji'] == DEFINITIONS['aji']
    assert (summary['n_images'], summary['images_left_out'], summary['failures']) == (3, 1, 0)
    assert summary['options']['score_threshold'] is None
    assert summary['options']['pred'] == str(folders / 'pred')
    assert '| aji |' in (folders / 'out' / 'summary.md').read_text()
    assert f'{summary["scores"]["aji"]["mean"]:.4f}' in result.output
    assert not (folders / 'out' / 'failures.csv').exists()
    assert [row['image'] for row in table(folders / 'out' / 'per_image.csv')] == ['a', 'b', 'c']


def test_without_out_nothing_is_written(folders):
    before = sorted(folders.rglob('*'))
    result = run(folders)
    assert result.exit_code == 0
    assert '| aji ' in result.output
    assert sorted(folders.rglob('*')) == before


def test_two_workers_give_what_one_gives(folders):
    (folders / 'pred' / 'c_masks.tif').write_bytes(b'broken')
    matching = match_sides(folders / 'gt', folders / 'pred')
    done = []
    two = score_pairs(matching.pairs, DEFAULT_SCORES, 2, on_done=lambda: done.append(1))
    one = score_pairs(matching.pairs, DEFAULT_SCORES, 1)
    np.testing.assert_equal(two, one)  # NaN equals NaN here
    assert len(done) == 3
    assert [type(result).__name__ for result in one] == ['Scored', 'Scored', 'Failure']


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_pair_that_kills_its_process_is_named_and_the_others_are_scored(folders):
    pairs = match_sides(folders / 'gt', folders / 'pred').pairs
    expected = score_pairs(pairs, ['aji'], 1)
    deadly = Pair('deadly', Entry('x.tif', Deadly(), True), Entry('y.tif', Deadly(), True))
    found = score_pairs([*pairs[:2], deadly, pairs[2]], ['aji'], 2)
    assert found.pop(2) == (
        'deadly',
        'x.tif; y.tif',
        'the process that scored it died: out of memory?',
    )
    np.testing.assert_equal(found, expected)


def test_workers_import_neither_torch_nor_mmdet():
    code = (
        'import sys, mmcell.evaluation.pairs; '
        "print({'torch', 'mmdet', 'mmengine', 'mmcv'} & set(sys.modules))"
    )
    found = subprocess.check_output([sys.executable, '-c', code], text=True)
    assert found.strip() == 'set()'


@pytest.mark.parametrize(
    'name',
    [
        *('img.tif', 'img_seg.npy', 'img_cp_masks.png', 'img_masks.tif', 'img_mask.png'),
        *('img_rois.zip', 'img.stardist.tif', 'img.ome.tiff', 'img.geojson.gz', 'folder/img.png'),
        *('img.svs.geojson', 'C:\\data\\img_labels.TIF', 'img'),
    ],
)
def test_what_tools_and_formats_append_is_not_part_of_the_name(name):
    assert image_name(name) == 'img'


def test_a_name_that_is_only_an_ending_stays():
    assert image_name('_masks.tif') == '_masks'
    assert image_name('1.5um_cells.tif') == '1.5um_cells'


def test_images_on_one_side_only_are_named_and_the_rest_is_scored(folders):
    write_tif(folders / 'gt' / 'lonely.tif', labels_of(0))
    write_tif(folders / 'pred' / 'stray_seg.tif', labels_of(0))
    assert failures(folders) == {
        'lonely': 'has no prediction',
        'stray': 'has no ground truth',
    }
    assert len(table(folders / 'out' / 'per_image.csv')) == 3
    assert json.loads((folders / 'out' / 'summary.json').read_text())['failures'] == 2


def test_an_ambiguous_name_is_an_error_that_names_both_files_a_pattern_decides(folders):
    np.save(folders / 'pred' / 'a_seg.npy', {'masks': labels_of(0)})
    error = failures(folders)['a']
    assert 'its prediction is ambiguous' in error
    assert str(folders / 'pred' / 'a_masks.tif') in error
    assert str(folders / 'pred' / 'a_seg.npy') in error
    assert len(table(folders / 'out' / 'per_image.csv')) == 2
    assert run(folders, pred='pred/*_masks.tif').exit_code == 0


BROKEN = {
    'size': (lambda p: write_tif(p, labels_of(0)[:-1]), r'is (23, 31) (height, width), its ground'),
    'float': (lambda p: write_tif(p, labels_of(0).astype(np.float32)), 'holds float32, expected'),
    'negative': (lambda p: write_tif(p, labels_of(0) - 1), 'holds negative numbers down to -1'),
    'truncated': (
        lambda p: (
            tifffile.imwrite(p, labels_of(0), compression='zlib'),
            p.write_bytes(p.read_bytes()[:-60]),
        ),
        'cannot be decoded as TIFF',
    ),
    'empty file': (lambda p: p.write_bytes(b''), 'cannot be decoded as TIFF'),
    'stack': (lambda p: write_tif(p, np.zeros((5, *SIZE), np.uint16)), 'expected one plane'),
}


@pytest.mark.parametrize('workers', [1, 2])
def test_each_broken_file_is_named_once_and_the_others_are_scored(folders, workers):
    for name, (write, _) in BROKEN.items():
        write_tif(folders / 'gt' / f'{name}.tif', labels_of(0))
        write(folders / 'pred' / f'{name}.tif')
    result = run(folders, '--out', folders / 'out', '--workers', workers)
    assert result.exit_code == 1
    found = {row['image']: row for row in table(folders / 'out' / 'failures.csv')}
    assert set(found) == set(BROKEN)
    for name, (_, message) in BROKEN.items():
        path = str(folders / 'pred' / f'{name}.tif')
        assert message in found[name]['error']
        assert path in found[name]['error']
        assert path in found[name]['files']
        assert f'failed: {name}: ' in result.stderr
    rows = table(folders / 'out' / 'per_image.csv')
    assert [row['image'] for row in rows] == ['a', 'b', 'c']
    assert '6 images or files are not scored' in result.output
    assert '6 images or files are not scored' in (folders / 'out' / 'summary.md').read_text()


def test_wrong_json_is_named_and_the_rest_goes_on(folders):
    (folders / 'pred' / 'hovernet.json').write_text('{"nuc": {}, "mag": null}')
    (folders / 'pred' / 'cut.json').write_text('{"images": [')
    result = run(folders, '--out', folders / 'out')
    assert result.exit_code == 1
    found = {row['files']: row['error'] for row in table(folders / 'out' / 'failures.csv')}
    assert 'is not COCO' in found[str(folders / 'pred' / 'hovernet.json')]
    assert 'is not JSON' in found[str(folders / 'pred' / 'cut.json')]
    assert len(table(folders / 'out' / 'per_image.csv')) == 3


def test_a_malformed_annotation_names_file_image_and_annotation(tmp_path):
    write_coco(tmp_path / 'gt.json', labels_of(0))
    content = json.loads((tmp_path / 'gt.json').read_text())
    content['annotations'][2]['segmentation']['size'] = [9, 9]
    (tmp_path / 'gt.json').write_text(json.dumps(content))
    write_tif(tmp_path / 'pred' / 'img1.tif', labels_of(0))
    error = failures(tmp_path, gt='gt.json')['img1']
    assert error.startswith(
        f'{tmp_path / "gt.json"} (x/img1.jpg): annotation 2: its mask is (9, 9)'
    )


def test_nothing_scored_is_an_error_with_the_reasons(folders):
    for path in (folders / 'pred').iterdir():
        path.write_bytes(b'broken')
    assert set(failures(folders)) == {'a', 'b', 'c'}
    assert not (folders / 'out' / 'summary.json').exists()


def test_files_of_other_kinds_are_mentioned(folders):
    (folders / 'pred' / 'notes.txt').write_text('x')
    (folders / 'pred' / '.hidden.tif').write_text('x')
    result = run(folders)
    assert result.exit_code == 0
    assert 'ignored 1 of other kinds: notes.txt\n' in result.stderr


def test_coco_results_with_scores_and_overlaps_are_reported(tmp_path):
    (tmp_path / 'gt').mkdir()
    write_coco(tmp_path / 'gt' / 'val.json', labels_of(0))
    whole = {'size': list(SIZE), 'counts': [0, SIZE[0] * SIZE[1]]}
    _, rles = label_map_to_rles(labels_of(0))
    results = [{'image_id': 5, 'segmentation': whole, 'score': 0.6}]
    results += [
        {'image_id': 5, 'segmentation': {**r, 'counts': r['counts'].decode()}, 'score': 0.9}
        for r in rles
    ]
    (tmp_path / 'results.json').write_text(json.dumps(results))
    # The large mask keeps what the better ones leave.
    loose = run(tmp_path, '--out', tmp_path / 'loose', pred='results.json')
    assert loose.exit_code == 0, loose.output
    row = table(tmp_path / 'loose' / 'per_image.csv')[0]
    assert (row['n_pred'], row['tp'], row['fp']) == ('5', '4', '1')
    assert 'pred: 1 objects gave pixels to one that overlaps them' in loose.output
    objects = json.loads((tmp_path / 'loose' / 'summary.json').read_text())['objects']
    assert objects['pred'] == {'cut': 1, 'lost': 0, 'left_out': 0}
    strict = run(
        tmp_path, '--out', tmp_path / 'strict', '--score-threshold', 0.7, pred='results.json'
    )
    row = table(tmp_path / 'strict' / 'per_image.csv')[0]
    assert (row['n_pred'], row['n_detections'], row['pq']) == ('4', '5', '1.0')
    assert 'pred: 1 entries are left out' in strict.output


def test_an_only_object_in_pieces_is_one_beside_files_that_number_theirs(tmp_path):
    pieces = np.zeros(SIZE, np.uint16)
    pieces[2:6, 2:9], pieces[12:20, 4:9] = 1, 1
    for side in ('gt', 'pred'):
        write_tif(tmp_path / side / 'pieces.tif', pieces)
    write_tif(tmp_path / 'gt/other.tif', pieces)  # numbers no objects, as yet
    alone = run(tmp_path, '--out', tmp_path / 'alone')
    assert alone.exit_code == 1 and 'is a foreground mask (everything is 1)' in alone.output
    for side in ('gt', 'pred'):
        write_tif(tmp_path / side / 'other.tif', labels_of(0))
    result = run(tmp_path, '--out', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    rows = {row['image']: row for row in table(tmp_path / 'out/per_image.csv')}
    assert (rows['pieces']['n_gt'], rows['pieces']['pq']) == ('1', '1.0')


@pytest.mark.parametrize(
    ('written_by', 'asked', 'kept'),
    [('mmcell', [], 2), ('mmcell', ['--score-threshold', 0.5], 1), ('others', [], 1)],
)
def test_objects_that_mmcell_predicted_have_passed_its_threshold(tmp_path, written_by, asked, kept):
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 2:8], labels[2:8, 20:28] = 1, 2
    objects = FoundObjects.from_label_map(labels)
    objects.scores[:] = [0.9, 0.35]
    source = ArraySource(labels.astype(np.uint8), name='a')
    with open_writers(['coco'], tmp_path, source) as writers:
        writers.write(objects, source.read(0, 0, 30, 20), (0, 0))
    pred = tmp_path / 'coco/a.json'
    if written_by == 'others':
        pred.write_text(pred.read_text().replace('objects found by mmcell', 'objects'))
    tifffile.imwrite(tmp_path / 'a.tif', labels.astype(np.uint16))
    result = run(tmp_path, '--out', tmp_path / 'out', *asked, gt='a.tif', pred='coco/a.json')
    assert result.exit_code == 0, result.output
    assert table(tmp_path / 'out/per_image.csv')[0]['n_pred'] == str(kept)


def test_images_of_one_name_in_several_folders_of_a_coco_file_are_paired_by_folder(tmp_path):
    images = [
        {'id': k, 'file_name': f'0{k}/t000.png', 'height': SIZE[0], 'width': SIZE[1]}
        for k in (1, 2)
    ]
    annotations = []
    for image in images:
        ids, rles = label_map_to_rles(labels_of(image['id']))
        annotations += [
            {
                'image_id': image['id'],
                'score': 1,
                'segmentation': {**rle, 'counts': rle['counts'].decode()},
            }
            for rle in rles
        ]
    gt = {'images': images, 'annotations': annotations}
    (tmp_path / 'gt.json').write_text(json.dumps(gt))
    (tmp_path / 'results.json').write_text(json.dumps(annotations))
    # Numbered the other way round.
    for entry in (*images, *annotations):
        entry['id' if 'file_name' in entry else 'image_id'] *= -1
    (tmp_path / 'pred.json').write_text(json.dumps(gt))
    for pred in ('results.json', 'pred.json'):
        out = tmp_path / f'out_{pred}'
        result = run(tmp_path, '--out', out, gt='gt.json', pred=pred)
        assert result.exit_code == 0, result.output
        found = [(row['image'], row['aji']) for row in table(out / 'per_image.csv')]
        assert found == [('01/t000', '1.0'), ('02/t000', '1.0')]


def test_a_list_of_results_beside_two_coco_files_is_refused(tmp_path):
    for name in ('train', 'val'):
        (tmp_path / 'gt').mkdir(exist_ok=True)
        write_coco(tmp_path / 'gt' / f'{name}.json', labels_of(0))
    (tmp_path / 'results.json').write_text('[]')
    found = failures(tmp_path, pred='results.json')
    assert 'needs the one COCO file of these images as ground truth' in found['']
    assert 'its ground truth is ambiguous' in found['img1']


def test_subsets_get_a_table_each(folders):
    lines = 'image,subset\na.tif,seen\nc,unseen\nc,liver\nelsewhere.png,unseen\n'
    (folders / 'subsets.csv').write_text(lines)
    result = run(folders, '--out', folders / 'out', '--subsets', folders / 'subsets.csv')
    assert result.exit_code == 0, result.output
    summary = json.loads((folders / 'out' / 'summary.json').read_text())
    means = {name: s['scores']['aji']['mean'] for name, s in summary['subsets'].items()}
    expected = {k: aji(labels_of(k), labels_of(k, 1)) for k in (0, 2)}
    assert means == {'seen': expected[0], 'unseen': expected[2], 'liver': expected[2]}
    rows = table(folders / 'out' / 'per_image.csv')
    assert [row['subset'] for row in rows] == ['seen', '', 'unseen;liver']
    assert '1 scored images are in none, 1 listed ones not scored' in result.output


@pytest.mark.parametrize(
    ('lines', 'expected', 'note'),
    [
        ('01/t.tif,early\n02/t.tif,late\n03/t.tif,late\n', ['early', 'late'], '0 scored images'),
        ('02/t.tif,late\n', ['', 'late'], '1 scored images are in none, 0 listed'),
        ('t,all\n', ['all', 'all'], '0 scored images are in none, 0 listed'),
    ],
)
def test_subsets_tell_images_of_one_name_apart_by_folder(tmp_path, lines, expected, note):
    write_coco(tmp_path / 'gt.json', labels_of(0))
    content = json.loads((tmp_path / 'gt.json').read_text())
    image = content['images'][0]
    content['images'] = [{**image, 'id': k, 'file_name': f'0{k}/t.tif'} for k in (1, 2)]
    content['annotations'] = [{**a, 'image_id': k} for a in content['annotations'] for k in (1, 2)]
    for k, annotation in enumerate(content['annotations']):
        annotation['id'] = k + 1
    (tmp_path / 'gt.json').write_text(json.dumps(content))
    (tmp_path / 's.csv').write_text('image,subset\n' + lines)
    out = tmp_path / 'out'
    result = run(
        tmp_path, '--out', out, '--subsets', tmp_path / 's.csv', gt='gt.json', pred='gt.json'
    )
    assert result.exit_code == 0, result.output
    found = table(out / 'per_image.csv')
    assert [row['image'] for row in found] == ['01/t', '02/t']
    assert [row['subset'] for row in found] == expected
    assert note in result.output


def test_a_name_that_is_no_utf_8_fails_its_image_alone(folders):
    for side, ending in (('gt', b'.tif'), ('pred', b'_masks.tif')):
        folder = os.fsencode(folders / side)
        os.rename(folder + b'/b' + ending, folder + b'/Pr\xe4parat' + ending)
    result = run(folders, '--out', folders / 'out')
    assert result.exit_code == 1
    assert 'failed: Pr\\xe4parat: its name is not valid UTF-8' in result.output
    assert [row['image'] for row in table(folders / 'out/per_image.csv')] == ['a', 'c']
    (failure,) = table(folders / 'out/failures.csv')
    assert failure['image'] == 'Pr\\xe4parat' and 'rename the file' in failure['error']


def test_a_full_disk_costs_the_files_but_not_the_table(folders, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('mmcell.evaluation.evaluate.write_summary', refuse)
    result = run(folders, '--out', folders / 'out')
    assert 'aji' in result.output and '3 images' in result.output
    assert result.exception.code == (
        f'error: {folders / "out"} cannot be written to (No space left on device): make room, or '
        'choose another folder'
    )


def test_paths_at_home_are_found(folders, monkeypatch):
    monkeypatch.setenv('HOME', str(folders))
    result = CliRunner().invoke(main, ['evaluate', '--gt', '~/gt', '--pred', '~/pred/*_masks.tif'])
    assert result.exit_code == 0 and '3 images' in result.output


def test_a_coco_ground_truth_brings_its_subsets(tmp_path):
    write_coco(tmp_path / 'gt.json', labels_of(0))
    content = json.loads((tmp_path / 'gt.json').read_text())
    content['images'][0]['subset'] = ['unseen', 'liver']
    (tmp_path / 'gt.json').write_text(json.dumps(content))
    write_tif(tmp_path / 'pred' / 'img1.tif', labels_of(0, 1))
    matching = match_sides(tmp_path / 'gt.json', tmp_path / 'pred')
    results = score_pairs(matching.pairs, ['aji'], 1)
    assert 'unseen: 1 images' in conclude(matching, results, ['aji']).text


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('name,subset\na,b\n', 'expected the columns image and subset'),
        ('image,subset\na,\n', 'line 2 lacks an image or a subset'),
        ('image,subset\na,b;c\n', "line 2 has 'b;c': give each subset a line"),
        ('', 'expected the columns'),
    ],
)
def test_subsets_that_cannot_be_read_are_refused(tmp_path, text, message):
    (tmp_path / 's.csv').write_text(text)
    with pytest.raises(UserError, match=f's.csv: {message}'):
        read_subsets(tmp_path / 's.csv')


def test_scores_are_chosen_by_name():
    assert choose_scores(None) == DEFAULT_SCORES
    assert choose_scores('pq, aji') == ('aji', 'pq')
    assert choose_scores('all') == tuple(DEFINITIONS)
    with pytest.raises(UserError, match="--scores: there is no score 'ajii'.*'aji'"):
        choose_scores('ajii')


@pytest.mark.parametrize(
    ('options', 'code', 'message'),
    [
        (['--scores', 'ajj'], 1, "there is no score 'ajj'"),
        (['--workers', '0'], 2, '--workers'),
        (['--score-threshold', '1.5'], 2, '--score-threshold'),
        (['--subsets', 'missing.csv'], 2, 'missing.csv'),
        (['--pred', 'nowhere'], 1, 'nowhere: no objects there; expected files ending in'),
    ],
)
def test_wrong_options_are_refused(folders, options, code, message):
    result = run(folders, *options)
    assert result.exit_code == code
    assert message in result.output


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(folders):
    result = run(folders, '--out', folders / 'gt' / 'a.tif')
    assert result.exit_code == 1
    assert 'a.tif: cannot be made' in result.output
    assert '| aji' not in result.output


def test_results_of_an_earlier_call_are_not_mixed_with(folders):
    assert run(folders, '--out', folders / 'out').exit_code == 0
    again = run(folders, '--out', folders / 'out')
    assert again.exit_code == 1
    assert 'holds results already' in again.output
