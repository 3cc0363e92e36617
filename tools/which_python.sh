#!/usr/bin/env bash
# Print the Python to run tools with: $PYTHON, that of an active environment, the project's .venv.
set -euo pipefail
venv_python=$(cd "$(dirname "$0")/.." && pwd)/.venv/bin/python
if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON"
elif [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$venv_python" ]; then
    echo "$venv_python"
else
    echo python
fi
