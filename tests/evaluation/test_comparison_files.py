import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mmcell.engine.errors import UserError
from mmcell.evaluation.comparison import Method, compare_methods
from mmcell.evaluation.comparison_files import (
    escape_latex,
    render_latex,
    render_markdown,
    write_comparison,
)
from mmcell.evaluation.comparison_text import (
    definitions,
    finding,
    number,
    outcomes,
    p_text,
    pooled_lines,
    score_title,
    timing_lines,
)
from mmcell.evaluation.quoted import load_quoted

IMAGES = [f'{k:02}' for k in range(14)]
TIMING = {
    'fps': {'median': 4.0, 'q1': 3.0, 'q3': 5.0},
    'seconds_per_image': {'total': {'median': 0.25, 'q1': 0.2, 'q3': 0.3}},
    'peak_rss_bytes': 3 * 2**20,
    'peak_cuda_bytes': None,
    'median_megapixels': 0.0655,
    'batch_size': 1,
    'n_images': 20,
    'warmup_images': 5,
    'device': 'A CPU',
    'included': {'prediction': 'the network'},
    'not_included': 'reading images',
}


def method(name, values, subsets=('seen',) * 8 + ('unseen',) * 6, **files):
    scores = {s: dict(zip(IMAGES, map(float, v), strict=True)) for s, v in values.items()}
    named = {image: (subset,) for image, subset in zip(IMAGES, subsets, strict=True)}
    return Method(name, Path('runs') / name / 'per_image.csv', scores, named, **files)


@pytest.fixture
def comparison():
    rng = np.random.default_rng(0)
    aji, f1 = rng.uniform(0.4, 0.8, 14), rng.uniform(0.6, 0.9, 14)
    worse, odd = aji - rng.uniform(0.03, 0.1, 14), rng.uniform(0.4, 0.8, 14)
    return compare_methods(
        [
            method('50 % & _more_', {'aji': worse, 'f1': f1}),
            method('PFFNet', {'aji': aji, 'f1': f1}),
            method('odd', {'aji': odd}),
        ],
        reference='PFFNet',
    )


def rows_of(markdown, heading):
    lines = markdown.split(heading)[-1].strip().splitlines()
    table = [line for line in lines[: lines.index('')] if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table]


def test_markdown_has_a_line_per_method_and_a_column_per_subset(comparison):
    heading, _, *body = rows_of(render_markdown(comparison), '# Comparison\n')
    assert heading[:4] == ['method', 'AJI ↑ seen', 'AJI ↑ unseen', 'AJI ↑ all']
    assert [row[0] for row in body] == ['50 % & _more_', '**PFFNet**', 'odd']
    values = comparison.values['aji']['PFFNet']
    assert body[1][1] == f'**{values[:8].mean():.4f}** ({values[:8].std(ddof=1):.4f})'
    assert body[0][3].endswith(r'\*\*\*') and not body[1][3].endswith('*')
    assert body[2][4:] == ['–'] * 3


def test_markdown_keeps_bold_names_that_end_in_digits_and_stars_of_names():
    values = np.linspace(0.1, 0.4, 14)
    compared = compare_methods(
        [method('PFFNet 2', {'aji': values + 0.1}), method('a*b*', {'aji': values})]
    )
    body = rows_of(render_markdown(compared), '# Comparison\n')[2:]
    assert [row[0] for row in body] == ['**PFFNet 2**', r'a\*b\*']


def test_quoted_figures_stand_first_marked_and_without_tests(comparison):
    quoted = [load_quoted('pffnet_kumar'), load_quoted('cell_rcnn_v2_kumar')]
    text = render_markdown(comparison, quoted)
    body = rows_of(text, '# Comparison\n')[2:]
    assert body[0][:4] == ['CNN3 [a]', '0.5154 (0.0835)', '0.4989 (0.0806)', '0.5083 (0.0695)']
    assert body[1][4:] == ['–'] * 3  # F1 of DIST is unknown
    assert [row[0] for row in body].count('Cell R-CNN V2 [b]') == 2  # tables 2 and 3
    assert 'CNN3' not in {line.other for line in outcomes(comparison)}
    assert '[a] Quoted from D. Liu et al.' in text and 'not tested' in text


