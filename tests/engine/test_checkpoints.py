import os

import pytest
import torch
from mmengine.fileio import get_file_backend
from torch import nn

from mmcell.engine.checkpoints import (
    describe_mismatch,
    find_resumable,
    require_checkpoint,
)
from mmcell.engine.errors import CheckpointError


def _save(folder, *names):
    for name in names:
        torch.save({'meta': {}}, folder / name)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_write_that_is_killed_leaves_the_old_file(tmp_path, monkeypatch):
    backend = get_file_backend(backend_args=dict(backend='atomic'))
    path = tmp_path / 'new' / 'iter_4.pth'
    backend.put(b'old', path)
    assert path.read_bytes() == b'old'

    def kill(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', kill)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'new and longer', path)
    assert path.read_bytes() == b'old'
    monkeypatch.undo()
    backend.put(b'new and longer', path)
    assert path.read_bytes() == b'new and longer'
    assert [p.name for p in path.parent.iterdir()] == ['iter_4.pth']


@pytest.mark.parametrize('pointer', ['{folder}/iter_900.pth', '/moved/away/iter_900.pth'])
def test_last_checkpoint_is_believed_even_if_the_folder_moved(tmp_path, pointer):
    _save(tmp_path, 'iter_900.pth', 'iter_1000.pth')
    (tmp_path / 'last_checkpoint').write_text(pointer.format(folder=tmp_path))
    assert find_resumable(tmp_path) == tmp_path / 'iter_900.pth'


def test_a_copied_folder_goes_on_from_its_own_checkpoint(tmp_path):
    for name in ('first', 'copy'):
        (tmp_path / name).mkdir()
        _save(tmp_path / name, 'iter_900.pth')
        (tmp_path / name / 'last_checkpoint').write_text(f'{tmp_path}/first/iter_900.pth')
    assert find_resumable(tmp_path / 'copy') == tmp_path / 'copy' / 'iter_900.pth'
    (tmp_path / 'copy' / 'iter_900.pth').unlink()
    assert find_resumable(tmp_path / 'copy') == tmp_path / 'first' / 'iter_900.pth'


@pytest.mark.parametrize('pointer', ['{folder}/iter_1000.pth', '{folder}/gone.pth', ''])
def test_highest_whole_checkpoint_stands_in_for_a_broken_pointer(tmp_path, pointer):
    _save(tmp_path, 'iter_900.pth', 'iter_80.pth', 'iter_1000.pth', 'best_cell_aji_iter_950.pth')
    _cut(tmp_path / 'iter_1000.pth')
    (tmp_path / 'last_checkpoint').write_text(pointer.format(folder=tmp_path))
    assert find_resumable(tmp_path) == tmp_path / 'iter_900.pth'


def test_nothing_to_resume_from(tmp_path):
    assert find_resumable(tmp_path / 'absent') is None
    (tmp_path / 'iter_1.pth').touch()
    assert find_resumable(tmp_path) is None


def test_checkpoint_must_exist_and_be_whole(tmp_path):
    _save(tmp_path, 'whole.pth', 'cut.pth')
    torch.save({'a': 1}, tmp_path / 'legacy.pth', _use_new_zipfile_serialization=False)
    _cut(tmp_path / 'cut.pth')
    require_checkpoint(tmp_path / 'whole.pth')
    require_checkpoint(tmp_path / 'legacy.pth')
    require_checkpoint('https://example.org/weights.pth')
    with pytest.raises(CheckpointError, match='cut off while it was written'):
        require_checkpoint(tmp_path / 'cut.pth')
    with pytest.raises(CheckpointError, match='cut.pth, legacy.pth, whole.pth'):
        require_checkpoint(tmp_path / 'none.pth')


def test_mismatch_counts_and_names_parameters():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    state = model.state_dict()
    assert describe_mismatch(model, {'state_dict': state, 'meta': {}}) == ''
    assert describe_mismatch(model, state) == ''
    assert describe_mismatch(model, {f'module.{k}': v for k, v in state.items()}) == ''

    other = {f'x{i}': torch.zeros(1) for i in range(4)}
    other |= {'0.weight': torch.zeros(3, 5), '0.bias': state['0.bias']}
    assert describe_mismatch(model, {'state_dict': other}) == (
        '2 missing (1.weight; 1.bias), 4 unexpected (x0; x1; x2; ...), '
        '1 of another shape (0.weight: (3, 5) in the file, (3, 2) in the model)'
    )
