# The front door: every target sets up what it needs by itself (see .ci/setup).
SHELL := bash
.DEFAULT_GOAL := help

VENV := .venv
VERSIONS := locked
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Go asks for it; a service or a container may have none.
export HOME := $(or $(HOME),$(shell unset HOME; echo ~))

PYTHON_CODE := conformance tests bench servers/python clients/python
GO_CODE := servers/go clients/go
C_CODE := servers/c/server.c clients/c/client.c bench/load.c bench/yardstick.c bench/bare.c
C_FILES := $(C_CODE) $(wildcard servers/c/*.h clients/c/*.h)
C_FEATURES := -DACCOUNTS -DLINE_EDITING
SUITES := $(patsubst %/suite.yaml,%,$(wildcard examples/*/suite.yaml))
PEERS := redis-server nats-server ngircd inspircd
C_WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror

# One lock each, for every Python and platform that is supported, with the hashes of all files.
LOCK := build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock"

.PHONY: help conformance suites test test-newest bench bench-harness bench-peers lint format lock clean

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

conformance: $(READY) ## Play every scenario over every pairing, show the matrix (ARGS="--server c")
	@conformance run --probe-features $(ARGS)

# The file `packages` of a suite names the Debian packages that its programs are in.
suites: $(READY) ## Play the suites of examples/ against their servers (ARGS="-k join", SUITES=examples/irc)
	@.ci/services $$(cat $(wildcard $(SUITES:=/packages)) /dev/null) || true # without them: unavailable
	@red=; for suite in $(SUITES); do \
		echo "$$suite"; \
		conformance run "$$suite" --output "build/suites/$${suite##*/}" $(ARGS) || red="$$red $$suite"; \
	done; [ -z "$$red" ] || { echo "red:$$red"; exit 1; }

test: $(READY) ## Run everything that can fail: the harness's own tests, then the whole matrix
	@pytest -n auto --dist worksteal tests scenarios $(ARGS)

test-newest: ## Run the same with the newest versions that pyproject.toml allows, in .venv-newest
	@rm -f .venv-newest/.ready # what is newest changes
	@$(MAKE) --no-print-directory test VENV=.venv-newest VERSIONS=newest

bench: $(BENCH_READY) ## Measure the servers beside those people would pick (ARGS="--quick --only 1-100")
	@python -m bench $(ARGS)

bench-harness: $(READY) ## Measure what a case costs, beside the bare minimum
	@python -m bench.harness

bench-peers: ## Install those peers, Debian's packages (their services are stopped again)
	@.ci/services $(PEERS)

lint: $(READY) ## Check style, types and warnings of all code
	ruff check
	ruff format --check
	mypy conformance tests bench
	for program in $(wildcard examples/*/servers/*/*.py); do mypy $$program || exit 1; done
	mypy servers/python
	mypy clients/python
	@unformatted=$$(gofmt -l $(GO_CODE) examples); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	for code in $(GO_CODE); do (cd $$code && go vet ./...) || exit 1; done
	clang-format --dry-run -Werror $(C_FILES)
	for code in $(C_CODE); do \
		gcc -std=gnu11 -O2 $(C_WARNINGS) -c -o /dev/null $$code && \
		gcc -std=gnu11 -O2 $(C_WARNINGS) $(C_FEATURES) -c -o /dev/null $$code || exit 1; \
	done
	conformance check scenarios servers clients
	for suite in $(SUITES); do conformance check $$suite $$suite/servers || exit 1; done

format: $(READY) ## Put all code into its style
	ruff check --fix
	ruff format
	gofmt -w $(GO_CODE)
	clang-format -i $(C_FILES)
	conformance schema conformance/schema --table CONTRIBUTING.md

lock: ## Take the newest versions that pyproject.toml allows into requirements/*.txt
	@$(or $(PYTHON),python3) -m venv build/lock
	@.ci/pip build/lock/bin/python 'uv>=0.9,<1'
	@$(LOCK) --extra dev pyproject.toml -o requirements/dev.txt
	@$(LOCK) --extra bench -c requirements/dev.txt pyproject.toml -o requirements/bench.txt
	@$(LOCK) requirements/go.in -o requirements/go.txt

clean: ## Remove all that make made
	rm -rf build $(VENV) .venv-newest *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(BENCH_READY): $(READY) requirements/bench.txt
	@.ci/pip $(VENV)/bin/python --require-hashes --requirement requirements/bench.txt
	@touch $@

$(READY): pyproject.toml requirements/dev.txt requirements/go.txt .ci/setup .ci/pip
	@.ci/setup $(VENV) $(VERSIONS)
	@touch $@
