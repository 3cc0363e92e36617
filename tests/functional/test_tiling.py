import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.functional.tiling import TilePlan, default_halo, resnet_receptive_field

PLANS = st.builds(
    TilePlan,
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    tile=st.integers(1, 40),
    overlap=st.integers(1, 9),
    halo=st.integers(0, 9),
    align=st.sampled_from([1, 8]),
)


def painted(box, size):
    canvas = np.zeros(size, dtype=int)
    canvas[box.y1 : box.y2, box.x1 : box.x2] = 1
    return canvas


@given(PLANS)
def test_cores_divide_the_image_and_inner_parts_are_seen_once(plan):
    tiles = [plan[k] for k in range(len(plan))]
    assert (sum(painted(tile.core, plan.size) for tile in tiles) == 1).all()
    seen = sum(painted(tile.region, plan.size) for tile in tiles)
    for tile in tiles:
        inner = tile.inner
        is_inner = np.zeros(plan.size, dtype=bool)
        if inner.x1 < inner.x2 and inner.y1 < inner.y2:
            is_inner[inner.y1 : inner.y2, inner.x1 : inner.x2] = True
        assert (is_inner == ((painted(tile.core, plan.size) == 1) & (seen == 1))).all()


@given(PLANS)
def test_cores_lie_in_regions_in_windows_and_no_core_is_a_sliver(plan):
    height, width = plan.size
    for k in range(len(plan)):
        tile = plan[k]
        (x1, y1, x2, y2), region, window = tile.core, tile.region, tile.window
        grown = (max(x1 - plan.overlap, 0), max(y1 - plan.overlap, 0))
        assert region[:2] == grown
        assert region[2:] == (min(x2 + plan.overlap, width), min(y2 + plan.overlap, height))
        for axis, length in ((0, width), (1, height)):
            low, high = region[axis], region[axis + 2]
            assert window[axis] <= max(low - plan.halo, 0) < window[axis] + plan.align
            assert min(high + plan.halo, length) <= window[axis + 2] <= length
            assert window[axis] % plan.align == 0
        assert plan.tile >= x2 - x1 >= min(width, (plan.tile + 1) // 2)
        assert plan.tile >= y2 - y1 >= min(height, (plan.tile + 1) // 2)


@given(PLANS, st.data())
def test_the_last_tile_is_the_last_whose_region_meets_the_box(plan, data):
    height, width = plan.size
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    regions = [plan[k].region for k in range(len(plan))]
    meeting = [
        k
        for k, region in enumerate(regions)
        if region.x1 < x2 and region.x2 > x1 and region.y1 < y2 and region.y2 > y1
    ]
    assert plan.last_tile(np.array([[x1, y1, x2, y2]])).tolist() == [meeting[-1]]


def test_edges_are_those_of_the_cores():
    plan = TilePlan((100, 250), tile=100)
    assert [edges.tolist() for edges in plan.edges()] == [[0, 83, 166, 250], [0, 100]]
    assert [plan[k].core.x1 for k in range(3)] == [0, 83, 166]


def test_a_mask_of_lower_resolution_chooses_the_tiles_that_see_it():
    plan = TilePlan((100, 100), tile=50, overlap=5, halo=50)
    mask = np.zeros((10, 10), dtype=bool)
    mask[0, 3] = True  # columns 30 to 39: out of reach of the second tile, which begins at 45
    assert plan.tiles_with(mask).tolist() == [0]
    mask[9, 4] = True  # columns 40 to 49: in reach of both tiles below
    assert plan.tiles_with(mask).tolist() == [0, 2, 3]
    assert plan.tiles_with(np.ones((1, 1), dtype=bool)).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match='bool'):
        plan.tiles_with(np.ones((3, 3)))


def test_receptive_fields_of_resnets():
    # Published for strides in the 3 x 3 convolutions (Araujo et al., Distill 2019, give 483 and
    # 1027 for strides in the 1 x 1 before them: 56 more, 8 + 16 + 32).
    assert resnet_receptive_field(50) == 483 - 56
    assert resnet_receptive_field(101) == 1027 - 56
    with pytest.raises(ValueError, match='depth must be one of'):
        resnet_receptive_field(20)


def test_the_halo_is_half_the_receptive_field_if_that_is_affordable():
    assert default_halo(101, tile=1000, overlap=50, max_work=4) == 51
    # Windows of 2000 pixels: 500 on either side, 50 of which are the overlap.
    assert default_halo(5000, tile=1000, overlap=50, max_work=4) == 450
    assert default_halo(5000, tile=100, overlap=50, max_work=1) == 0


@pytest.mark.parametrize(
    'bad, message',
    [
        (dict(size=(0, 5)), 'size must be positive'),
        (dict(tile=0), 'tile must be >= 1'),
        (dict(halo=-1), 'halo must be >= 0'),
        (dict(tile=50, overlap=0), 'overlap must be >= 1'),
    ],
)
def test_bad_plans_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        TilePlan(**{'size': (100, 100), **bad})
    assert len(TilePlan((100, 100), tile=100, overlap=0)) == 1
