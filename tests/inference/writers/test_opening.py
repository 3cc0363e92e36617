import errno

import numpy as np
import pandas as pd
import pytest

from mmcell.engine.errors import DataError, OutputError
from mmcell.inference.writers import check_names, open_writers, output_paths
from mmcell.structures import FoundObjects

PIXELS = np.zeros((20, 30, 1), np.uint8)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def some_objects():
    return FoundObjects.from_label_map(np.kron(np.array([[1, 0], [0, 2]]), np.ones((5, 5), int)))


@pytest.fixture
def writers(tmp_path, make_source):
    return open_writers(['labels'], tmp_path, make_source(PIXELS))


def test_nothing_has_its_final_name_before_close(writers, tmp_path):
    writers.write(some_objects(), PIXELS, (0, 0))
    assert 'labels/image.tif' not in files(tmp_path)
    assert writers.close() == [tmp_path / 'labels/image.tif']
    assert files(tmp_path) == ['labels/image.tif']


def test_an_error_in_the_with_block_leaves_nothing(writers, tmp_path):
    with pytest.raises(KeyboardInterrupt), writers:
        writers.write(some_objects(), PIXELS, (0, 0))
        raise KeyboardInterrupt
    assert files(tmp_path) == []


def test_a_former_result_is_replaced_only_by_a_complete_one(tmp_path, make_source):
    former = tmp_path / 'labels/image.tif'
    former.parent.mkdir()
    former.write_text('former')
    (tmp_path / 'labels/image.tif.part').write_text('of a run that was killed')
    writers = open_writers(['labels'], tmp_path, make_source(PIXELS))
    writers.write(some_objects(), PIXELS, (0, 0))
    writers.discard()
    assert files(tmp_path) == ['labels/image.tif'] and former.read_text() == 'former'
    open_writers(['labels'], tmp_path, make_source(PIXELS)).close()
    assert files(tmp_path) == ['labels/image.tif'] and former.read_bytes() != b'former'


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(DataError, match=r"cannot save 'lables': expected .*labels.*Did you mean"):
        check_names(['labels', 'lables'])


def test_paths_are_known_before_anything_is_written(tmp_path):
    assert output_paths(['labels'], tmp_path, 'a') == {'labels': tmp_path / 'labels/a.tif'}


def test_objects_that_writers_cannot_take_are_refused_by_id(tmp_path, make_source):
    writers = open_writers(['geojson'], tmp_path, make_source(PIXELS))
    found = some_objects()
    with pytest.raises(ValueError, match='object 2 reaches out of the window of 8 x 30 pixels'):
        writers.write(found, PIXELS[:8], (0, 0))
    with pytest.raises(ValueError, match='object 1 reaches out of the window'):
        writers.write(found, PIXELS, (1, 0))
    twice = FoundObjects.cat([found, found[np.array([1])].numbered(3)])
    with pytest.raises(ValueError, match=r'objects share pixels, \[2\] lose some'):
        writers.write(twice, PIXELS, (0, 0))
    found.patches[0][:] = False
    with pytest.raises(ValueError, match='object 1 has no pixel'):
        writers.write(found, PIXELS, (0, 0))
    writers.discard()


def test_label_images_refuse_what_shares_pixels_when_they_are_closed(writers, tmp_path):
    found = some_objects()
    twice = FoundObjects.cat([found, found[np.array([1])].numbered(3)])
    writers.write(twice, PIXELS, (0, 0))
    with pytest.raises(ValueError, match=r'objects share \d+ pixels'):
        writers.close()
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path, make_source):
    (tmp_path / 'labels').write_text('a file')
    with pytest.raises(OutputError, match=r'labels/image.tif: cannot be written: File exists'):
        open_writers(['labels'], tmp_path, make_source(PIXELS))


def test_an_image_that_cannot_be_read_for_its_picture_says_so_itself(tmp_path, make_source):
    def thumbnail(max_side, channels):
        raise OSError('image.tif: cannot be decoded')

    source = make_source(PIXELS)
    source.thumbnail = thumbnail
    with pytest.raises(OSError, match='^image.tif: cannot be decoded$'):
        open_writers(['labels', 'thumbnail'], tmp_path, source).close()
    assert files(tmp_path) == []


def test_a_file_that_fails_as_it_is_opened_leaves_nothing(tmp_path, make_source, monkeypatch):
    def no_room(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(pd.DataFrame, 'to_csv', no_room)
    with pytest.raises(OutputError, match=r'image.csv: cannot be written: No space left'):
        open_writers(['geojson', 'csv'], tmp_path, make_source(PIXELS))
    assert files(tmp_path) == []
