# make setup | demo | test | lint | clean
# The Python of a .venv that is there, else one of the tested ones.
PYTHON ?= $(firstword $(shell test -x .venv/bin/python && echo .venv/bin/python) $(foreach name,python3.11 python3.12 python3.10 python3,$(shell command -v $(name) 2>/dev/null)))
VENV_PYTHON := .venv/bin/python
NEEDS := mmcell needs Python 3.10 to 3.12 (say PYTHON=python3.11 make setup)
# Older ones cannot read setup.py, which would tell.
CHECK := import sys; sys.exit(sys.version_info < (3, 10) and '$(NEEDS), this is ' + sys.version.split()[0])

.PHONY: setup demo test lint clean

setup:  ## make .venv with the tested stack; a second call takes a moment
	@$(if $(PYTHON),,$(error $(NEEDS), found none))
	@$(PYTHON) -c "$(CHECK)"
	@$(PYTHON) scripts/setup.py

demo: setup  ## train, test and predict on generated cells
	$(VENV_PYTHON) tools/demo.py

test: setup  ## a process per core, up to four; e.g. make test PYTEST_ARGS='-k fusion -n 0'
	$(VENV_PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

lint: setup
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

clean:  ## everything generated but .venv, .setup, data and work_dirs
	rm -rf build dist .dist_test mmcell.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mmcell tests tools configs -name __pycache__ -prune -exec rm -rf {} +
