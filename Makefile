# `make` or `make help` lists the targets. Everything runs in .venv where there is one, else in the Python on the PATH.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
DIPS = $(PYTHON) -m dips
PARALLEL = --numprocesses=auto

.DEFAULT_GOAL := help
.PHONY: help install check lint format types imports docs docs-check test coverage demo clean

help:  ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed 's/%/NAME/' | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install:  ## make .venv with an editable install, the embedded weights and all tools
	python3 -m venv .venv
	.venv/bin/python -m pip install -c constraints.txt -e ".[demo,dev]"

check: lint types imports docs-check test  ## every check, as CI runs them

lint:  ## style and formatting, changes nothing
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format:  ## put style and formatting right
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types:  ## static types
	$(PYTHON) -m mypy

imports:  ## which module may import which
	PYTHONPATH=src $(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-logo

docs:  ## write docs/settings.md from the settings in the code
	PYTHONPATH=src $(PYTHON) docs/make_settings.py

docs-check:  ## is docs/settings.md what `make docs` would write?
	PYTHONPATH=src $(PYTHON) docs/make_settings.py --check

test:  ## the tests
	$(PYTHON) -m pytest $(PARALLEL)

coverage:  ## the tests, and which lines they do not reach
	$(PYTHON) -m pytest $(PARALLEL) --cov --cov-report=term-missing:skip-covered

demo:  ## what `dips demo` does
	$(DIPS) demo

bench-%:  ## run the measurement bench/NAME.py
	$(PYTHON) bench/$*.py

clean:  ## remove caches, builds and .venv
	rm -rf .venv build dist .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests bench docs -name __pycache__ -type d -exec rm -rf {} +
