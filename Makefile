# The front door: every target sets up what it needs by itself (see .ci/setup).
SHELL := bash
.DEFAULT_GOAL := help

VENV := .venv
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

PYTHON_CODE := conformance tests bench servers/python clients/python
GO_CODE := servers/go clients/go
C_CODE := servers/c/server.c clients/c/client.c bench/load.c bench/yardstick.c bench/bare.c
C_FEATURES := -DACCOUNTS -DLINE_EDITING
PEERS := redis-server nats-server ngircd inspircd
C_WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror

.PHONY: help conformance test bench bench-harness bench-peers lint format clean

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

conformance: $(READY) ## Play every scenario over every pairing, show the matrix (ARGS="--server c")
	@conformance run $(ARGS)

test: $(READY) ## Run everything that can fail: the harness's own tests, then the whole matrix
	@pytest -n auto tests scenarios $(ARGS)

bench: $(BENCH_READY) ## Measure the servers beside those people would pick (ARGS="--quick --only 1-100")
	@python -m bench $(ARGS)

bench-harness: $(READY) ## Measure what a case costs, beside the bare minimum
	@python -m bench.harness

bench-peers: ## Install those peers, Debian's packages (their services are stopped again)
	@missing=$$(for package in $(PEERS); do \
		dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || \
			echo $$package; done); \
	[ -n "$$missing" ] || { echo "all are there: $(PEERS)"; exit 0; }; \
	command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] || \
		{ echo "as root, on Debian: apt-get install" $$missing; exit 1; }; \
	apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing && \
	for service in $$missing; do \
		systemctl disable --now $$service 2>/dev/null || service $$service stop || true; \
	done

lint: $(READY) ## Check style, types and warnings of all code
	ruff check
	ruff format --check
	mypy conformance tests bench
	mypy servers/python
	mypy clients/python
	@unformatted=$$(gofmt -l $(GO_CODE)); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	for code in $(GO_CODE); do (cd $$code && go vet .) || exit 1; done
	clang-format --dry-run -Werror $(C_CODE)
	for code in $(C_CODE); do \
		gcc -std=gnu11 -O2 $(C_WARNINGS) -c -o /dev/null $$code && \
		gcc -std=gnu11 -O2 $(C_WARNINGS) $(C_FEATURES) -c -o /dev/null $$code || exit 1; \
	done
	conformance check scenarios servers clients

format: $(READY) ## Put all code into its style
	ruff check --fix
	ruff format
	gofmt -w $(GO_CODE)
	clang-format -i $(C_CODE)

clean: ## Remove all that make made
	rm -rf build $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(BENCH_READY): $(READY)
	@pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat \
		--editable '.[bench]' # in the form that .ci/setup chose
	@touch $@

$(READY): pyproject.toml .ci/setup
	@.ci/setup $(VENV)
	@touch $@