def test_the_reader_is_told_what_was_left_out():
    first = method('A', {'aji': [0.5, np.nan] * 7})
    second = method('B', {'aji': np.linspace(0.1, 0.4, 14)})
    del second.subsets['00']
    text = render_markdown(compare_methods([first, second]))
    assert '1 images left out of everything because a method lacks them: 00 (B).' in text
    assert 'AJI: 7 images left out because a method has no value there: 01, 03' in text


def test_latex_escapes_every_special_character():
    assert escape_latex('50 % & _more_ #1 $x$ {a} ~ ^ \\') == (
        r'50 \% \& \_more\_ \#1 \$x\$ \{a\} \textasciitilde{} \textasciicircum{} '
        r'\textbackslash{}'
    )


def test_latex_tables_have_as_many_cells_as_columns(comparison):
    text = render_latex(comparison, [load_quoted('pffnet_kumar')])
    for block in text.split(r'\begin{tabular}')[1:]:
        layout = block[1 : block.index('}')]
        lines = [line for line in block.splitlines() if line.endswith(r'\\')]
        for line in lines:
            cells = line.replace(r'\&', '').count('&') + 1
            spans = line.count(r'\multicolumn{3}')
            assert cells + 2 * spans == len(layout)
    assert r'50 \% \& \_more\_' in text
    assert r'CNN3\textsuperscript{a}' in text
    assert text.count('{') == text.count('}')


def test_small_p_values_are_powers_of_ten_in_latex(comparison):
    p = comparison.tests['aji']['50 % & _more_'].test.p_t
    mantissa, exponent = f'{p:.2e}'.split('e')
    assert rf'${mantissa} \times 10^{{{int(exponent)}}}$' in render_latex(comparison)


