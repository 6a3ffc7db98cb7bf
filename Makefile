# Everything goes through .venv, made from a lock file whose hashes are checked. `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help run doctor test test-fast chaos cov check fmt bench histories errors lock clean venv-run venv-check venv-test

# By `python -m`: the programs in .venv/bin begin with a path that may hold what no shell or kernel takes there.
PYTHON_M := .venv/bin/python -m
UV = $(or $(shell command -v uv),$(wildcard .venv/tools/bin/uv))
export PYTHON
# What a person's shell has set for another Python would make ours load its modules.
unexport CDPATH PYTHONHOME PYTHONPATH PYTHONPLATLIBDIR PYTHONEXECUTABLE PYTHONOPTIMIZE PYTHONINSPECT
# Or, where images for containers set it, makes each process compile LiteLLM anew: ten seconds and more.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

run: venv-run ## set up what is missing, start everything here, run a sample mission, stay up until Ctrl-C
	@$(PYTHON_M) cli.main up

doctor: ## say what is here and what `make run` and `make test` would fetch; needs nothing but Python
	@scripts/setup.sh doctor
	@if scripts/setup.sh ready; then $(PYTHON_M) cli.main doctor; fi

test: venv-test ## all tests, on a real Temporal and a real PostgreSQL
	$(PYTHON_M) pytest -n 2 --durations=15 $(ARGS)

# What loads LiteLLM, builds the whole gateway, reads the whole tree or replays histories takes a minute by itself.
FAST := $(addprefix tests/,taskforce/core taskforce/application cli activities workflows models \
	$(addprefix taskforce/infrastructure/,auth net persistence tools))
test-fast: venv-check ## tests of rules, use cases, adapters and commands without a server or process: about a minute
	$(PYTHON_M) pytest -n 2 -m "not server and not process" --hypothesis-profile=fast $(FAST) $(ARGS)

chaos: venv-test ## a thousand runs while each process of a deployment is killed again and again
	TASKFORCE_CHAOS_RUNS=$(or $(RUNS),1000) $(PYTHON_M) pytest tests/chaos/test_everything_killed.py $(ARGS)

cov: venv-test ## all tests but those that kill processes, and which lines they reach; fails below the floor in pyproject.toml
	$(PYTHON_M) pytest -n 2 --ignore=tests/chaos --cov --cov-report=term:skip-covered --cov-report=html $(ARGS)

check: venv-check ## format, lint, types, import contracts
	$(PYTHON_M) ruff format --check .
	$(PYTHON_M) ruff check .
	$(PYTHON_M) mypy
	.venv/bin/python -c 'from importlinter.cli import lint_imports_command as run; run()'

fmt: venv-check ## format, and mend what the linter can mend by itself
	$(PYTHON_M) ruff format .
	$(PYTHON_M) ruff check --fix .
	$(PYTHON_M) ruff format .

bench: venv-test ## benchmarks, each beside a baseline from the same run
	$(PYTHON_M) bench $(ARGS)

histories: venv-test ## record the histories of workflow endings that have none yet
	$(PYTHON_M) tests.replay.record $(ARGS)

errors: venv-check ## write docs/errors.md from the code
	$(PYTHON_M) scripts.error_codes

# ARGS=--upgrade takes the newest of everything; without it only what pyproject.toml makes necessary changes.
LOCKED := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock" --quiet
lock: ## resolve pyproject.toml into the lock files; ARGS=--upgrade renews all
	@test -n "$(UV)" || { echo "make lock needs uv: make run fetches one, or see https://docs.astral.sh/uv/"; exit 1; }
	"$(UV)" pip compile pyproject.toml $(LOCKED) $(ARGS) --output-file requirements.lock
	"$(UV)" pip compile pyproject.toml --extra dev $(LOCKED) $(ARGS) --constraint requirements.lock \
		--output-file requirements-dev.lock
	echo uv | "$(UV)" pip compile - $(LOCKED) $(ARGS) --output-file requirements-uv.lock

clean: ## remove the virtual environment and caches; .taskforce, which holds data, stays
	@scripts/setup.sh clean
	rm -rf .cache .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

venv-run:
	@scripts/setup.sh run

venv-check:
	@scripts/setup.sh check

venv-test:
	@scripts/setup.sh test
