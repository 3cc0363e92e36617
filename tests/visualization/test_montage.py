import numpy as np
import pytest

from mmcell.visualization.montage import montage, ranked_overlays
from mmcell.visualization.overlay import write_png


@pytest.fixture
def tested(tmp_path):
    scores = {'a.tif': '0.5', 'b.png': '0.2', 'c.png': '', 'd.png': 'nan', 'e.png': '0.9'}
    lines = ['image,aji,dice', *(f'{name},{aji},1' for name, aji in scores.items())]
    (tmp_path / 'per_image.csv').write_text('\n'.join(lines))
    for name, gray in (('a', 50), ('b', 100), ('e', 150)):
        write_png(tmp_path / f'{name}.png', np.full((40, 64, 3), gray, dtype=np.uint8))
    return tmp_path


def test_worst_and_best_by_aji_leave_unscored_images_out(tested):
    worst = ranked_overlays(tested / 'per_image.csv', tested, 2)
    assert [(caption, path.name) for caption, path in worst] == [
        ('AJI 0.200', 'b.png'),
        ('AJI 0.500', 'a.png'),
    ]
    best = ranked_overlays(tested / 'per_image.csv', tested, 9, best=True)
    assert [path.name for _, path in best] == ['e.png', 'a.png', 'b.png']


def test_images_that_share_a_stem_are_found_by_their_id(tmp_path):
    lines = ['image,img_id,aji', '1.png,7,0.5', '1.tif,8,0.2', '2.png,9,0.9', '1_7.png,10,0.6']
    (tmp_path / 'per_image.csv').write_text('\n'.join(lines))
    for name in ('1_7', '1_8', '2', '1_7_10'):
        write_png(tmp_path / f'{name}.png', np.zeros((40, 64, 3), dtype=np.uint8))
    worst = ranked_overlays(tmp_path / 'per_image.csv', tmp_path, 4)
    assert [path.name for _, path in worst] == ['1_8.png', '1_7.png', '1_7_10.png', '2.png']


def test_missing_overlay_is_named(tested):
    (tested / 'b.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'b\.png: no overlay of b\.png'):
        ranked_overlays(tested / 'per_image.csv', tested, 1)


def test_page_holds_the_pictures_row_by_row(tested):
    page = montage(ranked_overlays(tested / 'per_image.csv', tested, 3), columns=2)
    tile_width, step_y = 640, 400 + 24 + 8
    assert page.shape == (2 * step_y + 8, 2 * (tile_width + 8) + 8, 3)
    first, second, third = page[200, 300], page[200, 950], page[step_y + 200, 300]
    assert (first[0], second[0], third[0]) == (100, 50, 150)
    assert (page[step_y + 200, 950] == 255).all()
