# Everything that users and developers do, by name: `make help`. Commands of the service: `./classifier --help`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help docs translations run test quick check audit lint migrate model iris openvino telemetry bench fuzz vitals hostile memory bulk scaling queue-limit similar teaching accuracy openapi lock format verify-clients verify-containers clean

PYTHON ?= python3
VENV := .venv
# Has pip and uv, which install the other environments.
INSTALL_VENV := .venv-install
EXPORT_VENV := .venv-export
TABULAR_VENV := .venv-tabular
BIN := $(VENV)/bin
# The service is not installed: it runs from project/, and relative paths in settings are relative to this folder.
APP := PYTHONPATH=project:project/client/src $(BIN)/python -m app
# One line with progress; pip's own output only on failure.
INSTALL = $(INSTALL_VENV)/bin/python project/tools/install.py
# uv, unlike pip, does not compile packages. Without this, each process of the tests would compile them.
COMPILE = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib
# Restarts an environment that is to be installed from scratch.
NEW_VENV = $(PYTHON) -m venv --without-pip --clear
# Ends make without "make: *** Error 1", which would bury the message above it. The exit status stays non-zero.
QUIETLY := || kill -PIPE $$PPID
# The tests' models are separate from the user's. MobileNetV2 is only tested if its weights are available.
TEST_MODELS := $(CURDIR)/data/test-models
TEST_IMAGES := $(abspath $(wildcard ../shared/images))
INT8 = MODEL_PRECISION=int8 CALIBRATION_IMAGES=$(1)
TEST_WEIGHTS := $(abspath $(or $(MODEL_WEIGHTS),$(wildcard ../shared/weights/mobilenet_v2_imagenet.h5)))
export-for-tests = export MODELS_DIR=$(TEST_MODELS) MODEL=$(1) $(2); \
	$(APP) has-model >/dev/null 2>&1 || { echo "==> Exporting the model $(1) for the tests"; $(APP) export-model; }

# No library reports what is done here: ONNX Runtime, Ray, BentoML, and others that heed DO_NOT_TRACK.
export ORT_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0
export BENTOML_DO_NOT_TRACK := True
export DO_NOT_TRACK := 1
# Bytecode is kept, or each of the many processes would compile the application again: 0.6 s.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# More processes than cores, because many tests wait. Exit status 5: the options select no test.
PARALLEL := --numprocesses $(shell expr $$(nproc) + 2) --dist loadgroup --no-loadscope-reorder
PYTEST = cd project && TEST_MODELS_DIR=$(TEST_MODELS) TEST_WEIGHTS=$(TEST_WEIGHTS) \
	TEST_EXPORT_PYTHON=$(CURDIR)/$(EXPORT_VENV)/bin/python TEST_TABULAR_PYTHON=$(CURDIR)/$(TABULAR_VENV)/bin/python ../$(BIN)/python -m pytest

run: $(VENV)/run.stamp ## Set everything up and serve on http://localhost:8004
	@exec env PYTHONPATH=project:project/client/src $(BIN)/python -m tools.serve

test: $(VENV)/dev.stamp $(EXPORT_VENV)/stamp $(TABULAR_VENV)/stamp ## Set everything up and run all tests on a real PostgreSQL
	@$(if $(TEST_WEIGHTS),$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS)))
	@$(if $(TEST_WEIGHTS),$(if $(TEST_IMAGES),$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS) $(call INT8,$(TEST_IMAGES)))))
	@$(call export-for-tests,efficientnet_lite0,MODEL_WEIGHTS=)
	@[ -d $(TEST_MODELS)/iris_random_forest ] || MODELS_DIR=$(TEST_MODELS) $(MAKE) --no-print-directory iris
	@$(PYTEST) -m "not alone" $(PARALLEL) $(PYTEST_ARGS)
	@$(PYTEST) -m alone $(PYTEST_ARGS) || [ $$? -eq 5 ]

quick: $(VENV)/dev.stamp ## Run the fast tests, before each commit
	@[ -d $(TEST_MODELS)/efficientnet_lite0 ] || { echo "error: the tests need models: run \`make test\` once" >&2; false; } $(QUIETLY)
	@$(PYTEST) tests/unit tests/integration -m "not slow and not process" $(PARALLEL) $(PYTEST_ARGS)

check: lint audit test ## What CI runs: format, lint, types, imports, dependencies, containers' files, then the tests

