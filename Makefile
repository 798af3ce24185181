# `make demo` and `make test` are all a newcomer needs; both bring what they need into .venv.
# Only python3 (3.11 or later) and make have to be there already.
.DELETE_ON_ERROR:
.PHONY: demo test test-full bench chaos picture lint types imports check lock clean

# Each of the many processes that the tests start would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python -P

demo: .venv/ready
	@$(PY) -m runner demo

# The picture in the README, recorded from a real run of the demo.
picture: .venv/ready
	@$(PY) docs/record_demo.py

test: .venv/ready
	@$(PY) -m pytest -q -n 4 --dist worksteal -m "not full"

# The same and what takes long, or needs the history: an upgrade from the last release.
test-full: .venv/ready
	@$(PY) -m pytest -q -n 4 --dist worksteal

bench: .venv/ready
	@$(PY) -m bench $(NAMES)

# Everything goes wrong at random while 100 jobs run, ten times over; then the books are audited.
chaos: .venv/ready
	@$(PY) -m bench.chaos --jobs 100 --seeds 10

lint: .venv/ready
	@$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .

types: .venv/ready
	@$(PY) -m mypy

imports: .venv/ready
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

check: test lint types imports

.venv/ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gpu-job-runner needs Python 3.11 or later; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv (once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# After a change of the dependencies in pyproject.toml.
lock: .venv/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/python -m uv pip compile --universal --generate-hashes --no-emit-index-url --no-header -q \
	  pyproject.toml --extra postgres --extra s3 -o requirements.lock
	@$(BIN)/python -m uv pip compile --universal --generate-hashes --no-emit-index-url --no-header -q \
	  pyproject.toml --extra postgres --extra s3 --group dev -c requirements.lock -o requirements-dev.lock
	@$(BIN)/python -m uv pip compile --universal --generate-hashes --no-emit-index-url --no-header -q \
	  --group build -c requirements-dev.lock -o requirements-build.lock

clean:
	rm -rf .venv
