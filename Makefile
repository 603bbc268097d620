# Everything happens in this checkout: the environment in .venv, exported models in artifacts, the queue in .whyserve.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test install lint bench-explain bench-predict

run: install
	@$(BIN)/whyserve up

test: install lint
	@$(BIN)/whyserve export
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)

# torch first and by its exact version: without it the others would bring a build with gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[export,api,worker,dev]'
	@touch $@

bench-explain: install
	$(BIN)/python -m benchmarks.explain

bench-predict: install
	$(BIN)/python -m benchmarks.predict
