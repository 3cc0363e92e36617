import pickle

import numpy as np
import pytest
import tifffile

from mmcell.inference.sources import open_sources

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 4096, (200, 170), dtype=np.uint16)
RGB = RNG.integers(0, 256, (200, 170, 3), dtype=np.uint8)

REGIONS = [(0, 0, 170, 200), (33, 50, 97, 163), (169, 199, 170, 200), (60, 60, 70, 70)]


def require_same(source, expected):
    """A source reads what an (H, W, C) array holds, all over and after being sent elsewhere."""
    assert source.size == expected.shape[:2]
    for reader in (source, pickle.loads(pickle.dumps(source))):
        with reader:
            for x1, y1, x2, y2 in REGIONS:
                region = reader.read(x1, y1, x2, y2)
                assert region.dtype == expected.dtype and region.flags.writeable
                np.testing.assert_array_equal(region, expected[y1:y2, x1:x2])


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(rowsperstrip=7),
        dict(compression='lzw'),
        dict(compression='zlib', predictor=True, rowsperstrip=7),
        dict(compression='zstd', tile=(64, 32)),
        dict(tile=(64, 32)),
        dict(bigtiff=True, byteorder='>', compression='zlib', tile=(16, 16)),
        dict(byteorder='>'),
    ],
    ids=str,
)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.uint32, np.int16, np.float32])
def test_gray_is_read_by_region_however_it_is_stored(tmp_path, options, dtype):
    tifffile.imwrite(tmp_path / 'a.tif', GRAY.astype(dtype), **options)
    (source,) = open_sources(tmp_path / 'a.tif')
    assert (source.name, source.axes, source.dtype) == ('a', 'YX', dtype)
    assert source.channels == ('channel 1',) and source.shown == (0,)
    require_same(source, GRAY.astype(dtype)[:, :, None])


@pytest.mark.parametrize('options', [{}, dict(compression='lzw'), dict(tile=(64, 32))], ids=str)
@pytest.mark.parametrize('planar', [False, True])
@pytest.mark.parametrize('alpha', [False, True])
def test_colour_is_read_without_its_alpha(tmp_path, options, planar, alpha):
    image = np.dstack([RGB, RGB[:, :, :1]]) if alpha else RGB
    image = np.ascontiguousarray(np.moveaxis(image, -1, 0)) if planar else image
    config = 'separate' if planar else 'contig'
    extra = dict(extrasamples=['unassalpha']) if alpha else {}
    tifffile.imwrite(
        tmp_path / 'a.tif', image, photometric='rgb', planarconfig=config, **extra, **options
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    assert source.axes == ('SYX' if planar else 'YXS') and source.is_colour
    require_same(source, RGB)


@pytest.mark.parametrize('planar', [False, True])
def test_samples_can_be_taken_as_images_of_their_own(tmp_path, planar):
    image = np.ascontiguousarray(np.moveaxis(RGB, -1, 0)) if planar else RGB
    config = 'separate' if planar else 'contig'
    tifffile.imwrite(
        tmp_path / 'a.tif', image, photometric='rgb', planarconfig=config, compression='zlib'
    )
    sources = open_sources(tmp_path / 'a.tif', axes='ZYX' if planar else 'YXZ')
    assert len(sources) == 3
    for k, source in enumerate(sources):
        require_same(source, RGB[:, :, k, None])


def test_pages_and_their_samples_together(tmp_path):
    image = RNG.integers(0, 256, (2, 4, 200, 170, 3), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / 'a.ome.tif',
        image,
        photometric='rgb',
        compression='zlib',
        tile=(64, 64),
        metadata={'axes': 'TZYXS'},
    )
    sources = open_sources(tmp_path / 'a.ome.tif')
    assert [source.name for source in sources] == [f'a_page00{k}' for k in range(1, 9)]
    require_same(sources[5], image[1, 1])


def write_set(folder):
    """Two planes of an OME-TIFF in a file each, the pixels of the second further from its start."""
    files = [('a.ome.tif', 'urn:uuid:1'), ('b.ome.tif', 'urn:uuid:2')]
    data = ''.join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID>'
        '</TiffData>'
        for z, (name, uuid) in enumerate(files)
    )
    for name, uuid in files:
        description = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="170" SizeY="200" SizeZ="2" SizeC="1" SizeT="1">{data}</Pixels></Image></OME>'
        )
        software = 'x' * 5000 if name == 'b.ome.tif' else 'x'
        tifffile.imwrite(
            folder / name, GRAY, description=description, metadata=None, software=software
        )


