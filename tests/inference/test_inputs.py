from pathlib import Path

import pytest

from mmcell.engine.errors import DataError
from mmcell.inference.inputs import find_inputs


@pytest.fixture
def folder(tmp_path):
    """Images of many kinds, among other things."""
    names = [
        'b.tif',
        'a.PNG',
        'c.npy',
        'd.svs',
        'e.mrxs',
        'f.ome.tif',
        'notes.txt',
        '.hidden.tif',
        'table.csv',
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'z.tif').touch()
    (tmp_path / 'e').mkdir()  # what belongs to e.mrxs
    (tmp_path / 'e' / 'Data0000.dat').touch()
    (tmp_path / 'g.ome.zarr').mkdir()
    (tmp_path / 'plain').mkdir()
    (tmp_path / 'plain' / 'zarr.json').touch()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_folder_gives_its_own_images_sorted_and_zarr_folders_are_images(folder):
    assert names(find_inputs([folder])) == [
        *('a.PNG', 'b.tif', 'c.npy', 'd.svs', 'e.mrxs', 'f.ome.tif', 'g.ome.zarr', 'plain'),
    ]
    assert find_inputs([folder / 'g.ome.zarr']) == [folder / 'g.ome.zarr']


def test_file_is_taken_whatever_its_suffix(folder):
    assert find_inputs([str(folder / 'notes.txt')]) == [folder / 'notes.txt']


def test_pattern_gives_what_matches_in_subfolders_too(folder):
    assert names(find_inputs([folder / '*.tif'])) == ['b.tif', 'f.ome.tif']
    assert names(find_inputs([folder / '**' / '*.tif'])) == ['b.tif', 'f.ome.tif', 'z.tif']
    assert names(find_inputs([folder / '*.zarr'])) == ['g.ome.zarr']
    (folder / 'x[1].tif').touch()
    assert names(find_inputs([folder / 'x[1].tif'])) == ['x[1].tif']  # a file, no pattern


def test_each_image_comes_once_in_the_order_of_the_inputs(folder):
    (folder / 'link.tif').symlink_to(folder / 'b.tif')
    inputs = [folder / 'd.svs', folder / 'sub' / '..' / 'b.tif', folder]
    assert names(find_inputs(inputs))[:3] == ['d.svs', 'b.tif', 'a.PNG']
    assert 'link.tif' not in names(find_inputs(inputs))


def test_csv_lists_images_relative_to_itself(folder):
    table = folder / 'sub' / 'list.csv'
    lines = ['\ufeffpatient,image', f'1,{folder / "b.tif"}', '2,../a.PNG', '3,', '4,"z.tif"']
    table.write_text('\r\n'.join(lines), encoding='utf-8')
    found = [path.resolve() for path in find_inputs([table])]
    assert found == [folder / 'b.tif', folder / 'a.PNG', folder / 'sub' / 'z.tif']


@pytest.mark.parametrize(
    ('content', 'error'),
    [
        (b'', 'has no column "image"'),
        (b'file;mpp\na.PNG;1\n', 'has no column "image"; its first line is \'file;mpp\''),
        (b'image\n', 'lists no image'),
        (b'image\na.PNG\nmissing.tif\n', "line 3: 'missing.tif' is no file, looked for .*missing"),
        (b'image\n\xff\xfe\n', 'is no CSV in UTF-8'),
    ],
)
def test_csv_that_lists_no_images_is_refused(folder, content, error):
    (folder / 'table.csv').write_bytes(content)
    with pytest.raises(DataError, match=f'table.csv.*{error}'):
        find_inputs([folder / 'table.csv'])


def test_name_may_begin_with_a_tilde(folder, monkeypatch):
    (folder / '~tmp.tif').touch()
    monkeypatch.chdir(folder)
    assert find_inputs(['~tmp.tif']) == [Path('~tmp.tif')]
    with pytest.raises(DataError, match='~no.such.user/x.tif: no such file or folder'):
        find_inputs(['~no.such.user/x.tif'])


def test_input_without_an_image_is_refused(folder):
    (folder / 'empty').mkdir()
    for entry in ('empty', '*.jpeg'):
        with pytest.raises(DataError, match=r'no image there; expected a file, a folder, a patt'):
            find_inputs([folder / 'a.PNG', folder / entry])
    with pytest.raises(DataError, match='missing.tif: no such file or folder'):
        find_inputs([folder / 'missing.tif'])


def test_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(Path, 'iterdir', refuse)
    with pytest.raises(DataError, match=f'{folder.name}: cannot be read: Permission denied'):
        find_inputs([folder])
