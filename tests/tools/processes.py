"""Running the tools of several processes as a user does."""

import os
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[2] / 'tools'


def run_tool(tool, *arguments, cwd=None, timeout=None):
    """Run a script of ``tools/``, on the CPU wherever tests run; what it prints."""
    done = subprocess.run(
        [TOOLS / tool, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'PYTHON': sys.executable},
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