lint: $(VENV)/dev.stamp ## Format, lint, types, imports, dependencies and containers' files, without the tests
	@cd project && export PATH="$(CURDIR)/$(BIN):$$PATH" && set -x \
	&& ruff format --check . && ruff check . && mypy && lint-imports --no-cache && deptry . && vulture \
	&& hadolint Dockerfile db/Dockerfile && docker-compose -f ../docker-compose.yml config --quiet \
	&& POSTGRES_PASSWORD=x docker-compose -f ../docker-compose.prod.yml config --quiet \
	&& kubernetes-validate --strict --quiet $(addprefix deploy/kubernetes/,settings.yaml migrate.yaml web.yaml worker.yaml network-policies.yaml)

audit: $(VENV)/dev.stamp ## Check the code and the installed packages for known vulnerabilities
	@cd project && ../$(BIN)/bandit --quiet --recursive -ll app client 2> >(grep -v "nosec encountered" >&2) && ../$(BIN)/python -m tools.vulnerabilities

format: $(VENV)/dev.stamp ## Format the code and apply the linter's fixes
	@cd project && ../$(BIN)/ruff format . && ../$(BIN)/ruff check --fix .

openapi: $(VENV)/dev.stamp ## Write docs/openapi.json after a change of the HTTP contract
	@cd project && ../$(BIN)/python -c 'import json; from app.config import Settings; from app.main import create_application; \
	  print(json.dumps(create_application(Settings()).openapi(), indent=1, ensure_ascii=False))' > docs/openapi.json

translations: $(VENV)/dev.stamp ## Add the pages' new texts to the files of all languages, and remove unused ones
	@cd project && ../$(BIN)/python -m tools.translations

docs: $(VENV)/dev.stamp ## Build the documentation into project/docs/_site
	@cd project && PYTHONPATH=. ../$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --fresh-env \
	  docs docs/_site && echo "==> project/docs/_site/index.html"

migrate: $(VENV)/run.stamp ## Apply database migrations
	@$(APP) migrate

model: $(VENV)/run.stamp ## Export the default model, or MODEL=name, unless it exists
	@status=0; reason=$$($(APP) has-model) || status=$$?; \
	if [ $$status -eq 3 ]; then $(APP) export-model; elif [ $$status -ne 0 ]; then false; fi $(QUIETLY)

iris: $(TABULAR_VENV)/stamp ## Train and export two tabular models for /predict (needs scikit-learn for a moment)
	@PYTHONPATH=project $(TABULAR_VENV)/bin/python -m app export-iris-models $(QUIETLY)

openvino: $(VENV)/openvino.stamp ## Install OpenVINO, an optional runtime

telemetry: $(VENV)/run.stamp ## Install OpenTelemetry for traces (TRACES_URL)
	@$(INSTALL) $(BIN)/python project/requirements-telemetry.txt "Installing OpenTelemetry" $(QUIETLY)

BENCH_IMAGES ?= $(wildcard ../shared/images)
BENCH_FOLDER = $(abspath $(BENCH_IMAGES))

fuzz: $(VENV)/dev.stamp ## Fuzz the decoders and the API at FUZZ_URL (its data may be lost), FUZZ_SECONDS each (default: 120)
	@cd project && ../$(BIN)/python -m tests.fuzz.decoders $(or $(FUZZ_SECONDS),120)
	@cd project && ../$(BIN)/python -W ignore -m tests.fuzz.shapes $(or $(FUZZ_SECONDS),120)
	@[ -n "$(FUZZ_URL)" ] || { echo "error: set FUZZ_URL=http://localhost:8004, a service whose data may be lost" >&2; false; } $(QUIETLY)
	@cd project && ../$(BIN)/python -m tests.fuzz.api $(FUZZ_URL) $(or $(FUZZ_SECONDS),120)

vitals: $(VENV)/dev.stamp ## Measure startup, latencies and memory against the promised values (BENCH_IMAGES=folder)
	@[ -n "$(BENCH_IMAGES)" ] || { echo "error: set BENCH_IMAGES to a folder of JPEG files" >&2; false; } $(QUIETLY)
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS))
	@cd project && exec ../$(BIN)/python -m benchmarks.vitals --models $(TEST_MODELS) --images $(BENCH_FOLDER)

hostile: $(VENV)/dev.stamp ## Measure how long others wait while clients send and view hostile files
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS))
	@cd project && exec ../$(BIN)/python -m benchmarks.hostile --models $(TEST_MODELS) $(BENCH_ARGS)

bulk: $(VENV)/dev.stamp ## Measure a backup and a restore of a million predictions with images (needs 12 GiB of disk space)
	@cd project && exec ../$(BIN)/python -m benchmarks.bulk $(BENCH_ARGS)

