import csv
import errno
import json
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from mmcell.cli import main

ROOT = Path(__file__).parents[2]
IMAGES = [f'{letter}.png' for letter in 'abcdefgh']
SCORES = {
    'A': [0.9, 0.8, 0.7, 0.8, 0.9, 0.6, 0.7, 0.8],
    'B': [0.7, 0.7, 0.5, 0.7, 0.8, 0.5, 0.6, 0.6],
    'C': [0.9, 0.8, 0.7, 0.8, 0.9, 0.6, 0.7, 0.8],
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    for name, values in SCORES.items():
        (tmp_path / name).mkdir()
        lines = [f'{i},{v},{v}\n' for i, v in zip(IMAGES, values, strict=True)]
        (tmp_path / name / 'per_image.csv').write_text('image,aji,pq\n' + ''.join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def files(results):
    """Images, ground truth and the predictions of A for all images but the first."""
    for folder in ('images', 'gt', 'labels'):
        (results / folder).mkdir()
    for name in IMAGES[1:]:
        labels = np.zeros((32, 32), np.uint16)
        labels[4:20, 4:20] = 1
        cv2.imwrite(str(results / 'images' / name), np.full((32, 32, 3), 90, np.uint8))
        for folder in ('gt', 'labels'):
            tifffile.imwrite(results / folder / f'{Path(name).stem}.tif', labels)
    return ['--images', 'images', '--gt', 'gt', '--labels', 'A=labels']


def run(*arguments):
    return CliRunner().invoke(main, ['compare', *map(str, arguments)])


class References(HTMLParser):
    """Every attribute through which a browser would fetch something."""

    def __init__(self, page):
        super().__init__()
        self.found, self.tags, self.text = [], [], ''
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = ('src', 'srcset', 'href', 'data', 'poster', 'action', 'background')
        self.found += [value for name, value in attributes if name in names]

    def handle_data(self, data):
        self.text += data


def test_everything_is_written_and_said(results):
    result = run('A', 'B', 'C', '--out', 'out')
    assert result.exit_code == 0, result.output
    assert {path.name for path in (results / 'out').iterdir()} == {
        'report.html', 'table.md', 'table.tex', 'table.csv', 'comparison.json', 'box_aji.png',
        'box_pq.png', 'scatter_aji.png', 'scatter_pq.png',
    }  # fmt: skip
    assert '8 images in common, reference A' in result.output
    assert re.search(r'AJI against B: \+0\.1375 .*: reference better', result.output)
    assert 'AJI against C: +0.0000' in result.output
    assert 'identical on every image' in result.output


def test_report_stands_alone(results, files):
    assert run('A', 'B', *files, '--quoted', 'pffnet_kumar', '--out', 'out').exit_code == 0
    page = (results / 'out/report.html').read_text()
    references = References(page)
    assert len(references.found) == 5  # two box plots, two scatters, the cases
    assert all(re.match('data:image/(png|jpeg);base64,', found) for found in references.found)
    assert not {'script', 'link', 'iframe', 'object'} & set(references.tags)
    style = page[page.index('<style>') : page.index('</style>')]
    assert 'url(' not in style and '@import' not in style
    assert 'name="viewport"' in page
    assert '@media print' in style and 'prefers-color-scheme: dark' in style


def test_report_shows_the_figures_and_escapes_names(results):
    run('A', 'B', '--names', '<b>A</b> & co,B', '--out', 'out')
    page = (results / 'out/report.html').read_text()
    assert '<b>A</b> & co' not in page
    text = References(page).text
    assert '<b>A</b> & co against B' in text
    assert '0.7750' in text and '0.6375' in text and '+0.1375' in text


def test_quoted_figures_that_are_not_compared_are_in_the_report(results):
    run('A', 'B', '--quoted', 'object_guided_plant', '--out', 'out')
    text = References((results / 'out/report.html').read_text()).text
    assert 'AP_seg at mask IoU 0.75' in text and '0.8108' in text
    assert 'no figure for the columns of the first table' in (results / 'out/table.md').read_text()


def test_options_reach_the_comparison(results):
    run('A', 'B', 'C', '--scores', 'pq', '--reference', 'B', '--seed', 7, '--out', 'out')
    content = json.loads((results / 'out/comparison.json').read_text())
    assert (list(content['scores']), content['reference']) == (['pq'], 'B')
    assert content['how']['seed'] == 7
    with open(results / 'out/table.csv', newline='') as file:
        assert {row['score'] for row in csv.DictReader(file)} == {'pq'}


def test_best_and_worst_images_are_drawn_by_the_first_score(results, files, monkeypatch):
    from mmcell.evaluation import compare

    titles = []
    draw = compare.draw_cases
    monkeypatch.setattr(
        compare, 'draw_cases', lambda cases: titles.extend(c.title for c in cases) or draw(cases)
    )
    result = run('A', 'B', *files, '--cases', 2, '--out', 'out')
    assert result.exit_code == 0, result.output
    # a, the best of all, has no files.
    assert [title.split(' for ')[0] for title in titles] == [
        'f: worst',
        'c: worst',
        'e: best',
        'h: best',
    ]
    assert cv2.imread(str(results / 'out/cases.png')).shape[2] == 3


def test_an_image_that_cannot_be_drawn_costs_its_picture_alone(results, files):
    (results / 'images/f.png').write_bytes(b'no picture')
    result = run('A', 'B', *files, '--cases', 2, '--out', 'out')
    assert result.exit_code == 1
    assert re.search(r'not drawn: f: .*f\.png', result.stderr)
    text = References((results / 'out/report.html').read_text()).text
    assert 'The 1 worst and the 2 best of 7 images' in text
    for path in (results / 'images').iterdir():
        path.write_bytes(b'no picture')
    result = run('A', 'B', *files, '--out', 'new')
    assert result.exit_code == 1 and result.stderr.count('not drawn: ') == 6
    assert 'Worst and best' not in (results / 'new/report.html').read_text()


def test_a_full_disk_is_named(results, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    (results / 'out').mkdir()
    monkeypatch.setattr(Path, 'write_text', refuse)
    result = run('A', 'B', '--out', 'out')
    assert result.exception.code == (
        'error: out cannot be written to (No space left on device): make room, or choose another '
        'folder'
    )


def test_two_images_are_one_worst_and_one_best(results, files):
    for name in IMAGES[3:]:
        (results / 'images' / name).unlink()
    assert run('A', 'B', *files, '--out', 'out').exit_code == 0
    text = References((results / 'out/report.html').read_text()).text
    assert 'The 1 worst and the 1 best of 2 images' in text


def test_images_that_no_method_lacks_are_compared_and_the_others_named(results):
    table = results / 'B' / 'per_image.csv'
    table.write_text('\n'.join(table.read_text().splitlines()[:4]))
    result = run('A', 'B', '--out', 'out')
    assert '3 images in common' in result.output
    assert '5 images left out because a method lacks them: d, e, f, g, h\n' in result.output


def test_a_folder_that_cannot_be_made_is_named(results):
    result = run('A', 'B', '--out', 'A/per_image.csv/out')
    assert result.exit_code == 1
    assert re.search(r'error: --out: .*A/per_image\.csv/out', result.output)


def test_the_tool_is_the_command(results, monkeypatch):
    monkeypatch.setattr('sys.argv', ['compare.py', 'A', 'B', '--out', 'out'])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools/compare.py'), run_name='__main__')
    assert end.value.code == 0
    assert (results / 'out/report.html').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['A'], 'one method alone'),
        (['A', 'D'], 'error: D: no such table'),
        (['A', 'B', '--names', 'A'], '--names: 1 names for 2 results'),
        (['A', 'B', '--reference', 'D'], "no method 'D'"),
        (['A', 'B', '--scores', 'ajj'], "no score 'ajj'.*Did you mean 'aji'"),
        (['A', 'B', '--quoted', 'pffnet_kuma'], "Did you mean 'pffnet_kumar'"),
        (['A', 'B', '--gt', 'A'], 'need all of --images, --gt and --labels'),
        (['A', 'B', '--images', 'A', '--gt', 'B', '--labels', 'D=A'], 'a name of A, B'),
        (['A', 'B', '--images', 'A', '--gt', 'B', '--labels', 'A=B'], 'B: no objects there'),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line_and_nothing_is_written(
    results, arguments, message
):
    result = run(*arguments, '--out', 'out')
    assert result.exit_code == 1
    assert re.search(message, str(result.exception.code) + result.output)
    assert not (results / 'out').exists()
