import pytest

from mmcell.inference.layout import choose_channels, find_layout, guess_axes


@pytest.mark.parametrize(
    ('shape', 'axes'),
    [
        ((8, 9), 'YX'),
        ((1, 1), 'YX'),
        ((8, 9, 3), 'YXS'),
        ((8, 9, 4), 'YXS'),
        ((8, 9, 1), 'YXS'),
        ((1, 8, 9), 'CYX'),
        ((1, 1, 8, 9), '__YX'),
    ],
)
def test_axes_that_a_shape_tells(shape, axes):
    assert guess_axes(shape) == axes
    assert find_layout('a.npy', shape, axes).size == shape[axes.index('Y') : axes.index('X') + 1]


@pytest.mark.parametrize(
    ('shape', 'axes', 'examples'),
    [
        ((3, 8, 9), 'QYX', 'CYX or ZYX'),
        ((5, 8, 9), 'QYX', 'CYX or ZYX'),
        ((3, 8, 4), 'QQQ', 'CYX or YXS or ZYX'),
        ((2, 8, 9, 3), 'QQQQ', 'ZCYX or ZYXS'),
        ((7,), 'Q', 'TZCYX'),
    ],
)
def test_shape_that_does_not_tell_is_refused_with_examples(shape, axes, examples):
    assert guess_axes(shape) == axes
    with pytest.raises(ValueError, match=rf'a\.npy: has shape .* with axes {axes}.* {examples}'):
        find_layout('a.npy', shape, axes)


def test_given_axes_settle_it_and_may_leave_out_length_one():
    layout = find_layout('a', (5, 8, 9), 'QYX', 'cyx')
    assert (layout.size, layout.channel_axis, layout.pages) == ((8, 9), 'C', [()])
    assert layout.channels == tuple(f'channel {k}' for k in range(1, 6))
    layout = find_layout('a', (1, 2, 1, 8, 9), 'QQQQQ', 'ZYX')
    assert layout.page_axes == '_Z_' and layout.pages == [(0, 0, 0), (0, 1, 0)]
    assert find_layout('a', (8, 9, 3), 'YXS', 'XYC').size == (9, 8)


@pytest.mark.parametrize('given', ['ZYYX', 'CY', 'C1X', 'ZX'])
def test_given_axes_must_be_letters_with_rows_and_columns(given):
    with pytest.raises(ValueError, match=f"a: axes are '{given}', expected a different letter"):
        find_layout('a', (5, 8, 9), 'QYX', given)


def test_given_axes_must_be_as_many_as_the_shape_has():
    with pytest.raises(ValueError, match=r"axes 'TZCYX' are 5, but its shape \(5, 8, 9\) has 3"):
        find_layout('a', (5, 8, 9), 'QYX', 'TZCYX')


def test_every_other_axis_holds_images_of_their_own():
    layout = find_layout('a', (2, 3, 5, 8, 9), 'TZCYX', names=list('abcde'))
    assert layout.channels == tuple('abcde')
    assert layout.pages == [(t, z) for t in range(2) for z in range(3)]


def test_names_that_do_not_tell_channels_apart_are_replaced():
    for names in (['a'], ['a', 'a'], ['a', '']):
        assert find_layout('a', (2, 8, 9), 'CYX', names=names).channels == (
            'channel 1',
            'channel 2',
        )


def test_channels_of_colours_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match='colours themselves.*--axes ZYXS'):
        find_layout('a', (2, 8, 9, 3), 'CYXS')


def test_empty_image_is_refused():
    with pytest.raises(ValueError, match=r'a.tif: has no pixels, its shape is \(0, 9\)'):
        find_layout('a.tif', (0, 9), 'YX')


def test_channels_are_chosen_by_name_or_number_in_the_order_given():
    names = ('DAPI', 'CD3', '1')
    assert choose_channels('a', names, None) == (0, 1, 2)
    assert choose_channels('a', names[:1], None) == (0,)
    assert choose_channels('a', names, 'cd3, DAPI') == (1, 0)
    assert choose_channels('a', names, [2]) == choose_channels('a', names, 2) == (1,)
    assert choose_channels('a', names, '1') == (2,)  # a name comes before a number


@pytest.mark.parametrize('count', [2, 4, 5])
def test_other_than_one_or_three_channels_have_to_be_chosen(count):
    names = [f'marker {k}' for k in range(count)]
    with pytest.raises(ValueError, match=f'a.tif: has {count} channels .1 marker 0, 2 marker 1'):
        choose_channels('a.tif', names, None)


@pytest.mark.parametrize(
    ('channels', 'error'),
    [
        ('CD8', "has no channel 'CD8', its channels are 1 DAPI, 2 CD3"),
        ('0', "has no channel '0'"),
        ([3], "has no channel '3'"),
        ('1,1', 'expected one to three different ones of 1 DAPI, 2 CD3'),
        ([], 'expected one to three'),
    ],
)
def test_channels_that_do_not_exist_are_refused_with_those_that_do(channels, error):
    with pytest.raises(ValueError, match=error):
        choose_channels('a', ('DAPI', 'CD3'), channels)
