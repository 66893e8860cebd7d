# Every chore of the repository. `make help` lists them; nothing has to be set or installed by hand first.
#
# On Linux, PyPI's torch brings CUDA libraries of several gigabytes. For the CPU build name PyTorch's public index:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Another interpreter than python3:
#   make demo PYTHON=python3.12

PYTHON ?= python3
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt


# Measured with the pins of constraints.txt and Python 3.11 on Linux x86-64: 72 wheels of 377 MB.
SIZE := Creating $(VENV): about 380 MB to download with the CPU build of torch, 1.6 GB on disk.
ifeq ($(TORCH_INDEX),)
SIZE += Should pip fetch nvidia packages (gigabytes), stop it and read the top of the Makefile.
endif

.DEFAULT_GOAL := help
.PHONY: help python install demo test test-all fuzz check format bench wheels readme clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) not found; install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv)"; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1), expected 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module; install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

# Touched last, so an interrupted install is resumed and a finished one is reused until a pin or a dependency changes.
$(STAMP): pyproject.toml constraints.txt | python
	$(eval FRESH := yes)
	@echo "$(if $(wildcard $@),Updating $(VENV): its pins changed.,$(SIZE))"
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0 hatchling
	$(PIP) --no-build-isolation -e '.[train,onnx,images,serve,bench,browser,dev]'
	@touch $@

install: $(STAMP) ## create the environment in .venv (reused when it is up to date) and build the core
	@$(BIN)/python runtime/native/build.py
	@echo "$(if $(FRESH),$(VENV) is ready,$(VENV) is up to date: reused)"

demo: install ## train, prune, export, adapt without torch; ends with a table and demo/report.html
	$(BIN)/regrow demo --out demo

test: install ## the whole default suite
	$(BIN)/python -m pytest

test-all: install ## the default suite and the tests that take minutes
	$(BIN)/python -m pytest -m ''

fuzz: install ## search for plans that make the core leave its memory (clang, libclang-rt-dev); SECONDS=600
	$(BIN)/python -m tests.runtime.native.fuzz --seconds $(or $(SECONDS),600)

check: install ## ruff, format, strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	MYPYPATH=runtime/native $(BIN)/mypy runtime/native/wheels.py

format: install ## let ruff rewrite what `make check` would complain about
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: demo ## latency, memory, cold start and sizes of the demo's bundle, beside torch
	$(BIN)/regrow bench demo/pruned.regrow

wheels: install ## wheels for Linux on x86-64 and aarch64, glibc and musl, into dist/; checked, and run where QEMU is
	$(PIP) ziglang
	$(BIN)/python runtime/native/wheels.py dist
	$(BIN)/python -m pytest -m '' -rs tests/test_wheels.py

readme: install ## write the README's tables and docs/benchmarks.md from benchmarks/results
	$(BIN)/python -m benchmarks.readme

clean: ## remove what was built or measured here (the environments stay)
	rm -rf build dist demo runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find runtime exporter trainer benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environments too
	rm -rf $(VENV) .venv-device