@pytest.mark.parametrize('name', ['a.ome.tif', 'b.ome.tif'])
def test_file_of_a_set_is_refused(tmp_path, name):
    write_set(tmp_path)
    with pytest.raises(ValueError, match=f'{name}: is one file of an OME-TIFF that spreads over'):
        open_sources(tmp_path / name)


def test_file_of_a_set_without_the_others_is_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / 'b.ome.tif').unlink()
    with pytest.raises(ValueError, match='a.ome.tif: 1 of the 2 planes of its metadata are not in'):
        open_sources(tmp_path / 'a.ome.tif')


def test_jpeg_tiles_are_what_tifffile_decodes(tmp_path):
    smooth = np.broadcast_to(np.arange(200)[:, None, None], RGB.shape).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / 'a.tif', smooth, photometric='rgb', tile=(64, 64), compression='jpeg'
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    require_same(source, tifffile.imread(tmp_path / 'a.tif'))


@pytest.mark.parametrize('compression', [None, 'packbits'])
def test_bilevel_is_boolean(tmp_path, compression):
    tifffile.imwrite(
        tmp_path / 'a.tif', GRAY > 99, photometric='minisblack', compression=compression
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    require_same(source, (GRAY > 99)[:, :, None])


def test_gray_with_alpha_is_gray_and_gray_with_others_has_channels(tmp_path):
    options = dict(photometric='minisblack', planarconfig='contig')
    tifffile.imwrite(tmp_path / 'a.tif', RGB[:, :, :2], extrasamples=['unassalpha'], **options)
    (source,) = open_sources(tmp_path / 'a.tif')
    require_same(source, RGB[:, :, :1])
    five = np.dstack([RGB, RGB[:, :, :2]])
    tifffile.imwrite(tmp_path / 'b.tif', five, **options)
    with pytest.raises(ValueError, match=r'b.tif: has 5 channels .*choose with --channels'):
        open_sources(tmp_path / 'b.tif')
    (source,) = open_sources(tmp_path / 'b.tif', channels='5,1')
    assert source.shown == (4, 0) and not source.is_colour
    require_same(source, five)


@pytest.mark.parametrize('tile', [None, (64, 64)])
def test_pages_of_a_stack_are_images_of_their_own(tmp_path, tile):
    stack = RNG.integers(0, 256, (4, 200, 170), dtype=np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', stack, photometric='minisblack', metadata=None, tile=tile)
    sources = open_sources(tmp_path / 'a.tif')
    assert [source.name for source in sources] == [f'a_page00{k}' for k in range(1, 5)]
    for source, page in zip(sources, stack, strict=True):
        require_same(source, page[:, :, None])


def test_pages_of_different_sizes_are_images_of_their_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        writer.write(GRAY, metadata=None)
        writer.write(RGB, photometric='rgb', metadata=None)
    first, second = open_sources(tmp_path / 'a.tif')
    require_same(first, GRAY[:, :, None])
    require_same(second, RGB)


@pytest.mark.parametrize('axes', ['CYX', 'ZYX'])
def test_stack_of_unknown_meaning_needs_axes(tmp_path, axes):
    stack = RNG.integers(0, 256, (3, 200, 170), dtype=np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', stack, photometric='minisblack')
    with pytest.raises(ValueError, match=r'shape \(3, 200, 170\) with axes QYX.* CYX or ZYX'):
        open_sources(tmp_path / 'a.tif')
    sources = open_sources(tmp_path / 'a.tif', axes=axes)
    if axes == 'ZYX':
        assert [source.name for source in sources] == ['a_page001', 'a_page002', 'a_page003']
    else:
        require_same(sources[0], np.moveaxis(stack, 0, -1))


@pytest.mark.parametrize('options', [{}, dict(compression='zlib', tile=(64, 64))], ids=str)
def test_ome_names_axes_channels_and_pixel_size(tmp_path, options):
    image = RNG.integers(0, 4096, (2, 5, 200, 170), dtype=np.uint16)
    metadata = {
        'axes': 'ZCYX',
        'Channel': {'Name': ['DAPI', 'CD3', 'CD8', 'CD20', 'PanCK']},
        'PhysicalSizeX': 325.0,
        'PhysicalSizeXUnit': 'nm',
        'PhysicalSizeY': 0.325,
        'PhysicalSizeYUnit': 'µm',
    }
    path = tmp_path / 'a.ome.tif'
    tifffile.imwrite(path, image, metadata=metadata, **options)
    with pytest.raises(ValueError, match='1 DAPI, 2 CD3, 3 CD8, 4 CD20, 5 PanCK'):
        open_sources(path)
    sources = open_sources(path, channels='cd8, DAPI')
    assert [source.name for source in sources] == ['a_page001', 'a_page002']
    for source, plane in zip(sources, image, strict=True):
        assert (source.axes, source.shown, source.mpp) == ('ZCYX', (2, 0), pytest.approx(0.325))
        require_same(source, np.moveaxis(plane, 0, -1))


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('unit', ['um', 'micron', '\\u00B5m'])
def test_imagej_names_axes_channels_and_pixel_size(tmp_path, compression, unit):
    image = RNG.integers(0, 4096, (3, 200, 170), dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / 'a.tif',
        image,
        imagej=True,
        resolution=(4, 4),
        compression=compression,
        metadata={'axes': 'CYX', 'unit': unit, 'Labels': ['DAPI', 'GFP', 'RFP']},
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    assert (source.channels, source.mpp) == (('DAPI', 'GFP', 'RFP'), 0.25)
    assert not source.is_colour
    require_same(source, np.moveaxis(image, 0, -1))


@pytest.mark.parametrize(('per_inch', 'mpp'), [(300, None), (50800, 0.5)])
def test_dots_per_inch_that_imagej_took_over_are_no_pixel_size(tmp_path, per_inch, mpp):
    tifffile.imwrite(
        tmp_path / 'a.tif',
        GRAY,
        imagej=True,
        resolution=(per_inch, per_inch),
        metadata={'unit': 'inch'},
    )
    assert open_sources(tmp_path / 'a.tif')[0].mpp == (mpp and pytest.approx(mpp))


def test_imagej_without_unit_has_no_pixel_size(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', GRAY, imagej=True, resolution=(4, 4))
    assert open_sources(tmp_path / 'a.tif')[0].mpp is None


@pytest.mark.parametrize(
    ('resolution', 'unit', 'mpp'),
    [
        (40000, 'centimeter', 0.25),
        (50800, 'inch', 0.5),
        (72, 'inch', None),  # what programs write that know nothing
        (600, 'inch', None),
        (40000, 'none', None),
    ],
)
def test_resolution_tags_count_where_they_are_of_a_microscope(tmp_path, resolution, unit, mpp):
    tifffile.imwrite(
        tmp_path / 'a.tif', GRAY, resolution=(resolution, resolution), resolutionunit=unit
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    assert source.mpp == (mpp and pytest.approx(mpp))
    assert open_sources(tmp_path / 'a.tif', mpp=0.4)[0].mpp == 0.4


def test_pixels_that_are_not_square_are_refused_unless_the_user_says_a_size(tmp_path):
    tifffile.imwrite(
        tmp_path / 'a.tif', GRAY, resolution=(40000, 20000), resolutionunit='centimeter'
    )
    with pytest.raises(ValueError, match=r'a.tif: its pixels are 0.25 x 0.5 microns.*--mpp'):
        open_sources(tmp_path / 'a.tif')
    assert open_sources(tmp_path / 'a.tif', mpp=0.4)[0].mpp == 0.4


def write_pyramid(path, image, sub_ifds, **options):
    """Three levels, each the average of 2 x 2 pixels of the one before."""
    halves = [image]
    for _ in range(2):
        last = halves[-1].astype(float)
        height, width = last.shape[0] // 2 * 2, last.shape[1] // 2 * 2
        quads = last[:height, :width].reshape(height // 2, 2, width // 2, 2, -1)
        halves.append(quads.mean(axis=(1, 3)).round().astype(image.dtype))
    with tifffile.TiffWriter(path) as writer:
        for k, level in enumerate(halves):
            extra = dict(subifds=2) if sub_ifds and not k else {}
            writer.write(
                level, subfiletype=int(k > 0), tile=(64, 64), metadata=None, **extra, **options
            )
    return halves


@pytest.mark.parametrize('sub_ifds', [False, True])
def test_levels_of_a_pyramid_are_one_image_and_serve_the_thumbnail(tmp_path, sub_ifds, monkeypatch):
    halves = write_pyramid(
        tmp_path / 'a.tif', RGB, sub_ifds, photometric='rgb', compression='deflate'
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    assert source.name == 'a'
    require_same(source, RGB)
    levels = []
    read = source._read_level
    monkeypatch.setattr(source, '_read_level', lambda k, *box: levels.append(k) or read(k, *box))
    np.testing.assert_array_equal(source.thumbnail(100), halves[1])
    np.testing.assert_array_equal(source.thumbnail(50), halves[2])
    assert source.thumbnail(60).shape == (60, 51, 3)
    assert levels == [1, 2, 1]
    source.close()


def test_levels_that_cannot_be_found_or_do_not_fit_are_done_without(tmp_path):
    path = tmp_path / 'a.tif'
    write_pyramid(path, RGB, sub_ifds=True, photometric='rgb')
    with tifffile.TiffFile(path) as tiff:
        sub_ifds = tiff.pages[0].tags['SubIFDs'].valueoffset
    with open(path, 'r+b') as file:
        file.seek(sub_ifds)
        file.write((10**8).to_bytes(4, 'little'))
    with tifffile.TiffWriter(tmp_path / 'b.tif') as writer:
        writer.write(RGB, photometric='rgb', subifds=1, metadata=None)
        writer.write(GRAY[:50, :170], subfiletype=1, metadata=None)
    for name in ('a.tif', 'b.tif'):
        (source,) = open_sources(tmp_path / name)
        require_same(source, RGB)
        with source:
            assert source.thumbnail(100).shape == (100, 85, 3)


def test_pyramid_of_which_a_level_is_cut_off_is_refused(tmp_path):
    path = tmp_path / 'a.tif'
    write_pyramid(path, RGB, sub_ifds=True, photometric='rgb')
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    with pytest.raises(OSError, match='a.tif: cannot be decoded as TIFF: the file is cut off'):
        open_sources(path)


def test_tiles_that_are_volumes_are_read_whole(tmp_path):
    volume = RNG.integers(0, 256, (32, 200, 170), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / 'a.tif',
        volume,
        tile=(16, 64, 64),
        volumetric=True,
        compression='zlib',
        metadata={'axes': 'ZYX'},
    )
    sources = open_sources(tmp_path / 'a.tif')
    assert len(sources) == 32
    require_same(sources[17], volume[17, :, :, None])


def test_tiles_that_are_left_out_are_zero(tmp_path):
    tiles = [np.full((64, 64), 7, np.uint8), None]
    tifffile.imwrite(
        tmp_path / 'a.tif',
        iter(tiles),
        shape=(64, 128),
        dtype=np.uint8,
        tile=(64, 64),
        compression='zlib',
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    with source:
        assert source.read(60, 0, 68, 1)[0, :, 0].tolist() == [7] * 4 + [0] * 4


def test_one_pixel_and_long_lines(tmp_path):
    for shape in ((1, 1), (1, 500), (500, 1)):
        image = RNG.integers(0, 256, shape, dtype=np.uint8)
        for compression in (None, 'zlib'):
            tifffile.imwrite(tmp_path / 'a.tif', image, compression=compression)
            (source,) = open_sources(tmp_path / 'a.tif')
            with source:
                read = source.read(0, 0, shape[1], shape[0])
            np.testing.assert_array_equal(read[:, :, 0], image)


@pytest.mark.parametrize('photometric', ['miniswhite', 'palette'])
def test_encodings_that_would_look_wrong_are_refused(tmp_path, photometric):
    colormap = np.zeros((3, 256), np.uint16) if photometric == 'palette' else None
    tifffile.imwrite(tmp_path / 'a.tif', RGB[:, :, 0], photometric=photometric, colormap=colormap)
    with pytest.raises(ValueError, match=rf'a.tif: colours are encoded as {photometric.upper()}'):
        open_sources(tmp_path / 'a.tif')


@pytest.mark.parametrize('options', [{}, dict(compression='zlib', tile=(64, 64))], ids=str)
def test_cut_off_file_is_refused_before_anything_is_read(tmp_path, options):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, RGB, photometric='rgb', **options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(OSError, match=r'a.tif: cannot be decoded as TIFF: the file is cut off: it'):
        open_sources(path)


def test_damaged_tile_is_named_where_it_lies(tmp_path):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, GRAY, compression='zlib', tile=(64, 64))
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[-1]
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(b'nonsense')
    (source,) = open_sources(path)
    with source:
        np.testing.assert_array_equal(source.read(0, 0, 50, 50)[:, :, 0], GRAY[:50, :50])
        with pytest.raises(OSError, match=r'a.tif: cannot be decoded at \(150, 190, 170, 200\)'):
            source.read(150, 190, 170, 200)


@pytest.mark.parametrize('content', [b'', b'II*\0', b'no TIFF at all' * 9])
def test_what_is_no_tiff_is_named(tmp_path, content):
    (tmp_path / 'a.tif').write_bytes(content)
    with pytest.raises(OSError, match='a.tif: cannot be decoded as TIFF'):
        open_sources(tmp_path / 'a.tif')


def test_what_a_scanner_program_exports_without_tiles_is_a_plain_tiff(tmp_path):
    description = 'Aperio Image Library v11.2.1\r\n900x700'
    picture = RNG.integers(0, 255, (50, 40, 3), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / 'a.tif', picture, photometric='rgb', description=description, rowsperstrip=8
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    np.testing.assert_array_equal(source.read(0, 0, 40, 50), picture)
