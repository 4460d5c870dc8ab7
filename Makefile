# `make run` sets everything up and runs the main job on sample media; `make test` sets everything up and runs all checks.
PYTHON ?= python3.11
BIN := .venv/bin
UV_VERSION := 0.13.9
SYSTEM_TOOLS := kcat java mvn

.PHONY: run test setup lint system kafka faults lock map contract clean

run: setup
	$(BIN)/sensorium demo

test: setup system kafka lint
	$(BIN)/python -m pytest -m "not e2e"
	$(BIN)/python -m pytest -m e2e

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --no-deps --requirement requirements.lock \
		|| $(BIN)/python -m pip install --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m workers.models.weights
	touch $@

# What the tests on real Kafka and with kcat need, and nothing else does.
system:
	@missing=""; for tool in $(SYSTEM_TOOLS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends kcat default-jre-headless maven; \
	else echo "not found:$$missing; the tests that need them will be skipped."; \
		echo "hint: sudo apt-get install kcat default-jre-headless maven"; fi

# The jars of Apache Kafka, for `sensorium up --broker kafka`.
kafka: setup
	@if command -v java >/dev/null && command -v mvn >/dev/null; then $(BIN)/python -m streams.kafka_java prepare; \
	else echo "Apache Kafka needs Java 17 and Maven. hint: sudo apt-get install default-jre-headless maven"; fi

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: setup
	$(BIN)/uv pip compile --system-certs --universal --python-version 3.11 --extra local --extra dev --no-annotate \
		pyproject.toml --output-file requirements.lock

# Faults on real parts, a table in the end: half an hour.
faults: setup system kafka
	$(BIN)/python -m tests.faults

# The list of all files in the README.
map: setup
	$(BIN)/python -m tests.readme_map

# The contract of all topics, for consumers in any language.
contract: setup
	$(BIN)/python -m streams.contract docs/asyncapi.json

clean:
	rm -rf .venv .sensorium
