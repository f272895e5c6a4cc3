# Short names for what is done often. Each target is one plain command; without make, type the command.
# PYTHON=.venv/bin/python make test   (or: make test PYTHON=python)

PYTHON ?= python

.PHONY: test lint golden demo

test:
	$(PYTHON) -m pytest

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

# makes the golden bundle and its expected answers anew and shows what has changed
golden:
	$(PYTHON) tests/golden/make.py

demo:
	$(PYTHON) -m flawscope demo --out runs/demo
