# Two commands matter: `make book` and `make test`. Each needs only Python >= 3.11.5, make and git.
#   make book                          the whole book with profile demo, no data needed
#   make book PROFILE=smoke            the same wiring in minutes, with numbers that mean nothing
#   make book DATA_DIR=/path/to/data   real scans (see book/reproduce.md)

PROFILE  ?= demo
RUN_DIR  ?=
DATA_DIR ?=
DATASET  ?=
SEED     ?=
ARGS     ?=
WHERE    := $(if $(RUN_DIR),--run-dir '$(RUN_DIR)') $(if $(DATA_DIR),--data-dir '$(DATA_DIR)')

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH := $(VENV)/.bench

# The first interpreter on the path that is new enough; name another with `make PYTHON=...`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)

# glibc hands large blocks back to the kernel after every training step; keeping them is faster.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 100000000000
# A build ends when the `make` that started it is ended.
export SADM_STOP_WITH_PARENT := 1
# Notebooks run in the kernel of .venv, whatever other kernels the machine has.
export JUPYTER_PREFER_ENV_PATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Every notebook is a process that imports the same packages: keep them compiled, also where an
# image for containers has switched that off.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: book site pdf test bench install lint chain browser links doctor clean distclean help

book: $(STAMP)  ## run all notebooks, build the site
	@exec $(BIN)/sadm book --profile '$(PROFILE)' $(WHERE) $(if $(DATASET),--dataset '$(DATASET)') \
	  $(if $(SEED),--seed '$(SEED)') $(ARGS)

site: $(STAMP)  ## build the site again from notebooks that were run before
	@exec $(BIN)/sadm book --site-only --profile '$(PROFILE)' $(WHERE)

pdf: $(STAMP)  ## print the site that was built before to one PDF, with Chromium
	@exec $(BIN)/sadm book --pdf --profile '$(PROFILE)' $(WHERE)

test: $(STAMP) lint  ## linter, unit tests, whole chain in profile smoke, its pages in a browser
	$(BIN)/python -m pytest
	$(MAKE) --no-print-directory chain

lint: $(STAMP)
	$(BIN)/ruff check .

chain: $(STAMP)  ## the whole chain once in profile smoke, and its pages in a browser
	$(BIN)/python -m pytest -m 'chain or browser' -s tests/test_chain.py tests/sweep tests/browser

# The pages of a run that is finished: make browser PROFILE=demo
browser: $(STAMP)  ## look at every page of a built site in Chromium
	SADM_SITE='$(or $(RUN_DIR),runs/$(PROFILE))/book' $(BIN)/python -m pytest -m browser tests/browser

# The text is staged first: what it is filled with, such as the table of data sets, has links, too.
links: $(STAMP)  ## ask every link of the text whether it still leads somewhere (network)
	$(BIN)/python -m sadm_utils.website _build/links/text
	$(BIN)/jupyter-book build _build/links/text --builder linkcheck --path-output _build/links

bench: $(BENCH)  ## speed and memory against peers and the machine, about half an hour
	$(BIN)/python -W ignore -m benchmarks $(ARGS)

doctor: $(STAMP)  ## versions, device, disk, data
	@$(BIN)/sadm doctor

install: $(STAMP)  ## create .venv and install everything

$(STAMP): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { \
	  echo 'No Python >= 3.11.5 found: install one, or name it with make PYTHON=/path/to/python.' >&2; \
	  exit 1; }
	@echo 'Installing into $(VENV): about 150 packages, 2 GB; one to two minutes.'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[book,dask,pdf,test]'
	@touch $@

$(BENCH): $(STAMP)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

clean:  ## remove what was built; keep .venv and runs
	rm -rf _build .pytest_cache .ruff_cache *.egg-info
	find sadm_utils tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove .venv and all runs as well
	rm -rf $(VENV) runs

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | sort
