# The front door: every target sets up what it needs by itself (see .ci/setup).
SHELL := bash
.DEFAULT_GOAL := help

VENV := .venv
VERSIONS := locked
MINUTES := 10
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Go asks for it; a service or a container may have none.
export HOME := $(or $(HOME),$(shell unset HOME; echo ~))
# Some images forbid Python to keep what it compiles; then each start in a test would compile it all again.
export PYTHONDONTWRITEBYTECODE :=

PYTHON_CODE := conformance tests bench servers/python clients/python
GO_CODE := servers/go clients/go
C_CODE := servers/c/server.c clients/c/client.c bench/load.c bench/yardstick.c bench/bare.c
C_FILES := $(C_CODE) $(wildcard servers/c/*.h clients/c/*.h tests/audit/c/*.[ch] scenarios/templates/c*/*/*.c*)
C_FEATURES := -DACCOUNTS -DLINE_EDITING
SUITES := $(patsubst %/suite.yaml,%,$(wildcard examples/*/suite.yaml))
TABLES := build/load/table.json build/bench/table.json # what other targets have measured
PEERS := redis-server nats-server ngircd inspircd
C_WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror

# NULL ends the arguments of `log_event`: in glibc it is a pointer, and `sentinel` has gcc check it.
C_UNASKED := --suppress=varFuncNullUB

# One lock each, for every Python and platform that is supported, with the hashes of all files.
LOCK := build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock"

.PHONY: help conformance compare pictures suites test test-newest bench bench-harness bench-peers docs man wheel lint format lock clean mutants faults load audit fuzz soak

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

conformance: $(READY) ## Play every scenario over every pairing, show the matrix (ARGS="--server c")
	@conformance run --probe-features --delivery mixed \
		$(addprefix --attach ,$(wildcard build/mutants/results.json $(TABLES))) $(ARGS)

# Measures start, memory and size; shows cases after `make conformance`, and speed after `make bench`.
compare: $(READY) ## Lay the programs side by side, on a page: sources, figures, what was said
	@page=$$(conformance compare $(addprefix --attach ,$(wildcard $(TABLES))) $(ARGS)) && echo "$$page" && \
		if [ "$$DISPLAY$$WAYLAND_DISPLAY" ]; then python -m webbrowser -t "file://$(CURDIR)/$$page"; fi

pictures: compare ## Draw the pictures of that page for docs/ (in Chromium)
	@python tests/report/pictures.py build/conformance/compare.html

# Again and again on a busy machine, for so many minutes: red where a case did not always end alike.
soak: $(READY) ## Look for cases that flake (MINUTES=10, ARGS="scenarios/chat.yaml")
	@.ci/soak $(MINUTES) $(ARGS)

# The file `packages` of a suite names the Debian packages that its programs are in.
suites: $(READY) ## Play the suites of examples/ against their servers (ARGS="-k join", SUITES=examples/irc)
	@.ci/services $$(cat $(wildcard $(SUITES:=/packages)) /dev/null) || true # without them: unavailable
	@red=; for suite in $(SUITES); do \
		echo "$$suite"; \
		conformance run "$$suite" --output "build/suites/$${suite##*/}" $(ARGS) || red="$$red $$suite"; \
	done; [ -z "$$red" ] || { echo "red:$$red"; exit 1; }

test: $(READY) ## Run everything that can fail: the harness's own tests, then the whole matrix
	@pytest -n auto --dist worksteal tests scenarios $(ARGS)

faults: $(READY) ## Let system calls fail under all programs, and draw what happened (ARGS="accept EMFILE")
	@python tests/faults/draw.py $(ARGS)

fuzz: $(READY) ## Play random sessions on all servers and clients at once (MINUTES=30 SEED=1 JOBS=2)
	@PYTHONPATH=tests python -m fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

test-newest: ## Run the same with the newest versions that pyproject.toml allows, in .venv-newest
	@rm -f .venv-newest/.ready # what is newest changes
	@$(MAKE) --no-print-directory test VENV=.venv-newest VERSIONS=newest

mutants: $(READY) ## Play our programs, each wrong in one place: what do the scenarios miss? (ARGS="--rule CHAT")
	@python -m tests.mutants $(ARGS)

bench: $(BENCH_READY) ## Measure the servers beside those people would pick (ARGS="--quick --only 1-100")
	@python -m bench $(ARGS)

bench-harness: $(READY) ## Measure what a case costs, beside the bare minimum
	@python -m bench.harness

load: $(READY) ## Put crowds on the three servers, for three quarters of an hour (ARGS="--minutes 1 --server c")
	@python -m bench.crowds $(ARGS)

bench-peers: ## Install those peers, Debian's packages (their services are stopped again)
	@.ci/services $(PEERS)

docs: $(READY) ## Build the documentation into build/docs, and check its links
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "build/docs/index.html"

wheel: $(READY) ## Build the package, with scenarios, protocol and reference programs in it, in build/dist
	@python -m build --no-isolation --outdir build/dist

man: $(READY) ## Make the manual page of `conformance` from its --help, in build/man
	@mkdir -p build/man
	@argparse-manpage --module conformance.cli.parser --function parser --project-name conformance \
		--manual-section 1 --manual-title "Conformance" --prog conformance --output build/man/conformance.1
	@echo "man -l build/man/conformance.1"

audit: $(READY) ## Fuzz and analyse all programs, for hours (ARGS="--inputs 100000 --only go")
	@python tests/audit $(ARGS)

lint: $(READY) ## Check style, types and warnings of all code
	ruff check
	ruff format --check
	mypy conformance tests bench
	for program in $(wildcard examples/*/servers/*/*.py scenarios/templates/python/*/*.py); do mypy $$program || exit 1; done
	mypy servers/python
	mypy clients/python
	@unformatted=$$(gofmt -l $(GO_CODE) examples scenarios tests/audit/go); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	for code in $(GO_CODE); do (cd $$code && go vet ./...) || exit 1; done
	clang-format --dry-run -Werror $(C_FILES)
	for code in $(C_CODE); do \
		gcc -std=gnu11 -O2 $(C_WARNINGS) -c -o /dev/null $$code && \
		gcc -std=gnu11 -O2 $(C_WARNINGS) $(C_FEATURES) -c -o /dev/null $$code || exit 1; \
	done
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --std=c11 \
		$(C_UNASKED) $(C_FEATURES) servers/c/server.c clients/c/client.c
	conformance check scenarios
	conformance check scenarios/templates/*
	for suite in $(SUITES); do conformance check $$suite || exit 1; done

format: $(READY) ## Put all code into its style
	ruff check --fix
	ruff format
	gofmt -w $(GO_CODE) tests/audit/go
	clang-format -i $(C_FILES)
	conformance schema conformance/schema --table docs/scenarios.md

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