memory: $(VENV)/dev.stamp ## Measure the memory that each image format takes at MAX_IMAGE_PIXELS
	@cd project && exec ../$(BIN)/python -m benchmarks.memory $(BENCH_ARGS)

accuracy: $(VENV)/dev.stamp ## Compare MODELS="folder folder" on labelled images (BENCH_IMAGES=folder, with labels.csv)
	@[ -n "$(MODELS)" -a -n "$(BENCH_IMAGES)" ] || { echo "error: set MODELS=\"folder folder\" and BENCH_IMAGES=folder" >&2; false; } $(QUIETLY)
	@cd project && exec ../$(BIN)/python -m benchmarks.accuracy --images $(BENCH_FOLDER) $(abspath $(MODELS))

BENCH_PEERS := baseline litserve bentoml mosec ray
BENCH_ENVIRONMENTS := $(foreach name,$(BENCH_PEERS),.venv-bench-$(name)/stamp)

bench: $(VENV)/dev.stamp $(BENCH_ENVIRONMENTS) ## Compare the service with its floor, a tutorial's service and its peers (BENCH_IMAGES=folder)
	@[ -n "$(BENCH_IMAGES)" ] || { echo "error: set BENCH_IMAGES to a folder of JPEG files" >&2; false; } $(QUIETLY)
	@[ -n "$(TEST_WEIGHTS)" ] || { echo "error: set MODEL_WEIGHTS to MobileNetV2's Keras weights" >&2; false; } $(QUIETLY)
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS))
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS) $(call INT8,$(BENCH_FOLDER)))
	@cd project && exec ../$(BIN)/python -m benchmarks --models $(TEST_MODELS) --weights $(TEST_WEIGHTS) \
	  --images $(BENCH_FOLDER) --output $(CURDIR)/data/benchmark $(BENCH_ARGS)

# OpenVINO only needs openvino-telemetry to convert models, and it would report that.
lock: $(VENV)/dev.stamp ## Pin the newest versions of all dependencies, with hashes
	@cd project && for name in requirements-install requirements requirements-dev requirements-export requirements-tabular requirements-openvino requirements-telemetry; do \
	  echo "==> $$name.txt"; \
	  case $$name in requirements-install) constraint= ;; requirements) constraint="-c requirements-install.txt" ;; \
	    *) constraint="-c requirements-install.txt -c requirements.txt" ;; esac; \
	  ../$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-emit-package openvino-telemetry --no-header --no-annotate \
	    --override requirements-overrides.in $$constraint $$name.in -o $$name.txt; done
	@cd project/benchmarks && for name in $(BENCH_PEERS); do echo "==> benchmarks/requirements-$$name.txt"; \
	  ../../$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --no-annotate requirements-$$name.in -o requirements-$$name.txt; done

scaling: $(VENV)/dev.stamp ## Measure the cost of a prediction with one to three workers (BENCH_IMAGES=folder)
	@[ -n "$(BENCH_IMAGES)" ] || { echo "error: set BENCH_IMAGES to a folder of JPEG files" >&2; false; } $(QUIETLY)
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS))
	@cd project && exec ../$(BIN)/python -m benchmarks.scaling --models $(TEST_MODELS) --images $(BENCH_FOLDER) $(BENCH_ARGS)

teaching: $(VENV)/dev.stamp ## Measure what custom models learn, and what that costs (TEACH=folder with labels.csv: file, label, use)
	@[ -n "$(TEACH)" ] || { echo "error: set TEACH to a folder of pictures with labels.csv" >&2; false; } $(QUIETLY)
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS))
	@cd project && exec ../$(BIN)/python -m benchmarks.teaching --models $(TEST_MODELS) --pictures $(abspath $(TEACH)) $(BENCH_ARGS)

queue-limit: $(VENV)/dev.stamp ## Measure how many rows per second PostgreSQL and the queue take (BENCH_IMAGES=folder)
	@[ -n "$(BENCH_IMAGES)" ] || { echo "error: set BENCH_IMAGES to a folder of JPEG files" >&2; false; } $(QUIETLY)
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS))
	@cd project && exec ../$(BIN)/python -m benchmarks.queue_limit --models $(TEST_MODELS) --images $(BENCH_FOLDER) $(BENCH_ARGS)

