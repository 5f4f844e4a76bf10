# What a person types. Each command is explained in README.md.
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
export HOST PORT

.PHONY: help install demo serve test check bench pictures lock

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed build/built ## build .venv from pinned requirements, fetch htmx, compile the English sentences

demo: install ## serve a fictional roster on this machine; HOST=0.0.0.0 opens it to a phone, PORT=8001 moves it
	@$(BIN)/flask demo

serve: install ## the production server, configured by the environment alone
	@$(BIN)/flask serve

test: install .venv/tested ## every test, the browser's too; then on PostgreSQL all that stores; then on other days
	@$(BIN)/python -m tests.support.ready
	@$(BIN)/python -m tests
	@$(BIN)/python -m tests.support.ready left

check: install .venv/tested ## format, lint, types, then the tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory test

bench: install .venv/tested ## the figures of the live clock and of the import
	@$(BIN)/python -m bench

pictures: install .venv/tested ## the README's moving picture, filmed from the running program
	@$(BIN)/python -m bench.pictures

UV := .venv/uv/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-header

lock: ## pin what pyproject.toml names, with hashes; `make lock UP=--upgrade` takes newer releases
	@test -x $(UV) || ($(PYTHON) -m venv .venv/uv && .venv/uv/bin/pip install --quiet --disable-pip-version-check uv)
	@$(COMPILE) $(UP) pyproject.toml --output-file requirements/run.txt
	@$(COMPILE) $(UP) --group dev --constraint requirements/run.txt --output-file requirements/dev.txt

# The pip of a renamed or copied clone, of another Python, or of a .venv that was left half made does
# not run, or runs elsewhere. Then .venv is made anew.
SOUND := grep -qsF '$(CURDIR)/.venv/' $(BIN)/pip && $(BIN)/pip --version >/dev/null 2>&1
$(shell $(SOUND) || rm -f .venv/installed)

.venv/installed: requirements/run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kakunin needs Python 3.11 or newer, such as: make PYTHON=python3.11")'
	@echo 'Fetching the pinned packages into .venv, which takes a minute ...'
	@$(SOUND) || $(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/tested: requirements/dev.txt .venv/installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

build/htmx: requirements/htmx.txt .venv/installed
	@mkdir -p build && rm -f build/*.whl  # build/static stays: a running server serves it
	@$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --require-hashes -d build -r $<
	@touch $@

build/built: build/htmx $(wildcard static/*) translations/en/LC_MESSAGES/messages.po front/assets.py
	@$(BIN)/python -c 'from front import assets; assets.build()'
	@mkdir -p build/translations/en/LC_MESSAGES
	@$(BIN)/pybabel --quiet compile --locale en --input-file translations/en/LC_MESSAGES/messages.po \
		--output-file build/translations/en/LC_MESSAGES/messages.mo
	@touch $@
