# What people do with a checkout. Everything happens in .venv, which is made on demand from Python >= 3.11.
#   make demo [PILOT=DIR]        the main job: server, five jobs, the real pilot
#   make run                     the server alone, on .run/panda, until Ctrl-C
#   make test [PG=BINDIR]        what every push must pass; PG: the binaries of another PostgreSQL
#   make test-long PILOT=DIR [HARVESTER=DIR]   the tests that take minutes; with checkouts of PanDAWMS/pilot3 and HSF/harvester
#   make fuzz [SECONDS=3600]     hostile bytes for so long, shared among the tests of tests/fuzz
#   make lint                    format, lint, types and the import contract alone
#   make api                     docs/api/openapi.json and docs/api.md anew, from what is declared and tested
#   make schemathesis            10,000 generated requests over the whole API document
#   make bench ARGS="..."        load a running server; see bench/README.md

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HOME_DIR := .run/panda
ARGS ?= --help
SECONDS ?= 3600

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo run test test-long fuzz lint api schemathesis bench clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; make PYTHON=python3.x ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	PYTHONPATH=tests/whole $(BIN)/python -m bench.demo $(if $(PILOT),--pilot '$(PILOT)')

run: $(STAMP)
	@test -f $(HOME_DIR)/panda_server.cfg || $(BIN)/pandatx init $(HOME_DIR)
	@echo
	@echo "The server runs until Ctrl-C. In another terminal, from this directory:"
	@echo "  curl http://127.0.0.1:25080/server/panda/isAlive"
	@echo "  curl --cacert $(HOME_DIR)/ca.pem --cert $(HOME_DIR)/production.pem https://localhost:25443/api/v1/system/is_alive"
	@echo "  $(BIN)/pandatx --home $(HOME_DIR) job submit --queue LOCAL --exec 'echo hello'"
	@echo "  $(BIN)/pandatx --home $(HOME_DIR) job list"
	@echo
	@exec $(BIN)/twistd -n --pidfile= panda --config $(HOME_DIR)/panda_server.cfg

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -m "not long"

test-long: $(STAMP)
	@test -n "$(PILOT)" || { echo "make test-long PILOT=DIR, with DIR a checkout of PanDAWMS/pilot3" >&2; exit 2; }
	@test -n "$(HARVESTER)" || echo "Without HARVESTER=DIR, a checkout of HSF/harvester, its own communicator is not tried."
	$(BIN)/pytest -m "long$(if $(HARVESTER),, and not harvester)"

api: $(STAMP)
	$(BIN)/python tests/wire/api_documents.py

schemathesis: $(STAMP)
	$(BIN)/pytest -m long tests/wire/test_schemathesis.py

fuzz: $(STAMP)
	PANDATX_FUZZ_SECONDS=$(SECONDS) $(BIN)/pytest tests/fuzz

bench: $(STAMP)
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) .demo .run .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
