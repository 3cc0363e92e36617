import argparse

import pytest

from mmcell.engine.options import add_config_options


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    add_config_options(parser, 'a=1')
    return lambda *options: parser.parse_args(['--cfg-options', *options]).cfg_options


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('my cells/a b.json', 'my cells/a b.json'),
        ('"my cells"', 'my cells'),
        ('cells (1)', 'cells (1)'),
        (' False', False),
        ('None ', None),
        (' [1]', [1]),
        ('8e-4', 8e-4),
        ('3', 3),
        ('None', None),
        ('True', True),
        ('a=b', 'a=b'),
        ('(160, 160)', (160, 160)),
        ('[a, (1, 2)]', ['a', (1, 2)]),
        ('1,2', [1, 2]),
    ],
)
def test_values(parse, text, value):
    assert parse(f'x.y={text}', 'z=1') == {'x.y': value, 'z': 1}


@pytest.mark.parametrize('text', ["[dict(type='A',b=[1])]", '[1,(2]'])
def test_what_is_no_list_is_named(parse, capsys, text):
    with pytest.raises(SystemExit):
        parse(f'evaluator={text}')
    assert (
        f'cannot read evaluator={text}: values are numbers, words and lists'
        in capsys.readouterr().err
    )


def test_what_has_no_value_is_named(parse, capsys):
    with pytest.raises(SystemExit):
        parse('a=1', 'data_root')
    assert "--cfg-options: expected KEY=VALUE, got 'data_root'" in capsys.readouterr().err
