# `make demo` and `make test` make the environment first, if it is not there.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test lint types bench clean
.DELETE_ON_ERROR:

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/.ready
	$(BIN)/tunescope run studies/demo.yaml

# Tests that take both cores for processes of their own, and kill them, come after those that can share.
ALONE := $(foreach name,chaos cluster execute slurm text together,tests/engine/test_$(name).py)
ALONE += tests/federated/test_deploy.py tests/federated/test_ray.py

test: .venv/.ready lint types
	$(BIN)/python tools/text_example.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=8 $(ALONE:%=--ignore=%)
	$(BIN)/python -m pytest $(ALONE)

lint: .venv/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.ready
	$(BIN)/basedpyright

bench: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/seam.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/prefix.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/store.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/heads.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/landscape.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/page.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/federated.py

clean:
	rm -rf .venv results build dist
