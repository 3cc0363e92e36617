import json
from functools import partial

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from mmcell.cli import main
from mmcell.functional.tiling import TilePlan
from mmcell.inference.image_source import ArraySource
from mmcell.inference.intensity import DisplayRange
from mmcell.inference.seam_check import check_seams, compare, draw_places
from mmcell.structures import FoundObjects

PLAN = TilePlan((300, 400), tile=200, overlap=20, halo=10, align=1)  # seams at x = 200, y = 150


def squares(corners, side=10):
    labels = np.zeros(PLAN.size, dtype=int)
    for k, (x, y) in enumerate(corners, start=1):
        labels[y : y + side, x : x + side] = k
    return labels


def test_objects_count_where_their_centres_are():
    # Centres 5 px further: 0, 32, 33 and 150 px from x = 200; y stays 100 px away from y = 150.
    untiled = squares([(195, 45), (227, 45), (228, 45 - 20), (345, 45)])
    report = compare(untiled, squares([(195, 45), (345, 45)]), PLAN)
    assert report.tiles == 4
    assert (report.everywhere.untiled, report.everywhere.tiled) == (4, 2)
    assert (report.near.untiled, report.near.tiled) == (2, 1)
    assert (report.elsewhere.untiled, report.elsewhere.tiled) == (2, 1)
    assert (report.far.untiled, report.far.tiled) == (0, 0)
    assert report.everywhere.f1 == pytest.approx(2 * 2 / 6)
    assert report.near.f1 == pytest.approx(2 * 1 / 3)
    assert np.isnan(report.far.f1)
    assert report.count_change == -0.5


def test_places_are_those_near_seams_first():
    report = compare(squares([(20, 20), (190, 40)]), squares([(100, 20)]), PLAN)
    assert report.places[0] == (195, 45)
    assert set(report.places[1:]) == {(25, 25), (105, 25)}


def test_what_is_equal_has_no_problems():
    labels = squares([(k, 45) for k in range(0, 390, 13)])
    report = compare(labels, labels, PLAN)
    assert report.everywhere.f1 == 1
    assert report.problems == []
    nothing = compare(squares([]), squares([]), PLAN)
    assert nothing.count_change == 0 and nothing.problems == []
    assert json.loads(json.dumps(nothing.as_dict(), allow_nan=False))['everywhere']['f1'] is None


def test_objects_cut_at_seams_are_lost_doubled_and_straight():
    y, x = np.indices(PLAN.size)
    untiled = squares([(a, b) for a in range(4, 390, 28) for b in range(4, 290, 28)], side=20)
    tiled = untiled * 2
    tiled[(tiled > 0) & (x >= 200)] += 1
    tiled[(tiled > 0) & (y >= 150)] += 1000
    report = compare(untiled, tiled, PLAN)
    problems = ' '.join(report.problems)
    assert 'number of objects changes by +' in problems
    assert 'lower near seams' in problems
    assert 'F1 of tiled' in problems and 'outlines follow borders' in problems
    assert report.elsewhere.f1 > report.near.f1


def test_outlines_on_borders_are_counted_by_hand():
    plan = TilePlan((40, 40), tile=20, overlap=5, halo=0, align=1)
    labels = np.zeros((40, 40), dtype=int)
    labels[:, 10:20] = 1  # its right side lies on the seam, x = 20; 40 px; the left one on no line
    report = compare(labels, labels, plan)
    # Borders: 15, 20 and 25 each way, 6 of 78 lines; elsewhere 40 px of outline on 72 lines.
    assert report.straight_tiled == pytest.approx((40 / 6) / (40 / 72))
    assert report.straight_expected == pytest.approx(40 / 72 * 6)


def components(rgb, limit=None):
    from scipy import ndimage

    labels, _ = ndimage.label(rgb[:, :, 0] > 100)
    found = FoundObjects.from_label_map(labels)
    return found if limit is None else found[:limit]


def image_of(labels):
    return ArraySource((np.repeat(labels[:, :, None] > 0, 3, axis=2) * 200).astype(np.uint8))


