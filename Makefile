# One place for commands. `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
USER_STAMP := $(VENV)/.installed
STAMP      := $(VENV)/.installed-dev
# Bytecode is compiled at the first import: compiling all of torch takes longer than the installation.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: demo test test-slow test-real check format clean

$(USER_STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(STAMP): $(USER_STAMP)
	$(PIP) -e '.[dev]'
	touch $@

demo: $(USER_STAMP)          ## simulate a network of hospitals, pre-train, predict at an unseen one, write report.html
	$(BIN)/sojourn demo --out demo

test: $(STAMP)          ## unit and property tests, then the tests on real data (skipped with a reason where there is none)
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow and not real'
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
