import contextlib
import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

import mmcell
from mmcell.engine.errors import ConfigError
from mmcell.functional.intensity import sample_windows
from mmcell.inference import command
from mmcell.inference.cli import predict
from mmcell.inference.distribution import worker_pool
from mmcell.inference.writers.labels import LabelsWriter
from mmcell.inference.writers.tables import CsvWriter

ALL = 'labels,geojson,rois,csv,overlay,coco'
SUFFIXES = ('.tif', '.geojson', '_rois.zip', '.csv', '.png', '.json')


@pytest.fixture
def folder(tmp_path, scene):
    """Images a, b and c; b is empty."""
    images = tmp_path / 'images'
    images.mkdir()
    for name, image in (('a', scene()), ('b', 0 * scene()), ('c', scene()[:, ::-1])):
        cv2.imwrite(str(images / f'{name}.png'), image)
    return images


@pytest.fixture
def run(files):
    """``run(*arguments)`` is ``mmcell predict`` with the model of bright objects."""
    config, checkpoint = files
    model = ('--model', config, '--checkpoint', checkpoint, '--device', 'cpu')

    def call(*arguments):
        result = CliRunner().invoke(predict, [str(word) for word in (*model, *arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def snapshot(folder):
    """Contents of all results that do not hold the time of day."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.name not in ('run.json', 'summary.csv')
    }


def damage(image):
    """Cut a file off in the middle."""
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


def test_every_image_gets_every_file_and_a_row(run, folder, tmp_path):
    result = run(folder, '--out', tmp_path / 'out', '--save', ALL)
    assert result.exit_code == 0, result.output
    assert '3 images done' in result.output
    for name in 'abc':
        found = [p.name for p in (tmp_path / 'out').glob(f'*/{name}[._]*')]
        assert sorted(found) == sorted(name + suffix for suffix in SUFFIXES)
    summary = rows(tmp_path / 'out/summary.csv')
    assert [row['name'] for row in summary] == ['a', 'b', 'c']
    assert [row['objects'] for row in summary] == ['2', '0', '2']
    assert [row['mean_area_px'] for row in summary] == ['34.0', '', '34.0']
    assert summary[0]['image'] == str(folder / 'a.png') and summary[0]['page'] == '1/1'
    assert not (tmp_path / 'out/failures.csv').exists()
    assert not list((tmp_path / 'out').rglob('*.part'))


def test_the_command_writes_what_python_gives(run, files, folder, tmp_path):
    run(folder, '--out', tmp_path / 'out', '--save', 'labels,csv')
    predictions = mmcell.load(*files, device='cpu').predict([folder])
    for name, prediction in zip('abc', predictions, strict=True):
        labels = tifffile.imread(tmp_path / f'out/labels/{name}.tif')
        np.testing.assert_array_equal(labels, prediction.labels)
        prediction.save(tmp_path / f'{name}.csv')
        written = (tmp_path / f'out/tables/{name}.csv').read_text()
        assert (tmp_path / f'{name}.csv').read_text() == written


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_broken_files_are_named_and_the_others_are_done(run, folder, tmp_path, scene, batch_size):
    damage(folder / 'b.png')
    confusing = np.zeros((40, 50), np.uint8)
    confusing[5, 5:18] = 255  # the model gives up
    cv2.imwrite(str(folder / 'd.png'), confusing)
    tifffile.imwrite(folder / 'e.tif', scene())
    damage(folder / 'e.tif')
    result = run(folder, '--out', tmp_path / 'out', '--batch-size', batch_size)
    assert result.exit_code == 1
    assert '2 images done' in result.output and f'failed: {folder}/b.png: ' in result.output
    failures = {
        Path(row['image']).name: row['error'] for row in rows(tmp_path / 'out/failures.csv')
    }
    assert sorted(failures) == ['b.png', 'd.png', 'e.tif']
    assert failures['d.png'] == 'the network is confused'
    assert failures['b.png'].startswith('cannot be decoded')
    assert [row['name'] for row in rows(tmp_path / 'out/summary.csv')] == ['a', 'c']
    assert sorted(p.name for p in (tmp_path / 'out/labels').iterdir()) == ['a.tif', 'c.tif']
    assert json.loads((tmp_path / 'out/run.json').read_text())['status'] == 'failures'


def test_a_file_of_several_images_gives_several_results(run, folder, tmp_path, scene):
    pages = np.stack([scene(), 0 * scene(), scene()])
    tifffile.imwrite(
        folder / 'stack.tif', pages, photometric='minisblack', metadata={'axes': 'ZYX'}
    )
    run(folder / 'stack.tif', '--out', tmp_path / 'out')
    summary = rows(tmp_path / 'out/summary.csv')
    assert [(row['page'], row['objects']) for row in summary] == [
        ('1/3', '2'),
        ('2/3', '0'),
        ('3/3', '2'),
    ]
    assert [p.name for p in sorted((tmp_path / 'out/labels').iterdir())] == [
        f'stack_page00{k}.tif' for k in (1, 2, 3)
    ]
    (tmp_path / 'out/labels/stack_page002.tif').unlink()
    again = run(folder / 'stack.tif', '--out', tmp_path / 'out', '--resume')
    assert '1 images done, 2 of a former run kept' in again.output


def test_results_are_never_mixed(run, folder, tmp_path):
    out = tmp_path / 'out'
    run(folder, '--out', out)
    refused = run(folder, '--out', out)
    assert refused.exit_code == 1 and 'holds results already: --resume' in refused.output
    both = run(folder, '--out', out, '--resume', '--overwrite')
    assert both.exit_code == 1 and '--overwrite deletes them' in both.output
    (tmp_path / 'foreign').mkdir()
    (tmp_path / 'foreign/summary.csv').touch()
    foreign = run(folder, '--out', tmp_path / 'foreign', '--overwrite')
    assert foreign.exit_code == 1 and 'summary.csv but no run.json' in foreign.output
    cv2.imwrite(str(folder / 'a.bmp'), np.zeros((4, 4), np.uint8))
    twice = run(folder, '--out', tmp_path / 'new')
    assert twice.exit_code == 1 and 'would have one name: ' in twice.output
    assert not (tmp_path / 'new').exists()


def test_overwrite_deletes_what_the_former_run_wrote_and_nothing_else(run, folder, tmp_path):
    out = tmp_path / 'out'
    run(folder, '--out', out, '--save', 'labels,csv')
    (out / 'labels/mine.tif').touch()
    result = run(folder / 'a.png', '--out', out, '--save', 'labels', '--overwrite')
    assert '1 images done' in result.output
    left = [str(p.relative_to(out)) for p in sorted(out.rglob('*')) if p.is_file()]
    assert left == ['labels/a.tif', 'labels/mine.tif', 'model_config.py', 'run.json', 'summary.csv']


def test_files_that_no_run_wrote_are_never_replaced(run, folder, tmp_path):
    """Annotations beside the images, in the folder that results are to go to."""
    out = tmp_path
    (out / 'labels').mkdir()
    (out / 'labels/a.tif').write_text('drawn by hand')
    for more in ((), ('--resume',), ('--overwrite',)):
        result = run(folder, '--out', out, '--save', 'labels,csv', *more)
        assert result.exit_code == 1
        (failure,) = rows(out / 'failures.csv')
        assert f'{out / "labels/a.tif"} is there already, and no run in this' in failure['error']
        assert (out / 'labels/a.tif').read_text() == 'drawn by hand'
        assert [row['name'] for row in rows(out / 'summary.csv')] == ['b', 'c']
    (out / 'labels/a.tif').unlink()
    result = run(folder, '--out', out, '--save', 'csv,labels', '--resume')
    assert result.exit_code == 0 and '1 images done, 2 of a former run kept' in result.output


@pytest.mark.parametrize('end', [KeyboardInterrupt, SystemExit])
def test_a_run_killed_while_files_get_their_names_is_resumed(
    run, folder, tmp_path, monkeypatch, end
):
    out, publish = tmp_path / 'out', CsvWriter.publish

    def kill(self):
        if self.path.stem == 'b':
            raise end
        publish(self)

    def keep(path):
        """What a killed process does not get to."""

    monkeypatch.setattr(CsvWriter, 'publish', kill)
    monkeypatch.setattr('mmcell.inference.writers.opening.remove', keep)
    with contextlib.suppress(KeyboardInterrupt):
        run(folder, '--out', out, '--save', 'labels,csv')
    assert sorted(p.name for p in (out / 'labels').iterdir()) == ['a.tif', 'b.tif']
    assert [p.name for p in (out / 'tables').glob('*.csv')] == ['a.csv']
    monkeypatch.undo()
    result = run(folder, '--out', out, '--save', 'labels,csv', '--resume')
    assert result.exit_code == 0 and '2 images done, 1 of a former run kept' in result.output
    assert [row['name'] for row in rows(out / 'summary.csv')] == ['a', 'b', 'c']


def test_results_without_some_of_their_files_stay_until_they_are_done_anew(
    run, folder, tmp_path, monkeypatch
):
    """As where overlays were deleted to make room, and the run that is to go on ends early."""
    out, publish = tmp_path / 'out', CsvWriter.publish
    run(folder, '--out', out, '--save', 'labels,csv')
    shutil.rmtree(out / 'tables')
    kept = (out / 'labels/c.tif').read_bytes()

    def stop(self):
        if self.path.stem == 'b':
            raise KeyboardInterrupt
        publish(self)

    monkeypatch.setattr(CsvWriter, 'publish', stop)
    for done in (['a'], ['a']):
        with contextlib.suppress(KeyboardInterrupt):
            run(folder, '--out', out, '--save', 'labels,csv', '--resume')
        assert (out / 'labels/c.tif').read_bytes() == kept
        assert [p.stem for p in (out / 'tables').glob('*.csv')] == done
        assert 'c' in json.loads((out / 'run.json').read_text())['incomplete']
    monkeypatch.undo()
    result = run(folder, '--out', out, '--save', 'labels,csv', '--resume')
    assert result.exit_code == 0 and '2 images done, 1 of a former run kept' in result.output
    assert json.loads((out / 'run.json').read_text())['incomplete'] == []


def test_an_image_whose_files_get_no_name_is_not_noted(run, folder, tmp_path, monkeypatch):
    out, publish = tmp_path / 'out', CsvWriter.publish

    def refuse(self):
        if self.path.stem == 'b':
            raise PermissionError(13, 'Permission denied')
        publish(self)

    monkeypatch.setattr(CsvWriter, 'publish', refuse)
    result = run(folder, '--out', out, '--save', 'labels,csv')
    assert result.exit_code == 1 and '2 images done' in result.output
    assert [row['name'] for row in rows(out / 'summary.csv')] == ['a', 'c']
    assert [row['name'] for row in rows(out / 'failures.csv')] == ['b']
    assert not list(out.glob('*/b.*'))
    assert json.loads((out / 'run.json').read_text())['images_done'] == 2
    monkeypatch.undo()
    assert run(folder, '--out', out, '--save', 'labels,csv', '--resume').exit_code == 0


def test_resume_does_the_images_that_a_file_has_gained(run, tmp_path, scene):
    stack, out = tmp_path / 'stack.tif', tmp_path / 'out'

    def write(count):
        pages = np.stack([scene()] * count)
        tifffile.imwrite(stack, pages, photometric='minisblack', metadata={'axes': 'ZYX'})

    write(2)
    run(stack, '--out', out, '--save', 'labels')
    write(3)
    os.utime(stack, (later := time.time() + 10, later))
    result = run(stack, '--out', out, '--save', 'labels', '--resume')
    assert '1 images done, 2 of a former run kept' in result.output
    assert len(list((out / 'labels').iterdir())) == 3


def test_overwrite_with_an_option_that_is_wrong_deletes_nothing(run, folder, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    run(folder, '--out', out, '--save', 'labels')
    before = snapshot(out)

    def no_workers(*args):
        raise ConfigError('no scheduler there')

    monkeypatch.setattr(command, 'worker_pool', no_workers)
    result = run(folder, '--out', out, '--save', 'csv', '--overwrite', '--scheduler', 'tcp://x:1')
    assert result.exit_code == 1 and 'no scheduler there' in result.output
    assert snapshot(out) == before


def test_resume_takes_no_results_of_another_image_for_its_own(run, folder, tmp_path):
    out, other = tmp_path / 'out', tmp_path / 'other'
    run(folder / 'a.png', '--out', out, '--save', 'labels')
    other.mkdir()
    (folder / 'a.png').rename(other / 'kept.png')
    (other / 'a.png').write_bytes((folder / 'b.png').read_bytes())
    # The image has moved: its results stay.
    moved = run(other / 'a.png', '--out', out, '--save', 'labels', '--resume')
    assert moved.exit_code == 0 and '1 of a former run kept' in moved.output
    (other / 'kept.png').rename(folder / 'a.png')
    both = run(other / 'a.png', '--out', out, '--save', 'labels', '--resume')
    assert both.exit_code == 1
    assert f'results named a are there already, of {folder / "a.png"}' in both.output


def test_the_same_name_in_another_folder_is_another_image(run, folder, tmp_path, monkeypatch):
    out, other = tmp_path / 'out', tmp_path / 'other' / folder.name
    other.mkdir(parents=True)
    (other / 'a.png').write_bytes((folder / 'b.png').read_bytes())
    monkeypatch.chdir(tmp_path)
    run(f'{folder.name}/a.png', '--out', out, '--save', 'labels')
    monkeypatch.chdir(tmp_path / 'other')
    result = run(folder.name, '--out', out, '--save', 'labels', '--resume')
    assert result.exit_code == 1
    assert f'results named a are there already, of {folder / "a.png"}' in result.output


def test_a_folder_that_cannot_be_made_is_named(run, folder, tmp_path, monkeypatch):
    def refuse(self, **kwargs):
        raise PermissionError(13, 'Permission denied', str(self))

    monkeypatch.setattr(Path, 'mkdir', refuse)
    result = run(folder, '--out', tmp_path / 'out')
    assert result.exit_code == 1
    assert f'{tmp_path / "out"} cannot be made (Permission denied): choose' in result.output


@pytest.mark.parametrize('method', ['write_text', 'unlink'])
def test_a_folder_that_cannot_be_written_to_is_named(run, folder, tmp_path, monkeypatch, method):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, 'Permission denied', str(self))

    (tmp_path / 'out').mkdir()
    monkeypatch.setattr(Path, method, refuse)
    result = run(folder, '--out', tmp_path / 'out')
    assert result.exit_code == 1
    assert f'{tmp_path / "out"} cannot be written to (Permission denied)' in result.output


def test_a_disk_that_fills_up_ends_the_run_and_resume_goes_on(run, folder, tmp_path, monkeypatch):
    out, opened = tmp_path / 'out', open

    class FullDisk(io.StringIO):
        """The summary, whose second row finds no room."""

        def flush(self):
            if self.getvalue().count('.png') > 1:
                raise OSError(errno.ENOSPC, 'No space left on device')
            (out / 'summary.csv').write_text(self.getvalue())

        def close(self):
            self.flush()

    def open_file(path, mode, **kwargs):
        is_summary = Path(path).name == 'summary.csv' and mode == 'w'
        return FullDisk(newline='') if is_summary else opened(path, mode, **kwargs)

    monkeypatch.setattr('mmcell.inference.run_folder.open', open_file, raising=False)
    result = run(folder, '--out', out)
    assert result.exit_code == 1
    assert 'cannot be written to (No space left on device)' in result.output
    monkeypatch.undo()
    assert json.loads((out / 'run.json').read_text())['status'] == 'interrupted'
    result = run(folder, '--out', out, '--resume')
    assert result.exit_code == 0 and '2 images done, 1 of a former run kept' in result.output


def test_a_name_that_is_no_utf_8_fails_its_image_alone(run, folder, tmp_path):
    os.rename(folder / 'b.png', os.fsencode(folder) + b'/Pr\xe4parat.png')
    for more in ((), ('--resume',)):
        result = run(folder, '--out', tmp_path / 'out', *more)
        assert result.exit_code == 1 and 'is not valid UTF-8' in result.output
        assert [row['name'] for row in rows(tmp_path / 'out' / 'summary.csv')] == ['a', 'c']
    dry = run(folder, '--dry-run')
    assert dry.exit_code == 1 and '2 images can be read, 1 cannot' in dry.output


def test_a_cluster_gets_absolute_paths(run, files, folder, tmp_path, monkeypatch):
    seen = {}

    def run_here(workers, scheduler):
        seen['scheduler'] = scheduler
        return worker_pool(0, None)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, 'worker_pool', run_here)
    arguments = [folder.name, '--model', 'model/config.py', '--checkpoint', 'model/weights.pth']
    arguments += ['--out', 'out', '--scheduler', 'tcp://x:1', '--save', 'labels']
    result = CliRunner().invoke(predict, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    assert seen == {'scheduler': 'tcp://x:1'}
    assert {Path(row['image']).parent for row in rows(tmp_path / 'out/summary.csv')} == {folder}
    record = json.loads((tmp_path / 'out/run.json').read_text())
    assert str(files[0]) in json.dumps(record) and str(files[1]) in json.dumps(record)


def test_resume_does_what_is_missing(run, folder, tmp_path, bright_objects):
    out = tmp_path / 'out'
    broken = (folder / 'c.png').read_bytes()
    damage(folder / 'c.png')
    assert run(folder, '--out', out, '--save', ALL).exit_code == 1
    (out / 'tables/a.csv').unlink()
    (folder / 'c.png').write_bytes(broken)
    bright_objects.calls = 0
    result = run(folder, '--out', out, '--save', ALL, '--resume', '--batch-size', 2)
    assert result.exit_code == 0 and '2 images done, 1 of a former run kept' in result.output
    assert bright_objects.calls == 1  # a and c together
    assert [row['name'] for row in rows(out / 'summary.csv')] == ['b', 'a', 'c']
    assert not (out / 'failures.csv').exists()
    record = json.loads((out / 'run.json').read_text())
    assert [run['status'] for run in record['earlier_runs']] == ['failures']
    run(folder, '--out', tmp_path / 'at_once', '--save', ALL)
    assert snapshot(out) == snapshot(tmp_path / 'at_once')


def test_resume_refuses_other_settings_and_says_which(run, files, folder, tmp_path):
    out = tmp_path / 'out'
    run(folder, '--out', out)
    other = run(folder, '--out', out, '--resume', '--score-threshold', '0.4', '--save', 'csv')
    assert other.exit_code == 1
    assert "save was ['labels', 'csv', 'overlay'], is ['csv']" in other.output
    assert 'score_threshold was 0.5, is 0.4' in other.output
    files[0].write_text(files[0].read_text().replace('200', '300'))
    other = run(folder, '--out', out, '--resume')
    assert other.exit_code == 1 and 'config_sha256 was' in other.output


def test_run_json_says_how_results_were_made(run, files, folder, tmp_path):
    run(folder, '--out', tmp_path / 'out', '--percentiles', '1', '99', '--model-mpp', '0.25')
    record = json.loads((tmp_path / 'out/run.json').read_text())
    settings = record['settings']
    checksum = subprocess.check_output(['sha256sum', files[1]], text=True).split()[0]
    assert settings['weights_sha256'] == checksum
    assert settings['percentiles'] == [1, 99] and settings['seed'] == 0
    assert record['mmcell'] == mmcell.__version__ and 'torch' in record['packages']
    assert record['licence'].startswith('not stated')
    assert record['model_mpp'] == 0.25 and '(1.0, 99.0)' in record['normalisation']
    assert record['status'] == 'done' and record['images_done'] == 3
    assert record['started'] <= record['ended']
    assert (tmp_path / 'out/model_config.py').read_text().count('BrightObjects') == 1
    remark = "pixel size unknown, the model's 0.25 microns assumed: give --mpp"
    assert [row['remarks'] for row in rows(tmp_path / 'out/summary.csv')] == [remark] * 3


def test_a_dry_run_reports_and_writes_nothing(run, folder, tmp_path, scene):
    path = folder / 'd [x=64,w=50].tif'
    tifffile.imwrite(path, scene(3000, np.uint16), photometric='minisblack')
    (folder / 'broken.png').touch()
    before = sorted(tmp_path.rglob('*'))
    result = run(folder, '--out', tmp_path / 'out', '--dry-run')
    assert sorted(tmp_path.rglob('*')) == before
    assert result.exit_code == 1
    assert '4 images can be read, 1 cannot; 4 tiles' in result.output
    assert 's a tile on cpu: about ' in result.output
    (line,) = [line for line in result.output.splitlines() if path.name in line]
    for word in ('50 x 40', 'YX', 'uint16', '0..3000', '?', '1'):
        assert word in line


def test_a_dry_run_needs_no_model(folder):
    result = CliRunner().invoke(predict, [str(folder), '--dry-run'])
    assert result.exit_code == 0 and '3 images can be read' in result.output


def test_a_dry_run_names_damage_that_only_its_timing_meets(run, tmp_path):
    path, side, rows = tmp_path / 'a.tif', 1400, 4
    tifffile.imwrite(path, np.zeros((side, side), np.uint8), compression='zlib', rowsperstrip=rows)
    # Those that the look at the image decodes.
    windows = sample_windows(side, side, 2**20)
    seen = {row // rows for _, y1, _, y2 in windows for row in range(y1, y2)}
    strip = min({*range(side // rows)} - seen)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[strip]
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(b'nonsense')
    result = run(path, '--dry-run', '--tile', side)
    assert result.exit_code == 1 and '1 images can be read' in result.output
    assert f'failed: {path}: cannot be decoded at' in result.output


def test_tiles_of_glass_are_neither_done_nor_counted(run, bright_objects, tmp_path, monkeypatch):
    monkeypatch.setattr('mmcell.inference.options._LARGE_PIXELS', 1000)
    glass = np.full((600, 900, 3), 240, np.uint8)
    image = cv2.circle(glass, (130, 150), 60, (190, 100, 160), -1)
    cv2.imwrite(str(tmp_path / 'slide.png'), image)

    def tiles_and_calls(*arguments):
        arguments = (tmp_path / 'slide.png', '--tile', 100, '--overlap', 8, *arguments)
        report = run(*arguments, '--dry-run').output
        (told,) = re.findall(r'; (\d+) tiles$', report, re.MULTILINE)
        bright_objects.calls = 0
        run(*arguments, '--out', tmp_path / 'out', '--overwrite')
        return int(told), bright_objects.calls, report

    every, calls, report = tiles_and_calls('--all-tiles')
    assert every == calls and 'no tissue' not in report
    told, calls, report = tiles_and_calls()
    assert 0 < told == calls < every / 2
    assert f'{every - told} more tiles show no tissue' in report


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--save', 'label'], "cannot save 'label'"),
        (['--save', ''], '--save names nothing'),
        (['--workers', '2', '--scheduler', 'tcp://x:1'], 'not both'),
        (['--percentiles', '99', '1'], 'percentiles'),
        (['--score-threshold', '2'], 'not in the range'),
        (['--tile', '0'], 'not in the range'),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    run, folder, tmp_path, options, message
):
    result = run(folder, '--out', tmp_path / 'out', *options)
    assert result.exit_code != 0 and message in result.output
    assert not (tmp_path / 'out').exists()


def test_what_is_missing_is_said(folder, tmp_path):
    def output(*arguments):
        result = CliRunner().invoke(predict, [str(word) for word in arguments])
        assert result.exit_code == 1
        return result.output

    assert '--model and --checkpoint and --out missing' in output(folder)
    assert 'belong together' in output(folder, '--model', 'x', '--dry-run')
    assert 'no such file or folder' in output(tmp_path / 'none', '--dry-run')


def test_an_unreadable_folder_is_named(run, folder, tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, 'Permission denied', str(self))

    monkeypatch.setattr(Path, 'iterdir', refuse)
    result = run(folder, '--out', tmp_path / 'out')
    assert result.exit_code == 1
    assert f'{folder}: cannot be read: Permission denied' in result.output


def test_a_result_that_cannot_be_written_fails_its_image_alone(run, folder, tmp_path, monkeypatch):
    add = LabelsWriter.add

    def full_disk(self, batch):
        if self.path.stem == 'a':
            raise OSError(errno.ENOSPC, 'No space left on device')
        add(self, batch)

    monkeypatch.setattr(LabelsWriter, 'add', full_disk)
    result = run(folder, '--out', tmp_path / 'out')
    assert result.exit_code == 1
    (failure,) = rows(tmp_path / 'out/failures.csv')
    assert failure['name'] == 'a' and 'No space left on device. Make room' in failure['error']
    assert [row['name'] for row in rows(tmp_path / 'out/summary.csv')] == ['b', 'c']
    assert not list((tmp_path / 'out').glob('*/a.*'))


def test_ctrl_c_keeps_what_is_done_and_resume_goes_on(run, files, folder, tmp_path, ctrl_c):
    out = tmp_path / 'out'
    command = [sys.executable, '-m', 'mmcell', 'predict', folder, '--model', files[0]]
    command += ['--checkpoint', files[1], '--out', out, '--device', 'cpu', '--save', ALL]
    process = subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, 'BRIGHT_OBJECTS_S': '2'},
        stderr=subprocess.PIPE,
        text=True,
    )
    summary = out / 'summary.csv'
    while not (summary.exists() and len(rows(summary)) == 1):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and 'interrupted; what is finished is kept' in errors
    assert 'Traceback' not in errors
    assert [row['name'] for row in rows(summary)] == ['a']
    assert not list(out.rglob('*.part'))
    assert json.loads((out / 'run.json').read_text())['status'] == 'interrupted'
    result = run(folder, '--out', out, '--save', ALL, '--resume')
    assert result.exit_code == 0 and '2 images done, 1 of a former run kept' in result.output
    run(folder, '--out', tmp_path / 'at_once', '--save', ALL)
    assert snapshot(out) == snapshot(tmp_path / 'at_once')
