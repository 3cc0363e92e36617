"""The command ``mmcell``: parses, then makes one call."""

from __future__ import annotations

import sys

import click

import mmcell
from mmcell.evaluation.cli import evaluate
from mmcell.evaluation.compare_cli import compare
from mmcell.inference.cli import predict
from mmcell.inference.seam_cli import seam_check


@click.group(context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(mmcell.__version__, prog_name='mmcell')
def main() -> None:
    """Biomedical instance segmentation on MMDetection."""


@main.command()
def doctor() -> None:
    """Say what this installation has, what it lacks, and what to type about it."""
    from mmcell.doctor import main as run_doctor

    sys.exit(run_doctor())


main.add_command(predict)
main.add_command(seam_check)
main.add_command(evaluate)
main.add_command(compare)
