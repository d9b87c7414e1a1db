# Needs git, make and python3 (3.11 or later) with pip. uv is fetched from the package index if it is not installed.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
export HF_HUB_OFFLINE ?= 1
export DVC_NO_ANALYTICS ?= 1
# Set in many containers, where every process would then compile PyTorch and transformers anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow lint types format setup sound-approach-miniature

setup: $(UV)
	$(UV) sync --quiet --frozen

.tools/bin/uv:
	python3 -m pip install --quiet --disable-pip-version-check --target .tools uv

demo: setup
	$(UV) run --no-sync hearonce check
	$(UV) run --no-sync dvc repro
	@echo "The report is in data/report/index.html; \`uv run hearonce serve\` opens the search page"

test: setup
	$(UV) run --no-sync pytest

test-slow: setup
	$(UV) run --no-sync pytest -m slow

lint: setup
	$(UV) run --no-sync ruff check .
	$(UV) run --no-sync ruff format --check .

types: setup
	$(UV) run --no-sync mypy

format: setup
	$(UV) run --no-sync ruff check --fix .
	$(UV) run --no-sync ruff format .

sound-approach-miniature: setup
	PYTHONPATH=tests $(UV) run --no-sync python -m miniature.chain
