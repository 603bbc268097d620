# Everything happens in this checkout: the environment in .venv, exported models in artifacts, the queue in .whyserve.
PYTHON ?= python3.11
VENV := .venv
PYTHON312 ?= python3.12
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir -c constraints.txt
KSERVE := .venv-kserve
REMOTE := .venv-remote
AUDIT := .venv-audit
# Compiled tests are kept for the next suite, also where the environment says otherwise.
unexport PYTHONDONTWRITEBYTECODE
# What to test: T=tests/queues for one folder, or a file.
T ?= tests
# Two processes, each with services of its own. The tests of one file stay together, for they share what they set up.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run photographs dev check test test-slow test-corpus test-ray test-s3 test-all test-docker test-fuzz test-faults test-ui \
	install lint types export ui bench-explain bench-rivals bench-delivery bench-predict bench-deploy bench-queue attack soak audit sbom release

help: ## show these lines
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /make \1 \t/' | expand -t 20

run: install ## export the models of models/ and serve them
	@$(BIN)/whyserve up

# Not one of models/: its weights are 18 MB of a package that only the tests install, and its export takes minutes.
photographs: install ## serve EfficientNet, and explain photographs by their regions
	@$(BIN)/python examples/photographs/make.py
	@$(BIN)/whyserve up --models examples --artifacts .whyserve/examples

dev: install ## the same, and start again when the code or a model changes
	@$(BIN)/watchfiles --sigint-timeout 40 "$(BIN)/whyserve up" app/whyserve models

check: install lint types ## lint, types and the tests that need no models and no services: before each commit
	$(PYTEST) -q -m "quick" $(T)

test: install lint types export $(KSERVE)/.installed ## the tests, about twelve minutes on two cores; T=tests/queues for one part
	$(PYTEST) $(T)

test-slow: install export ## the tests that take long: training, large networks, many packaged networks
	$(PYTEST) -m slow $(T)

# WHYSERVE_CORPUS=quarter takes a fixed quarter, with a network of each kind: that is for CI.
test-corpus: install ## networks as people have them, packaged, served and compared with the original
	$(BIN)/python -m pytest -m corpus tests/export/corpus

test-all: test test-slow test-corpus test-fuzz test-faults test-s3 test-ray test-ui test-docker ## everything that CI runs

# Builds the images and runs them.
test-docker: install $(KSERVE)/.installed ## images and containers; needs a Docker engine
	$(BIN)/python -m pytest -m docker tests/docker

# In Debian's Chromium; where there is npm, the page is also built again and compared.
test-ui: install export ## the page, in a real browser
	@if command -v npm >/dev/null; then npm --prefix ui ci --silent; fi
	$(PYTEST) -m ui tests/ui

# WHYSERVE_FUZZ=0.1 takes a tenth of the requests, the same each time: that is for CI.
test-fuzz: install export ## thousands of generated requests
	$(BIN)/python -m pytest -m fuzz

test-faults: install export ## processes killed, stopped and starved, many times over
	$(PYTEST) -m faults tests/faults tests/delivery

test-ray: install export $(REMOTE)/.installed ## files of rows on a Ray cluster of two nodes
	$(REMOTE)/bin/python -m pytest -m ray tests/batch

test-s3: install $(REMOTE)/.installed ## models and rows in object stores, on a server of S3
	$(REMOTE)/bin/python -m pytest -m s3 tests/remote

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

export: install
	@$(BIN)/whyserve export

install: $(STAMP)

# torch first and by its exact version: without it the others would bring a build with gigabytes of CUDA.
# resemblyzer for its weights alone: its dependencies read sound, and have to be compiled.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[export,api,worker,otel,client,dev]'
	$(PIP) --no-deps resemblyzer==0.1.4
	@touch $@

# A client that cannot be installed beside our versions.
$(KSERVE)/.installed: tests/api/oip/kserve.txt
	@test -x $(KSERVE)/bin/python || $(PYTHON) -m venv $(KSERVE)
	$(KSERVE)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps -r $<
	@touch $@

# Ray, the packages of S3, and a server of S3. They import our packages from our environment.
$(REMOTE)/.installed: tests/batch/ray.txt tests/remote/s3.txt $(STAMP)
	@test -x $(REMOTE)/bin/python || $(PYTHON) -m venv $(REMOTE)
	$(REMOTE)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps $(patsubst %,-r %,$(filter %.txt,$^))
	@echo "import site; site.addsitedir('$(CURDIR)/$(VENV)/lib/python3.11/site-packages')" > $(REMOTE)/lib/python3.11/site-packages/whyserve-environment.pth
	@touch $@

$(AUDIT)/.installed: .ci/audit.txt
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps -r $<
	@touch $@

# AUDIT_FLAGS=--if-reached passes if the index of vulnerabilities cannot be reached.
AUDIT_FLAGS ?=
audit: install $(AUDIT)/.installed ## known vulnerabilities of the installed packages
	@$(AUDIT)/bin/python .ci/audit.py $(VENV)/lib/python3.11/site-packages $(AUDIT_FLAGS)

sbom: install $(AUDIT)/.installed ## a bill of materials of each image, in CycloneDX's form, in dist/
	@mkdir -p dist
	@$(AUDIT)/bin/cyclonedx-py environment $(VENV) --pyproject pyproject.toml --output-reproducible -o dist/environment.cdx.json
	@$(AUDIT)/bin/python .ci/sbom.py dist/environment.cdx.json $(VENV)/lib/python3.11/site-packages dist

# TAG=v0.1.0: a tag of this checkout, whose version is that of the package.
release: sbom ## wheel, build contexts of the images and bills of materials of a tag, checked, in dist/; TAG=v0.1.0
	@$(BIN)/python .ci/release.py $(or $(TAG),$(error name the tag: make release TAG=v0.1.0)) dist

# The page: its types from the API's own document, then the files in app/whyserve/api/static. Needs Node 20.
ui: install export ## build the page again
	npm --prefix ui ci --silent
	$(BIN)/whyserve openapi > ui/openapi.json
	npm --prefix ui run --silent types
	npm --prefix ui run --silent check
	npm --prefix ui run --silent build

bench-explain: install ## explanations against shap's
	$(BIN)/python -m benchmarks.explain

bench-rivals: install export ## permutation against shapiq's approximators (PYTHON312: a Python 3.12)
	test -x .venv-rivals/bin/python || $(PYTHON312) -m venv .venv-rivals
	.venv-rivals/bin/pip install -q shapiq==1.8.0 onnxruntime==1.32.0 xgboost-cpu lightgbm
	$(BIN)/python -m benchmarks.rivals --python .venv-rivals/bin/python

bench-delivery: install export ## explanations over HTTP against commit 8a3ca99 and other ways
	$(BIN)/python -m benchmarks.delivery
	$(BIN)/python -m benchmarks.delivery_rivals

bench-predict: install ## predictions against a bare function and other servers
	$(BIN)/python -m benchmarks.predict

bench-deploy: install ## images and containers, measured
	$(BIN)/python -m benchmarks.deployment

bench-queue: install ## round trips through the queues
	$(BIN)/python -m benchmarks.queue

attack: install export ## hostile clients, as a table: what they send, and what it costs
	$(BIN)/python -m benchmarks.attack

# At 70 % load: memory, descriptors and threads have to stay where they are.
MINUTES ?= 10
soak: install export ## ten minutes under load; MINUTES=60 for an hour
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)
