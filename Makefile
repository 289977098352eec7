# Everything a user or CI runs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-fci build cpp demo demo-vision demo-smoke test test-sanitize bench bench-learner bench-vision fci curves curves-vision lint tidy format clean

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
RUN := $(VENV)/bin/serl-rt
CPP_BUILD := build/cpp
JOBS ?= $(shell nproc)

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## create .venv, install missing system packages, build and install the project
	@scripts/setup.sh

build: setup ## rebuild the Python extension after a change in C++
	@scripts/setup.sh --rebuild

cpp: setup ## build the C++ libraries, the native controller, C++ tests and benchmarks (no Python)
	@cmake -S . -B $(CPP_BUILD) -G Ninja -DSERL_RT_PYTHON=OFF -DSERL_RT_TESTS=ON \
		-DPython_EXECUTABLE=$(abspath $(VENV_PYTHON)) $(CMAKE_ARGS) > $(CPP_BUILD).log 2>&1 \
		|| { cat $(CPP_BUILD).log; exit 1; }
	@cmake --build $(CPP_BUILD) -j $(JOBS)

demo: setup ## learn PickCube in simulation: controller and learner, hot swap, a table, a plot and a clip
	@$(RUN) demo $(DEMO_ARGS)

demo-vision: setup ## the same from two cameras: nothing but their images says where the cube is
	@$(RUN) demo --task pick_cube_vision --run runs/demo-vision $(DEMO_ARGS)

demo-smoke: setup ## the same loop on the reach task, in under two minutes
	@$(RUN) demo --task reach --run runs/demo-smoke $(DEMO_ARGS)

setup-fci: setup ## create .venv-fci with a strict simulated robot for `make fci` and the tests
	@scripts/setup_fci.sh

test: cpp setup-fci ## all tests: C++, Python, sanitizers, the smoke demo
	@$(VENV_PYTHON) -m pytest $(PYTEST_ARGS)

test-sanitize: cpp ## only the C++ tests under AddressSanitizer, UBSan and ThreadSanitizer
	@$(VENV_PYTHON) -m pytest -m sanitize $(PYTEST_ARGS)

bench: cpp ## measure every speed against its control; writes runs/bench/latest.json
	@$(VENV_PYTHON) -m bench $(BENCH_ARGS)

bench-learner: setup ## critic updates/s and memory of the learner against SB3, SBX, any command
	@$(VENV_PYTHON) -m bench.learner $(BENCH_ARGS)

bench-vision: cpp ## the same for what images add
	@$(VENV_PYTHON) -m bench.vision $(BENCH_ARGS)

fci: cpp setup-fci ## drive simulated robots over their own network protocol; writes runs/fci/summary.json
	@$(VENV_PYTHON) -m bench.fci $(FCI_ARGS)

curves: setup ## learn PickCube with three recipes and three seeds each, draw docs/learning_curves.png (an hour)
	@$(VENV_PYTHON) -m bench.learning_curves --output docs/learning_curves.png $(CURVES_ARGS)

curves-vision: setup ## the same for image encoders, small and frozen, at equal wall time: docs/encoders.png (40 minutes)
	@$(VENV_PYTHON) -m bench.learning_curves --compare vision --output docs/encoders.png $(CURVES_ARGS)

lint: setup ## formatting, static checks, types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@git ls-files '*.cpp' '*.hpp' | xargs $(VENV)/bin/clang-format --dry-run --Werror
	@$(VENV)/bin/mypy

tidy: cpp ## clang-tidy on the C++ sources (minutes)
	@git ls-files 'controller/cpp/*.cpp' | grep -v bindings | xargs -P $(JOBS) -n 1 $(VENV)/bin/clang-tidy --quiet -p $(CPP_BUILD)

format: setup ## format Python and C++
	@$(VENV)/bin/ruff check --fix-only -q . ; $(VENV)/bin/ruff format .
	@git ls-files '*.cpp' '*.hpp' | xargs $(VENV)/bin/clang-format -i

clean: ## remove what was built (keeps .venv and runs)
	rm -rf build
