# Kennel's commands. `make` sets up .venv; the others set up what they need by themselves.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= kennel:local
BASE_IMAGE ?= debian:bookworm-slim

.PHONY: all demo test lint image test-image bench docs lock clean

all: $(VENV)/.installed

# The lock holds the Linux x86_64 wheels; elsewhere pip resolves the same pinned direct dependencies.
$(VENV)/.installed: pyproject.toml requirements-dev.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(shell uname -sm),Linux x86_64)
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/pip uninstall --quiet --yes openvino-telemetry
else
	$(BIN)/pip install --quiet --editable ".[container,jobs,dev]"
endif
	touch $@

# smdebug needs a C compiler for one of its dependencies.
$(VENV)/.installed-debugger: $(VENV)/.installed docker/requirements.lock
	$(BIN)/pip install --quiet --require-hashes -r docker/requirements.lock
	$(BIN)/pip uninstall --quiet --yes openvino-telemetry
	touch $@

demo: all
	$(BIN)/python local_test/demo.py $(if $(DATA),--data "$(DATA)")

test: all $(VENV)/.installed-debugger
	$(BIN)/python -m pytest --ignore tests/image

lint: all $(VENV)/.installed-debugger
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

image:
	docker/build.sh "$(IMAGE)" --build-arg "BASE_IMAGE=$(BASE_IMAGE)" $(BUILD_OPTIONS)

# SageMaker's local mode wants protobuf 6, and so an environment of its own.
.venv-local-mode/.installed: tests/image/requirements-local-mode.lock
	test -x .venv-local-mode/bin/python || $(PYTHON) -m venv .venv-local-mode
	.venv-local-mode/bin/pip install --quiet --require-hashes -r $<
	touch $@

test-image: all .venv-local-mode/.installed
	tests/image/engine.sh run $(BIN)/python -m pytest tests/image

# DATA: a folder with one photograph of each ImageNet class
bench: all
	PYTHONPATH=. $(BIN)/python benchmarks/imagenet_accuracy.py "$(DATA)"

docs: all
	PYTHONPATH=. $(BIN)/python docs/generate.py

# Nothing is built but one old dependency of smdebug, which has no wheel.
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
    --pip-args "--only-binary=:all: --no-binary=pyinstrument-cext" pyproject.toml

lock: all
	$(LOCK) --extra container --extra debugger -o docker/requirements.lock
	$(LOCK) --extra container --extra jobs --extra dev -c docker/requirements.lock -o requirements-dev.lock
	$(LOCK) --extra local-mode -o tests/image/requirements-local-mode.lock

clean:
	rm -rf $(VENV) .venv-* .cache build *.egg-info local_test/test_dir
