# One virtual environment in .venv, made on first use and again when pyproject.toml changes.
# Needs Python 3.11 or later, a C++ compiler, and an index that pip can reach.
#
#   make demo       tune a GEMM on this machine's CPU, compare, write a page of it
#   make test       the test suite, about 9 minutes on 2 cores
#   make test-slow  the tests that take minutes each
#   make bench      the figures the project promises, against the peers (PEERS=0: without installing them);
#                   one rule for 60 GEMM shapes takes an hour: make bench ARGS="--only dispatch"
#   make bench-vendor  tuned CPU kernels beside MKL, oneDNN, OpenBLAS, ONNX Runtime and torch, half an hour on an
#                   idle machine: ARGS="--quick" takes ten minutes, ARGS="--only conv2d" some; goes on where it stopped
#   make bench-gpu  on a machine with a GPU: tuned CUDA kernels beside cuBLAS, cuBLASLt, cuDNN, torch and FlashAttention,
#                   half an hour: ARGS="--quick" takes eight minutes, ARGS="--only gemm --dtype f16" some; goes on too
#   make gpu-check  on a machine with a GPU, first: see docs/gpu-checklist.md
#   make lint       ruff and mypy
#   make clean      build output and caches; never results.db
#
# CUDA=cuda12 GPU=gpu12 for a driver of CUDA 12 (525 to 575).
# PYTHON=python3.12 chooses the interpreter, JOBS=4 the number of test processes.

ifndef PYTHON
  PYTHON := $(shell for p in python3.11 python3 python3.12 python3.13; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
endif
JOBS ?= 2
PEERS ?= 1
CUDA ?= cuda
GPU ?= gpu
# The release whose CPU build pip finds here. Elsewhere PyPI's torch may be a CUDA build of several GB:
# tests take torch only as a CPU build, the bench takes what there is, PEERS=0 takes none.
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# -qq: pip warns about each place of an index that lacks a package; errors are still shown.
INSTALL := $(PIP) install -qq

.PHONY: demo test test-slow bench bench-vendor bench-gpu gpu-check lint clean check-machine
.DEFAULT_GOAL := demo

demo: $(VENV)/.base
	$(BIN)/tuner compare experiments/gemm_demo.toml
	@$(BIN)/tuner report gemm_demo --html results/gemm_demo/report.html

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

# OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE make a current NumPy slower than it is: not a fair peer.
bench: $(VENV)/.base $(if $(filter-out 0,$(PEERS)),$(VENV)/.peers)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -m tuner.lab.bench $(ARGS)

bench-vendor: $(VENV)/.vendor
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -m tuner.lab.bench_vendor $(ARGS)

# PyTorch takes part where it is installed, as a build for GPUs; `torch` from PyPI is one on most machines with a GPU.
bench-gpu: $(VENV)/.gpu
	$(BIN)/python -m tuner.lab.bench_gpu $(ARGS)

gpu-check: $(VENV)/.gpu
	$(BIN)/tuner devices --db results/gpu-check.db
	$(BIN)/python -m pytest -m gpu -rs --timeout 900 $(ARGS)
	$(BIN)/tuner sweep gemm --shape 1024x1024x1024 --device cuda:0 --kernel cuda_warp_tiles --trials 20 \
	  --db results/gpu-check.db

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Each failure is one line that says what to install.
check-machine:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "error: Python 3.11 or later is needed, $(PYTHON) is not; choose one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@command -v $(CXX) >/dev/null || command -v clang++ >/dev/null || command -v c++ >/dev/null \
	  || { echo "error: no C++ compiler (g++ or clang++); on Debian and Ubuntu: apt install g++" >&2; exit 1; }

$(BIN)/python: | check-machine
	$(PYTHON) -m venv $(VENV)

# What tuning needs.
$(VENV)/.base: pyproject.toml | $(BIN)/python
	@echo "installing what tuning needs into $(VENV): a minute or two, once"
	$(INSTALL) -e .
	@touch $@

# What the tests need: also the NVRTC wheels, with which CUDA compiles on a machine with no GPU.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[dev,$(CUDA),postgres]'
	@if $(PIP) install --dry-run --no-deps '$(TORCH)' 2>/dev/null | grep -q '+cpu'; then \
	  $(INSTALL) '$(TORCH)'; \
	else echo "torch has no CPU build here: tests that need it are skipped"; fi
	@touch $@ $(VENV)/.base

# What measuring on a GPU needs besides; cuBLAS alone is 400 MB.
$(VENV)/.gpu: pyproject.toml | $(VENV)/.installed
	$(INSTALL) -e '.[$(GPU)]'
	@mkdir -p results
	@touch $@

# What the bench compares with.
$(VENV)/.peers: pyproject.toml | $(VENV)/.base
	$(INSTALL) '$(TORCH)' -e '.[torch,onnxruntime]'
	@touch $@

# And besides what it calls in C.
$(VENV)/.vendor: pyproject.toml | $(VENV)/.peers
	$(INSTALL) -e '.[vendor]'
	@touch $@