def test_a_perfect_network_has_no_seams():
    labels = squares([(a, b) for a in range(4, 390, 28) for b in range(4, 290, 28)], side=20)
    source = image_of(labels)
    steps = []
    check = check_seams(
        source,
        partial(partial, components),
        PLAN,
        DisplayRange.of(source),
        on_tile=lambda done, total: steps.append((done, total)),
    )
    assert check.report.problems == []
    assert check.report.everywhere.untiled == len(np.unique(labels)) - 1
    assert steps == [(k, 5) for k in range(1, 6)]


def test_a_network_that_depends_on_the_window_is_caught_and_shown():
    source = image_of(squares([(a, b) for a in range(4, 390, 28) for b in range(4, 290, 28)]))
    factory = partial(partial, partial(components, limit=12))
    check = check_seams(source, factory, PLAN, DisplayRange.of(source))
    assert check.report.count_change > 0.5
    picture = draw_places(check, source.read(0, 0, 400, 300))
    assert picture.dtype == np.uint8 and picture.shape[0] > 500
    unlimited = check_seams(
        source, factory, PLAN, DisplayRange.of(source), partial(partial, components)
    )
    assert unlimited.report.everywhere.untiled == 154


def command_line(folder, files):
    config, checkpoint = map(str, files)
    model = ['--model', config, '--checkpoint', checkpoint, '--device', 'cpu']
    return ['seam-check', str(folder / 'image.tif'), *model, '--out', str(folder / 'out')]


def test_the_command_writes_its_report_and_says_what_is_wrong(tmp_path, files):
    image = np.zeros((300, 300), dtype=np.uint8)
    for x in range(3, 290, 20):
        for y in range(3, 290, 20):
            image[y : y + 8, x : x + 8] = 200
    tifffile.imwrite(tmp_path / 'image.tif', image)
    arguments = command_line(tmp_path, files)
    result = CliRunner().invoke(main, [*arguments, '--tile', '150', '--overlap', '20'])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == 'seamless'
    report = json.loads((tmp_path / 'out' / 'seam_check.json').read_text())
    assert report['tiles'] == 4 and report['everywhere']['untiled'] == 225
    assert report['problems'] == []
    assert (tmp_path / 'out' / 'seam_check.png').stat().st_size > 0

    (tmp_path / 'a file').touch()
    blocked = CliRunner().invoke(
        main, [*arguments, '--tile', '150', '--out', tmp_path / 'a file' / 'x']
    )
    assert blocked.exit_code == 1 and 'cannot be made' in str(blocked.exception)
    single = CliRunner().invoke(main, arguments)
    assert single.exit_code == 1 and 'are one tile, which has no seams' in str(single.exception)
    missing = CliRunner().invoke(main, [*arguments[:1], 'no.tif', *arguments[2:]])
    assert missing.exit_code == 1 and 'no.tif: no such image file' in str(missing.exception)


def test_a_smaller_part_of_a_large_image_is_checked(tmp_path, files):
    image = np.zeros((260, 700), dtype=np.uint16)
    image[100:110, 345:352] = 60000
    tifffile.imwrite(tmp_path / 'image.tif', image)
    arguments = command_line(tmp_path, files)
    result = CliRunner().invoke(
        main, [*arguments, '--tile', '100', '--overlap', '20', '--max-side', '200']
    )
    report = json.loads((tmp_path / 'out' / 'seam_check.json').read_text())
    assert report['size'] == [200, 200] and report['corner'] == [250, 30]
    assert report['everywhere']['untiled'] == report['everywhere']['tiled'] == 1
    assert result.exit_code == 0, result.output


def test_short_memory_says_what_to_lower(tmp_path, files, bright_objects, monkeypatch):
    find = bright_objects.find

    def fail_on_large(self, bright):
        if max(bright.shape) > 250:
            raise MemoryError
        return find(self, bright)

    monkeypatch.setattr(bright_objects, 'find', fail_on_large)
    tifffile.imwrite(tmp_path / 'image.tif', np.eye(300, dtype=np.uint8))
    arguments = command_line(tmp_path, files)
    result = CliRunner().invoke(main, [*arguments, '--tile', '150'])
    assert 'on cpu for 300 x 300 pixels in one piece: lower --max-side' in str(result.exception)
