# One place for commands. `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-slow test-real check format clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)          ## simulate a network of hospitals, pre-train, predict at an unseen one, write report.html
	$(BIN)/sojourn demo --out demo

test: $(STAMP)          ## unit and property tests, then the tests on real data (skipped with a reason where there is none)
	$(BIN)/pytest -m 'not slow and not real'
	$(BIN)/pytest -m real tests

test-slow: $(STAMP)
	$(BIN)/pytest -m slow tests

check: $(STAMP)         ## lint, format, types, borders between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
