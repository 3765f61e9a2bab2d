# Every target that needs the environment makes it first; a second call skips what is done.
PYTHON ?= python3
DATA ?= digits
INPUT ?= photos
OUTPUT ?= $(INPUT)-protected
SWEEP ?= epsilon
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup train compare sweep dashboard evaluate validate protect lint format test test-all coverage benchmark leaderboard tables docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  variables: DATA=<name: docs/DATA.md> ARGS="key=value ..." (all keys: .venv/bin/confoundergan --help)'

setup: $(VENV)/.done ## make .venv with the tested versions (6 GB, minutes)

$(VENV)/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; give a newer one with: make setup PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,wandb,tensorboard,dicom,jxl,onnx]'
	@touch $@

train: setup ## train, protect, retrain victims, sum up: make train DATA=digits ARGS="seeds=3"
	@$(BIN)/confoundergan train data=$(DATA) $(ARGS)

compare: setup ## all protections on one data set, as a table: make compare DATA=digits ARGS="jobs=2"
	@$(BIN)/confoundergan grid grid=compare_$(DATA) $(ARGS)

sweep: setup ## try settings, as a local grid or with W&B: make sweep SWEEP=epsilon ARGS="logger=wandb"
	@$(BIN)/confoundergan sweep sweep=$(SWEEP) $(ARGS)

dashboard: setup ## make or renew the W&B workspace, or check its panels on a run: make dashboard ARGS="run=runs/..."
	@$(BIN)/confoundergan dashboard $(ARGS)

evaluate: setup ## retrain victims on a finished run: make evaluate ARGS="run=runs/... victim.arch=resnet18"
	@$(BIN)/confoundergan evaluate $(ARGS)

validate: setup ## check data, networks, disk and logger without training
	@$(BIN)/confoundergan validate data=$(DATA) $(ARGS)

protect: setup ## protect your photos: make protect INPUT=photos OUTPUT=photos-protected ARGS="generator=runs/..."
	@$(BIN)/confoundergan protect 'source=$(INPUT)' 'dest=$(OUTPUT)' $(ARGS)

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## the tests that take under 10 minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

test-all: setup ## all tests, the slow ones too
	$(BIN)/pytest -m ''

coverage: setup ## the same tests, and which lines none of them runs
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal --cov --cov-report=term

benchmark: setup ## Lightning's loop and the victims' beside bare PyTorch; data and protecting beside bare Pillow; fitting beside bare passes
	@$(BIN)/python -m experiments.benchmarks.loop
	@$(BIN)/python -m experiments.benchmarks.data
	@$(BIN)/python -m experiments.benchmarks.protect
	@$(BIN)/python -m experiments.benchmarks.methods
	@$(BIN)/python -m experiments.benchmarks.victims

leaderboard: setup ## computes what docs/BENCHMARK.md lacks, and writes it: make leaderboard ARGS="jobs=2"
	@$(BIN)/confoundergan grid grid=benchmark run_dir=results/grids/benchmark $(ARGS)
	@$(BIN)/python -m experiments.tables

tables: setup ## write README's tables from results/
	@$(BIN)/python -m experiments.tables

docs: setup ## the documentation as a site, with pages of the API: site/index.html
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what was made, the environment, the runs and the decoded images too
	rm -rf $(VENV) runs data/cache build site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
