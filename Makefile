# The front door: every target sets up what it needs by itself (see .ci/setup).
SHELL := bash
.DEFAULT_GOAL := help

VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

PYTHON_CODE := conformance tests servers/python clients/python
GO_CODE := servers/go clients/go
C_CODE := servers/c/server.c clients/c/client.c
C_FEATURES := -DACCOUNTS -DLINE_EDITING
C_WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror

.PHONY: help conformance test lint format clean

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

conformance: $(READY) ## Play every scenario over every pairing, show the matrix (ARGS="--server c")
	@conformance run $(ARGS)

test: $(READY) ## Run everything that can fail: the harness's own tests, then the whole matrix
	@pytest -n auto tests scenarios $(ARGS)

lint: $(READY) ## Check style, types and warnings of all code
	ruff check
	ruff format --check
	mypy conformance tests
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

$(READY): pyproject.toml .ci/setup
	@.ci/setup $(VENV)
	@touch $@
