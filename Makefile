# Raptor Admin. GNU make 3.81 (macOS) is enough.
PYTHON = .venv/bin/python
# The stress tests and the tests with browsers use all cores themselves.
IN_PARALLEL = -n logical --maxprocesses 4 --dist worksteal
TEST_DATABASE_URL = $(or $(RAPTOR_TEST_DATABASE_URL),postgres://postgres@127.0.0.1:5432/postgres)
# The checks load the settings; a separate folder keeps them away from the panel's data.
LINT_ENVIRONMENT = DJANGO_SETTINGS_MODULE=raptor_admin.settings RAPTOR_VAR_DIR=.mypy_cache/var RAPTOR_HTTPS=on RAPTOR_DATABASE_URL=

# Keep compiled files: the tests start many processes, and each would compile the panel again.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help up demo test test-fast coverage test-postgres stress lint bench requirements environment environment-dev

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

# exec replaces the shell, so that a signal to make reaches the panel.
up: environment ## Install the dependencies and run the panel on http://127.0.0.1:8000
	@exec $(PYTHON) -m raptor_admin.up

# Use a separate database, even if RAPTOR_DATABASE_URL is set.
demo: export RAPTOR_VAR_DIR = var/demo
demo: export RAPTOR_DATABASE_URL =
demo: export RAPTOR_REDIS_URL =
demo: environment ## Run a demo of the panel with 2,500 sessions and its own database
	@exec $(PYTHON) -m raptor_admin.up --demo

test: export RAPTOR_TEST_DATABASE_URL =
test: environment-dev ## Run all tests on SQLite, with a real browser
	@$(PYTHON) -m tests.browser
	@$(PYTHON) -m pytest $(IN_PARALLEL) tests/unit tests/integration
	@$(PYTHON) -m pytest tests/stress tests/e2e

test-fast: export RAPTOR_TEST_DATABASE_URL =
test-fast: environment-dev ## Run the unit and integration tests on SQLite
	@$(PYTHON) -m pytest -q $(IN_PARALLEL) tests/unit tests/integration

coverage: export RAPTOR_TEST_DATABASE_URL =
coverage: environment-dev ## Measure the coverage of the unit and integration tests on SQLite
	@$(PYTHON) -m coverage run -m pytest -q tests/unit tests/integration
	@$(PYTHON) -m coverage report

test-postgres: environment-dev ## Run the integration tests on PostgreSQL (RAPTOR_TEST_DATABASE_URL)
	@RAPTOR_TEST_DATABASE_URL='$(TEST_DATABASE_URL)' $(PYTHON) -m pytest $(IN_PARALLEL) tests/integration
	@RAPTOR_TEST_DATABASE_URL='$(TEST_DATABASE_URL)' $(PYTHON) -m pytest tests/stress

lint: environment-dev ## Check style, types, layers, migrations and the production settings
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(LINT_ENVIRONMENT) $(PYTHON) -m mypy raptor raptor_admin sessions_app tests manage.py
	@.venv/bin/lint-imports
	@$(LINT_ENVIRONMENT) $(PYTHON) manage.py makemigrations --check --dry-run
	@$(LINT_ENVIRONMENT) $(PYTHON) manage.py check --deploy --fail-level WARNING

# Takes some minutes on each database. It crashes its own PostgreSQL server.
stress: export RAPTOR_TEST_TRIES = 10000
stress: environment-dev ## Kill, suspend, duplicate and block cleanups, on SQLite and on PostgreSQL
	@RAPTOR_TEST_DATABASE_URL= $(PYTHON) -m pytest tests/stress
	@RAPTOR_TEST_DATABASE_URL='$(TEST_DATABASE_URL)' $(PYTHON) -m pytest tests/stress

bench: environment-dev ## Measure, and print ratios
	@$(PYTHON) -m tests.browser
	@$(PYTHON) -m tests.benchmarks

requirements: environment-dev ## Pin the dependencies of pyproject.toml again
	@$(PYTHON) -m uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header -o requirements/base.txt
	@$(PYTHON) -m uv pip compile --quiet --group dev pyproject.toml -c requirements/base.txt --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/dev.txt

environment:
	@requirements/install base

environment-dev:
	@requirements/install dev
