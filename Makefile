# The environment is .venv; everything below makes it first where it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := src tests examples benchmarks

.PHONY: run test test-313 differential interop bench bench-quick bench-client check docs clean

run: .venv/ready examples/node_modules
	@echo "The chat is on http://127.0.0.1:3000 - stop it with Ctrl+C"
	@cd examples/chat && exec ../../$(BIN)/duplexio run app:app --host 127.0.0.1 --port 3000

test: check tests/node/node_modules browser nginx interop-python interop-java
	$(BIN)/python -m tests.run

# The same on CPython 3.13, Debian's, for what 3.12 and later do in their own way; on Debian alone, and not of `test`.
test-313:
	@tests/python313.sh

# The decoders against Node's, over five times as many inputs as `test`, and others each time; SEED=... for the same again.
SEED ?= $(shell date +%s)
differential: .venv/installed tests/node/node_modules
	DUPLEXIO_DIFFERENTIAL_COUNT=100000 DUPLEXIO_DIFFERENTIAL_SEED=$(SEED) $(BIN)/python -m pytest --timeout=600 tests/differential

check: .venv/installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

docs: .venv/docs
	$(BIN)/mkdocs build --strict

.venv/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "duplexio needs Python 3.11 or later"'
	$(PYTHON) -m venv .venv

.venv/ready: .venv/bin/python pyproject.toml
	@echo "Preparing .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

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

# Debian's balancer, likewise.
.PHONY: nginx
nginx:
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; } || \
		echo "nginx is not installed: the tests behind it will fail"

# Clients of other makers against this server. Python's are always there; Java's and Rust's where their tools are: what is
# missing is said here, and again by what runs them. `make test` leaves out Rust's, which takes a minute or two to compile.
INTEROP := build/interop
JAVA_CLIENTS := $(INTEROP)/java-2.1.2/built $(INTEROP)/java-1.0.2/built
JAVA_SOURCES := $(wildcard tests/interop/java/*/*.java)

interop: .venv/installed interop-python interop-java interop-rust
	$(BIN)/python -m tests.interop.run

.PHONY: interop-python interop-java interop-rust
interop-python: $(INTEROP)/python-socketio-5.18.1/built $(INTEROP)/python-socketio-4.6.1/built

$(INTEROP)/python-socketio-%/built: tests/interop/python/requirements-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

ifeq ($(and $(shell command -v java),$(shell command -v javac),$(shell command -v mvn)),)
interop-java:
	@echo "java, javac or mvn is not installed: the Java clients are not run"
else
interop-java: $(JAVA_CLIENTS)
endif

# What cannot be fetched stops nothing; what is this project's own has to compile.
$(INTEROP)/java-%/jars/fetched: tests/interop/java/pom.xml
	@rm -rf $(@D) && mkdir -p $(@D)
	mvn --quiet --batch-mode -Dstyle.color=never --file $< dependency:copy-dependencies -Dclient.version=$* \
		-DoutputDirectory=$(CURDIR)/$(@D) && touch $@ || echo "the Java client $* cannot be fetched: it is not run"

$(INTEROP)/java-%/built: $(INTEROP)/java-%/jars/fetched $(JAVA_SOURCES)
	[ ! -f $< ] || javac -encoding UTF-8 -classpath '$(@D)/jars/*' -d $(@D)/classes tests/interop/java/src/*.java \
		tests/interop/java/$(if $(filter 1.%,$*),protocol4,protocol5)/*.java
	[ ! -f $< ] || touch $@

.PRECIOUS: $(INTEROP)/java-%/jars/fetched

ifeq ($(shell command -v cargo),)
interop-rust:
	@echo "cargo is not installed: the Rust clients are not run"
else
interop-rust: $(INTEROP)/rust/built
endif

$(INTEROP)/rust/built: tests/interop/rust/Cargo.toml $(wildcard tests/interop/rust/src/*.rs)
	cargo build --quiet --manifest-path $< --target-dir $(@D)
	touch $@

# This server and others side by side, on a machine that does little else. See benchmarks/README.md.
BENCHED := .venv/installed benchmarks/servers/programs/node_modules build/benchmarks/python-socketio-server/built

bench: $(BENCHED)
	$(BIN)/python -m benchmarks.servers

bench-quick: $(BENCHED)
	$(BIN)/python -m benchmarks.servers --quick

build/benchmarks/python-socketio-server/built: benchmarks/servers/programs/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# This client and others side by side: some minutes.
bench-client: .venv/installed tests/node/node_modules build/benchmarks/python-socketio/built
	$(BIN)/python -m benchmarks.client

build/benchmarks/python-socketio/built: benchmarks/client/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

clean:
	rm -rf .venv artefacts build site examples/node_modules tests/node/node_modules \
		benchmarks/servers/programs/node_modules