similar: $(VENV)/dev.stamp ## Measure the latency and recall of similar images among a million (BENCH_IMAGES=folder; 10 minutes)
	@[ -n "$(BENCH_IMAGES)" ] || { echo "error: set BENCH_IMAGES to a folder of JPEG files" >&2; false; } $(QUIETLY)
	@$(call export-for-tests,mobilenet_v2,MODEL_WEIGHTS=$(TEST_WEIGHTS))
	@cd project && exec ../$(BIN)/python -m benchmarks.similar --models $(TEST_MODELS) --images $(BENCH_FOLDER) $(BENCH_ARGS)

verify-clients: $(VENV)/dev.stamp ## Generate clients from the contract, and use them with a running service (URL=address)
	@project/tests/clients/verify.sh

verify-containers: ## Build the images and test docker-compose.yml (needs a container engine; takes minutes)
	@project/tests/containers/verify.sh $(STEP)

clean: ## Remove the installed environments; data/ stays
	rm -rf $(VENV) $(INSTALL_VENV) $(EXPORT_VENV) $(TABULAR_VENV) .venv-bench-*

.venv-bench-%/stamp: project/benchmarks/requirements-%.txt | $(INSTALL_VENV)/stamp
	@$(NEW_VENV) .venv-bench-$*
	@$(INSTALL) .venv-bench-$*/bin/python $< "Installing the packages of the benchmark $*" $(QUIETLY)
	@touch $@

# --- set-up, repeated only when the requirements change ---------------------------------------------------------------

# Without uv, which has no wheels for some platforms, pip does the work.
$(INSTALL_VENV)/stamp: project/requirements-install.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: install Python 3.11, 3.12, 3.13 or 3.14, or set PYTHON=python3.x" >&2; false; } $(QUIETLY)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
	  || { echo "error: Python 3.11, 3.12, 3.13 or 3.14 is required, $(PYTHON) is $$($(PYTHON) -V): set PYTHON=python3.x" >&2; false; } $(QUIETLY)
	@echo "==> Creating the virtual environments"
	@$(PYTHON) -m venv --clear $(INSTALL_VENV) >/dev/null || { rm -rf $(INSTALL_VENV); \
	  echo "error: Python's venv module is missing: apt-get install python3-venv (as root)" >&2; false; } $(QUIETLY)
	@$(INSTALL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $< 2>/dev/null \
	  || echo "==> uv is not available: pip installs the packages, which takes longer"
	@touch $@

# Its Python was upgraded or removed.
ifneq ($(shell [ ! -e $(INSTALL_VENV)/stamp ] || [ -x $(INSTALL_VENV)/bin/python ] || echo stale),)
.PHONY: $(INSTALL_VENV)/stamp
endif

$(VENV)/bin/python: | $(INSTALL_VENV)/stamp
	@$(NEW_VENV) $(VENV)

$(VENV)/run.stamp: project/requirements.txt | $(VENV)/bin/python
	@if [ -e $(VENV)/dev.stamp ] && [ $(VENV)/dev.stamp -nt project/requirements-dev.txt ] && [ $(VENV)/dev.stamp -nt $< ]; then touch $@; exit 0; fi; \
	$(INSTALL) $(BIN)/python $< "Installing the service (about 140 MB to download)" $(QUIETLY)
	@touch $@

$(VENV)/dev.stamp: project/requirements-dev.txt project/requirements.txt | $(VENV)/bin/python
	@$(INSTALL) $(BIN)/python $< "Installing the service and its development tools (about 320 MB to download)" $(QUIETLY)
	@$(COMPILE) || true # Some packages contain templates, which are not Python.
	@touch $@

$(VENV)/openvino.stamp: project/requirements-openvino.txt $(VENV)/run.stamp
	@$(INSTALL) $(BIN)/python $< "Installing OpenVINO (about 50 MB to download, 180 MB on disk)" $(QUIETLY)
	@touch $@

$(EXPORT_VENV)/stamp: project/requirements-export.txt | $(INSTALL_VENV)/stamp
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] > (3, 13))' \
	  || { echo "error: TensorFlow has no packages for $$($(PYTHON) -V) yet: set PYTHON=python3.13 for this command" >&2; false; } $(QUIETLY)
	@$(NEW_VENV) $(EXPORT_VENV)
	@$(INSTALL) $(EXPORT_VENV)/bin/python $< "Installing TensorFlow to export models (about 400 MB to download, 1.8 GB on disk)" $(QUIETLY)
	@touch $@

$(TABULAR_VENV)/stamp: project/requirements-tabular.txt | $(INSTALL_VENV)/stamp
	@$(NEW_VENV) $(TABULAR_VENV)
	@$(INSTALL) $(TABULAR_VENV)/bin/python $< "Installing scikit-learn to train tabular models (about 80 MB to download)" $(QUIETLY)
	@touch $@
