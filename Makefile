# The same commands on a laptop and in CI. `make help` lists it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROUNDS ?= 20
COUNT ?= 5000
OUT ?= digests.json
MINUTES ?= 1
SEED ?= 0
DATABASE ?= postgresql
AXE_VERSION := 4.14.1
AXE := $(VENV)/axe-core-$(AXE_VERSION)/axe.min.js
# Caches of compiled modules, also where the environment forbids them: the suite starts hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=
# No database, no service, no whole job (tests/engine/jobs), and no exports, which are slow.
QUICK := tests/unit tests/contracts tests/golden \
	$(addprefix tests/engine/,balancing data losses models training)

.PHONY: help setup browser pictures demo demo-images demo-audio demo-text serve quick test test-all check format bench accuracy accuracy-defaults multitask-accuracy digests gpu faults golden mutants fuzz large resolve clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Stillhouse needs Python 3.11 or newer on the PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,vision,dev]'
	touch $@

demo: setup      ## the main job step by step, on real digits, under 5 minutes
	$(BIN)/python -m tests.demo

demo-images: setup  ## the same for real photos, with a teacher and a student of timm
	$(BIN)/python -m tests.demo.images

demo-audio: setup  ## the same for spoken digits (needs espeak-ng), with a student at least ten times smaller
	$(BIN)/python -m tests.demo.sounds

demo-text: setup  ## the same for texts in ten languages, with a teacher and a student of transformers
	$(BIN)/python -m tests.demo.texts

serve: setup     ## API and one worker on http://127.0.0.1:8000, data in ./data
	$(BIN)/stillhouse serve --data data

quick: setup     ## fast tests (contracts, losses, models and others), under a minute
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(QUICK)

browser: setup  ## what tests of the dashboard need beside: Chromium, its driver, axe-core (as root, from Debian and npm)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
		{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium chromium-driver >/dev/null; }
	@test -f $(AXE) || { mkdir -p $(dir $(AXE)) && npm pack --silent axe-core@$(AXE_VERSION) --pack-destination $(dir $(AXE)) \
		&& tar -xzf $(dir $(AXE))axe-core-$(AXE_VERSION).tgz -C $(dir $(AXE)) --strip-components=1 package/axe.min.js; }

pictures: browser  ## the pictures of the tour, taken from a running service (needs Chromium)
	$(BIN)/python -m tests.demo.tour

test: setup      ## the whole suite, on SQLite and PostgreSQL
	$(BIN)/python -m pytest -n 3 --dist worksteal -q tests

test-all: setup  ## the whole suite, with every combination of the parameters that `make test` samples
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not benchmark and not gpu and not campaign" tests

check: setup     ## lint, format, types, import rules, migrations match the tables
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/stillhouse migrate --check

format: setup    ## format the code and apply lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup     ## the benchmarks; prints figures, no pass or fail
	$(BIN)/python -m pytest -m benchmark -q -s tests/benchmarks

accuracy: setup  ## the accuracy table of every method (about 20 minutes)
	$(BIN)/python -m tests.benchmarks.accuracy

accuracy-defaults: setup  ## what a spec without settings gets, beside plain settings and a grid (about an hour)
	$(BIN)/python -m tests.benchmarks.accuracy.defaults

multitask-accuracy: setup  ## the multi-task table: balancers, sharing, teachers (20 to 25 minutes)
	$(BIN)/python -m tests.benchmarks.accuracy.multitask

digests: setup   ## digests of a fixed set of students, to OUT=file: equal before and after a bit-preserving change
	$(BIN)/python -m tests.digests $(OUT)

gpu: setup       ## tests and benchmarks that need a CUDA device
	$(BIN)/python -m pytest -m gpu -q tests

faults: setup    ## every fault for ROUNDS=20 rounds, and their table (minutes per round)
	$(BIN)/python -m tests.faults.campaign --rounds $(ROUNDS) --table tests/faults/TABLE.md

golden: setup    ## rewrite the golden files (read the diff before you commit it)
	STILLHOUSE_GOLDEN=write $(BIN)/python -m pytest -q tests/golden

mutants: setup    ## COUNT=5000 changed uploads through the inspection, and their table (half an hour)
	$(BIN)/python -m tests.mutants --count $(COUNT) --seed 0 --table tests/mutants/TABLE.md

fuzz: setup      ## generated calls to a running service, then changed uploads, MINUTES=1 long (SEED=0, DATABASE=postgresql)
	$(BIN)/python -m tests.mutants.fuzz --minutes $(MINUTES) --seed $(SEED) --database $(DATABASE)

large: setup    ## 3 GB of arrays and a million JPEGs in a process that may take 1.2 GB more (half an hour)
	for kind in arrays jpegs; do \
		folder=$$(mktemp -d) && OMP_NUM_THREADS=1 ARROW_DEFAULT_MEMORY_POOL=system MALLOC_MMAP_THRESHOLD_=2097152 \
		$(BIN)/python -m tests.benchmarks.inspections.large_child $$kind 1000000 800 $$folder; rm -rf $$folder; done

resolve: setup    ## resolve the constraints of both versions of torch by pip; installs nothing, needs an index
	$(BIN)/python -m tests.architecture.constraints --resolve

clean:           ## remove the virtual environment
	rm -rf $(VENV)
