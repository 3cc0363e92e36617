import zipfile

import numpy as np
import pytest

from mmcell.evaluation.readers.imagej import read_imagej_rois
from mmcell.functional.polygons import trace_polygons
from mmcell.inference.writers.imagej import roi_bytes

roifile = pytest.importorskip('roifile')

FILE = 'rois/image_rois.zip'


def read(out):
    rois = roifile.roiread(out / FILE)
    return rois if isinstance(rois, list) else [rois]


def test_roifile_reads_every_noisy_shape_to_the_pixel(tmp_path, save, noisy, rings_to_mask):
    labels = noisy(10, 10)
    save(labels, ['rois'], tmp_path, batch=30)
    rois = read(tmp_path)
    assert [int(roi.name) for roi in rois] == np.unique(labels)[1:].tolist()
    assert {roi.roitype.name for roi in rois} == {'TRACED', 'RECT'}  # RECT: how composites begin
    back = np.zeros_like(labels)
    for roi in rois:
        back[rings_to_mask(roi.coordinates(multi=True), labels.shape)] = int(roi.name)
    assert (back == labels).all()


def test_bounds_are_those_of_the_object(tmp_path, save, odd_shapes):
    save(odd_shapes, ['rois'], tmp_path)
    bounds = [(roi.left, roi.top, roi.right, roi.bottom) for roi in read(tmp_path)]
    assert bounds == [(0, 0, 5, 5), (2, 2, 3, 3), (5, 1, 7, 4), (6, 5, 7, 6)]


def test_mmcells_own_reader_gives_the_label_map_back(tmp_path, save, odd_shapes):
    save(odd_shapes, ['rois'], tmp_path)
    assert (read_imagej_rois(tmp_path / FILE, odd_shapes.shape).label_map == odd_shapes).all()


@pytest.mark.parametrize('corner', [0, 32_760, 40_000, 60_530, 65_530, 200_000])
@pytest.mark.parametrize('mask', [np.ones((3, 9)), np.pad(np.zeros((1, 1)), 2, constant_values=1)])
def test_coordinates_are_exact_wherever_the_object_is(corner, mask):
    polygons = trace_polygons(mask, (corner + 1, corner))
    roi = roifile.ImagejRoi.frombytes(roi_bytes('7', polygons, (1, 2, 3)))
    expected = [ring for outline, holes in polygons for ring in (outline, *holes)]
    rings = roi.coordinates(multi=True)
    assert len(rings) == len(expected)
    for ring, points in zip(rings, expected, strict=True):
        assert ring[: len(points)].tolist() == points.tolist()
    assert roi.stroke_color == bytes([255, 1, 2, 3])


def test_entries_carry_the_name_and_no_date(tmp_path, save, odd_shapes):
    save(odd_shapes, ['rois'], tmp_path)
    with zipfile.ZipFile(tmp_path / FILE) as file:
        assert file.namelist() == ['1.roi', '2.roi', '3.roi', '4.roi']
        assert {entry.date_time[0] for entry in file.infolist()} == {1980}


def test_no_objects_are_an_empty_set(tmp_path, save):
    save(np.zeros((4, 4), int), ['rois'], tmp_path)
    with zipfile.ZipFile(tmp_path / FILE) as file:
        assert file.namelist() == []
