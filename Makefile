# Two commands: `make run` sets everything up and runs the main job on sample media; `make test` sets everything up and tests.
PYTHON ?= python3.11
BIN := .venv/bin
UV_VERSION := 0.13.9

.PHONY: run test setup lint fast e2e lock clean

run: setup
	$(BIN)/sensorium demo

test: setup lint
	$(BIN)/python -m pytest -m "not e2e"
	$(BIN)/python -m pytest -m e2e

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --no-deps -r requirements.lock \
		|| $(BIN)/python -m pip install --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m workers.models.weights
	touch $@

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock:
	$(BIN)/uv pip compile --system-certs --universal --python-version 3.11 --extra local --extra dev --no-annotate pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .sensorium
