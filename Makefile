# Everything happens in this checkout: the environment in .venv, exported models in artifacts, the queue in .whyserve.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir -c constraints.txt
KSERVE := .venv-kserve
AUDIT := .venv-audit

.PHONY: run test test-docker test-fuzz test-faults test-ui install lint ui bench-explain bench-predict bench-deploy bench-queue soak audit sbom

run: install
	@$(BIN)/whyserve up

# The methods' own tests take one core for minutes and need nothing else: they run beside the others.
test: install lint $(KSERVE)/.installed
	@$(BIN)/whyserve export
	@mkdir -p .whyserve; nice $(BIN)/python -m pytest tests/explain > .whyserve/explain.log 2>&1 & beside=$$!; \
	$(BIN)/python -m pytest --ignore=tests/explain; rest=$$?; \
	wait $$beside; found=$$?; cat .whyserve/explain.log; exit $$((rest | found))

# Builds the images and runs them: it needs a Docker engine, and minutes.
test-docker: install
	$(BIN)/python -m pytest -m docker tests/docker

# In Debian's Chromium; where there is npm, the page is also built again and compared.
test-ui: install
	@$(BIN)/whyserve export
	@if command -v npm >/dev/null; then npm --prefix ui ci --silent; fi
	$(BIN)/python -m pytest -m ui tests/ui

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)

# torch first and by its exact version: without it the others would bring a build with gigabytes of CUDA.
# resemblyzer for its weights alone: what it depends on reads sound, and has to be compiled.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[export,api,worker,otel,dev]'
	$(PIP) --no-deps resemblyzer==0.1.4
	@touch $@

# Thousands of requests made up anew. WHYSERVE_FUZZ=0.1 takes a tenth of them, the same each time: that is for CI.
test-fuzz: install
	@$(BIN)/whyserve export
	$(BIN)/python -m pytest -m fuzz

# Processes killed, stopped and starved, over and over.
test-faults: install
	@$(BIN)/whyserve export
	$(BIN)/python -m pytest -m faults

# A client that cannot stand beside our versions.
$(KSERVE)/.installed: tests/api/oip/kserve.txt
	@test -x $(KSERVE)/bin/python || $(PYTHON) -m venv $(KSERVE)
	$(KSERVE)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps -r $<
	@touch $@

$(AUDIT)/.installed: .ci/audit.txt
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps -r $<
	@touch $@

# Known vulnerabilities of what is installed; AUDIT_FLAGS=--if-reached where they may not be there to be asked for.
AUDIT_FLAGS ?=
audit: install $(AUDIT)/.installed
	@$(AUDIT)/bin/python .ci/audit.py $(VENV)/lib/python3.11/site-packages $(AUDIT_FLAGS)

# What each image is made of, in CycloneDX's form.
sbom: install $(AUDIT)/.installed
	@mkdir -p dist
	@$(AUDIT)/bin/cyclonedx-py environment $(VENV) --pyproject pyproject.toml --output-reproducible -o dist/environment.cdx.json
	@$(AUDIT)/bin/python .ci/sbom.py dist/environment.cdx.json $(VENV)/lib/python3.11/site-packages dist

# The page: its client types from the API's own document, then what stands in app/whyserve/api/static. Needs Node 20.
ui: install
	@$(BIN)/whyserve export
	npm --prefix ui ci --silent
	$(BIN)/whyserve openapi > ui/openapi.json
	npm --prefix ui run --silent types
	npm --prefix ui run --silent check
	npm --prefix ui run --silent build

bench-explain: install
	$(BIN)/python -m benchmarks.explain

bench-predict: install
	$(BIN)/python -m benchmarks.predict

bench-deploy: install
	$(BIN)/python -m benchmarks.deployment

bench-queue: install
	$(BIN)/python -m benchmarks.queue

# Ten minutes at 70 % load: memory, descriptors and threads have to stay where they are.
MINUTES ?= 10
soak: install
	@$(BIN)/whyserve export
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)
