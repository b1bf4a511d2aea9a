# The environment is .venv; everything below makes it first where it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := src tests examples benchmarks

.PHONY: run test check docs clean

run: .venv/installed examples/node_modules
	@echo "The chat is on http://127.0.0.1:3000 - stop it with Ctrl+C"
	@cd examples/chat && exec ../../$(BIN)/duplexio run app:app --host 127.0.0.1 --port 3000

test: check tests/node/node_modules browser
	$(BIN)/python -m tests.run

check: .venv/installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

docs: .venv/docs
	$(BIN)/mkdocs build --strict

.venv/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "duplexio needs Python 3.11 or later"'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

%/node_modules: %/package.json %/package-lock.json
	cd $* && npm ci --silent --no-audit --no-fund
	touch $@

# Debian's browser, where this may install it; elsewhere the tests say what is missing.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
		echo "chromium is not installed: the browser tests will fail"

clean:
	rm -rf .venv artefacts site examples/node_modules tests/node/node_modules