def test_csv_comes_back_as_it_was_written(comparison, tmp_path):
    write_comparison(tmp_path, comparison, [load_quoted('pffnet_kumar')])
    with open(tmp_path / 'table.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    measured = [row for row in rows if row['source'] == 'measured']
    assert len(measured) == 3 * (2 + 2 + 1)  # odd has no F1
    for row in measured:
        spread = comparison.spread(row['method'], row['score'], row['subset'])
        assert (float(row['mean']), float(row['std']), int(row['n'])) == spread
        tested = comparison.tests[row['score']].get(row['method'])
        if tested and row['subset'] == 'all':
            assert float(row['p_t_holm']) == tested.p_t_holm
            assert float(row['ci_low']) == tested.test.ci_low
        else:
            assert row['p_t'] == ''
    dist = [r for r in rows if r['method'] == 'DIST' and r['subset'] == 'all']
    assert [(r['score'], r['mean'], r['p_t']) for r in dist] == [
        ('aji', '0.5598', ''),
        ('dice', '0.7863', ''),
    ]


def test_json_holds_all_figures_and_how_they_came_about(comparison, tmp_path):
    write_comparison(tmp_path, comparison)
    content = json.loads((tmp_path / 'comparison.json').read_text())
    assert content['images'] == IMAGES and content['reference'] == 'PFFNet'
    tests = content['scores']['aji']['tests']
    assert tests['odd']['p_wilcoxon'] == comparison.tests['aji']['odd'].test.p_wilcoxon
    # Identical in F1: no statistic, which JSON writes as null, and p = 1.
    identical = content['scores']['f1']['tests']['50 % & _more_']
    assert (identical['t'], identical['p_t'], identical['n']) == (None, 1, 14)
    assert content['how']['seed'] == 0 and content['versions']['scipy']


def test_findings_say_better_worse_or_neither(comparison):
    tests = comparison.tests
    assert finding('aji', tests['aji']['50 % & _more_']) == 'reference better'
    assert finding('f1', tests['f1']['50 % & _more_']).startswith('identical on every image')
    turned = compare_methods(comparison.methods).tests['aji']
    assert finding('aji', turned['PFFNet']) == 'reference worse (interval)'
    assert finding('aji', turned['odd']) == 'no difference shown'


def test_speed_and_memory_with_what_they_include(comparison):
    values = {'aji': np.linspace(0.1, 0.9, 14)}
    timed = method('A', values, timing=TIMING)
    table, notes = timing_lines(compare_methods([timed, method('B', values)]))
    assert table[1:] == [
        ['A', '4.00 (3.00–5.00)', '250.0 (200.0–300.0)', '3 MiB', '–', '0.07', '1', '20', '5',
         'A CPU'],
    ]  # fmt: skip
    assert notes[1] == 'Included: prediction: the network. Not included: reading images.'
    other = method('B', values, timing={**TIMING, 'device': 'A GPU'})
    assert 'cannot be compared' in timing_lines(compare_methods([timed, other]))[1][-1]
    assert timing_lines(comparison) == ([], [])


@pytest.mark.parametrize(
    'timing', [{'fps': 4}, {**TIMING, 'fps': dict.fromkeys(TIMING['fps'], '')}]
)
def test_a_foreign_timing_file_is_named(timing):
    values = {'aji': np.linspace(0.1, 0.9, 14)}
    foreign = method('A', values, timing=timing)
    with pytest.raises(UserError, match=r'A/timing\.json: is not what tools/test\.py --timing'):
        timing_lines(compare_methods([foreign, method('B', values)]))


def test_quoted_average_precision_stands_beside_pooled_values(comparison):
    values = {'aji': np.linspace(0.1, 0.9, 14)}
    summed = method('A', values, summary={'pooled': {'ap50': 0.9, 'box_ap50': 0.8}})
    compared = compare_methods([summed, method('B', values)])
    rows = pooled_lines(compared, [load_quoted('keypoint_graph_neural')])
    assert rows[:4] == [
        ['method', 'AP50', 'Box AP50'],
        ['A', '0.9000', '0.8000'],
        ['B', '–', '–'],
        ['DCAN [a]', '0.4503', '–'],
    ]
    assert [title for title, _ in definitions(compared)] == ['AJI', 'AP50', 'Box AP50']


def test_pooled_values_come_from_the_summary(comparison):
    values = {'aji': np.linspace(0.1, 0.9, 14), 'pq': np.linspace(0.1, 0.9, 14)}
    summed = method('A', values, summary={'pooled': {'pq': 0.5, 'dq': 0.7}})
    assert pooled_lines(compare_methods([summed, method('B', values)])) == [
        ['method', 'PQ'],
        ['A', '0.5000'],
        ['B', '–'],
    ]
    assert pooled_lines(comparison) == []


@pytest.mark.parametrize(
    ('value', 'text'),
    [(0.61234, '0.6123'), (-0.5, '-0.5000'), (19.1441, '19.14'), (None, '–'), (np.nan, '–')],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ('p', 'text'), [(0.34, '0.340'), (0.0000644, '6.44e-05'), (1, '1.000'), (np.nan, '–')]
)
def test_p_values(p, text):
    assert p_text(p) == text


@pytest.mark.parametrize(
    ('score', 'title'),
    [
        ('aji', 'AJI'),
        ('aji_plus', 'AJI+'),
        ('dice', 'Dice'),
        ('f1', 'F1'),
        ('object_hausdorff', 'Object Hausdorff'),
        ('box_ap50', 'Box AP50'),
        ('matched_iou70', 'Matched IoU70'),
        ('absolute_count_difference', 'Absolute count difference'),
    ],
)
def test_titles_are_those_of_the_papers(score, title):
    assert score_title(score) == title
