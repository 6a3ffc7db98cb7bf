# Everything goes through .venv, made from a lock file whose hashes are checked. `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help run test check bench histories errors lock clean venv venv-dev

BIN := .venv/bin
export PYTHON

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: venv ## set up what is missing, start everything here, run a sample mission, stay up until Ctrl-C
	@$(BIN)/python -m cli.main up

test: venv-dev ## all tests, on a real Temporal and a real PostgreSQL
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: venv-dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv-dev ## benchmarks, each beside a baseline from the same run
	$(BIN)/python -m bench $(ARGS)

histories: venv-dev ## record the histories of workflow endings that have none yet
	$(BIN)/python -m tests.replay.record $(ARGS)

errors: venv-dev ## write docs/errors.md from the code
	$(BIN)/python -m scripts.error_codes

lock: ## resolve pyproject.toml anew into both lock files (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 1; }
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" --upgrade --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" --constraint requirements.lock --upgrade --quiet \
		--output-file requirements-dev.lock

clean: ## remove the virtual environment and caches; .taskforce, which holds data, stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

venv:
	@scripts/setup-venv.sh run

venv-dev:
	@scripts/setup-venv.sh dev
