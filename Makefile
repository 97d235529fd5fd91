# Two commands are enough for a newcomer: `make demo` and `make test`. `make help` lists the others.
# They need python3.11 (or newer) with ensurepip or pip, make, bash and the package registry; nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python on the path that is new enough; `make test PYTHON=python3.12` chooses another.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
ifeq ($(strip $(PYTHON)),)
$(error No Python 3.11 or newer was found on the path; install one, or name it: make PYTHON=/path/to/python3.11)
endif

# A PROMPT counts only where it was typed on make's command line: some shells export one of their own.
# `value` keeps dollar signs in it as they are.
ifeq ($(origin PROMPT),command line)
override PROMPT := $(value PROMPT)
export PROMPT
DEMO_PROMPT = -- "$$PROMPT"
endif

CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
# Test processes side by side; each takes some GiB of memory.
JOBS ?= $(shell test $(CORES) -lt 4 && echo $(CORES) || echo 4)
TEST_THREADS ?= $(shell echo $$(( ($(CORES) + $(JOBS) - 1) / $(JOBS) )))

UV := .venv-uv/bin/uv
DEV := .venv/bin/python
DEMO := .venv-demo/bin/python
PICTURE ?= ragturbo-demo.png
FAMILY := training/weights/emoji
BUNDLE := ragturbo_sdk/bundles/emoji
CONFIG := training/configs/emoji.toml
# One file for every platform, with no index address in it.
LOCK := --quiet --extra cpu --universal --python-version 3.11 --no-annotate --no-emit-index-url \
	--custom-compile-command "make lock"

.PHONY: help demo venv test lint coverage format docs package mutation release-check results study bench train export lock clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ── what a newcomer types ─────────────────────────────────────────────────────────────────────────

demo: .venv-demo/.stamp ## draw a picture with the runtime alone: make demo PROMPT="two cats on a red background"
	@TIMEFORMAT='%R s from the start of the process to the finished picture'; \
	time $(DEMO) -m ragturbo_sdk demo --output "$(PICTURE)" $(DEMO_PROMPT)

# Two runs: what measures the machine wants it for itself. A part of the suite may have nothing for one of them (status 5).
venv: .venv/.stamp ## the development environment alone: .venv

test: .venv/.stamp ## the whole test suite; make test ARGS="-k tokenizer" runs a part
	OMP_NUM_THREADS=$(TEST_THREADS) $(DEV) -m pytest -m "not quiet" -n $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS) || test $$? -eq 5
	$(DEV) -m pytest -m quiet $(ARGS) || test $$? -eq 5

# ── what a developer types ────────────────────────────────────────────────────────────────────────

coverage: .venv/.stamp ## line coverage of what ships, by the tests that need no training; at least 95 %
	$(DEV) -m coverage erase
	$(DEV) -m coverage run -m pytest --ignore tests/full_size --ignore tests/ladd --ignore tests/export_ \
		--ignore tests/evaluation --ignore tests/study --ignore tests/family --ignore tests/house $(ARGS)
	$(DEV) -m coverage combine --quiet
	$(DEV) -m coverage report

lint: .venv/.stamp ## ruff (rules and format) and mypy --strict
	$(DEV) -m ruff check .
	$(DEV) -m ruff format --check .
	$(DEV) -m mypy --strict

format: .venv/.stamp ## let ruff rewrite the files
	$(DEV) -m ruff check --fix .
	$(DEV) -m ruff format .

docs: .venv/.stamp ## the documentation as a site: site/index.html; any warning ends it
	NO_MKDOCS_2_WARNING=1 $(DEV) -m mkdocs build --strict

package: $(UV) ## dist/: the sdist, and the wheel that is built from it
	rm -rf dist build *.egg-info runtime/*.egg-info
	$(UV) build --python $(PYTHON) --build-constraints constraints-dev.txt --out-dir dist .
	@ls -l dist

mutation: .venv/.stamp ## small changes of sampler, manifest and index, and whether a test notices; an hour of two cores
	$(DEV) -m tests.mutation $(ARGS)

release-check: .venv/.stamp ## dist/: all that a release publishes, built from a clean clone of HEAD and checked
	$(DEV) -m tests.release --out dist

train: .venv/.stamp ## a family from nothing, adapter included: make train FAMILY=runs/mine; goes on where it stopped
	$(DEV) -m training.family --config $(CONFIG) --out $(FAMILY) --until vae
	test -e $(FAMILY)/judge.safetensors || \
		$(DEV) -m training.evaluation.judge_training --config $(CONFIG) --vae $(FAMILY)/vae --out $(FAMILY)/judge.safetensors
	$(DEV) -m training.family --config $(CONFIG) --out $(FAMILY)
	$(DEV) -m training.ladd --config training/configs/ladd_emoji.toml --family $(FAMILY) --resume
	$(DEV) -m training.ladd --config training/configs/ladd_emoji.toml --family $(FAMILY) --resume --no-retrieval
	$(DEV) -m training.baselines --config training/configs/baselines_emoji.toml --family $(FAMILY)
	test -e $(FAMILY)/judge_new.safetensors || $(DEV) -m training.evaluation.judge_training --config $(CONFIG) \
		--vae $(FAMILY)/vae --new-concepts --out $(FAMILY)/judge_new.safetensors
	test -e $(FAMILY)/metric_clip || \
		$(DEV) -m training.evaluation.metric_clip --config $(CONFIG) --out $(FAMILY)/metric_clip

export: .venv/.stamp ## the trained family as the bundle that ships
	$(DEV) -m export.onnx --ckpt $(FAMILY)/adapter.safetensors --image-encoder --out ragturbo_sdk/bundles/emoji

results: .venv/.stamp ## measure the family: docs/results.md, docs/new_concepts.md and their json
	$(DEV) -m training.evaluation --family $(FAMILY) --bundle ragturbo_sdk/bundles/emoji --out docs
	$(DEV) -m training.evaluation.new_concepts_run --family $(FAMILY) --out docs

study: .venv/.stamp ## compare single choices of the training: docs/study.md; half an hour of one core
	$(DEV) -m training.study --family $(FAMILY) --config training/configs/study_emoji.toml --out docs

bench: .venv/.stamp ## measure the bundle beside diffusers and optimum: docs/performance.md; make bench FAMILY= BUNDLE= ARGS=
	$(DEV) -m export.bench --bundle $(BUNDLE) --base $(FAMILY) --out docs $(ARGS)

lock: $(UV) ## renew both constraints files from pyproject.toml; make lock ARGS=--upgrade takes newer releases
	$(UV) pip compile pyproject.toml $(LOCK) --group dev --group baseline --output-file constraints-dev.txt $(ARGS)
	$(UV) pip compile pyproject.toml $(LOCK) --constraints constraints-dev.txt --output-file constraints.txt

clean: ## remove what the commands wrote, but no environment and no trained model
	rm -rf build dist site *.egg-info runtime/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis "$(PICTURE)"
	find ragturbo_sdk runtime export training tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove the environments too
	rm -rf .venv .venv-demo .venv-uv

# ── environments: made from nothing, and only when something they depend on changed ───────────────

$(UV): constraints-dev.txt
	@$(PYTHON) -m venv --without-pip .venv-uv
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		.venv-uv/bin/python -m ensurepip --default-pip >/dev/null && pip=.venv-uv/bin/python; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then pip=$(PYTHON); \
	else echo "$(PYTHON) has neither ensurepip nor pip; on Debian: apt install python3-venv" >&2; exit 1; fi; \
	$$pip -m pip --python .venv-uv/bin/python install --quiet --disable-pip-version-check \
		--constraint constraints-dev.txt uv
	@touch $@

.venv-demo/.stamp: pyproject.toml constraints.txt | $(UV)
	@echo "Installing the runtime (no torch) in .venv-demo; this happens once."
	@test -x $(DEMO) || $(PYTHON) -m venv --without-pip .venv-demo
	@$(UV) pip install --quiet --python $(DEMO) --build-constraints constraints-dev.txt \
		--constraint constraints.txt --compile-bytecode --editable '.[cpu]'
	@touch $@

.venv/.stamp: pyproject.toml constraints-dev.txt | $(UV)
	@echo "Installing the development set in .venv; this happens once, and takes some minutes."
	@test -x $(DEV) || $(PYTHON) -m venv --without-pip .venv
	@$(UV) pip install --quiet --python $(DEV) --build-constraints constraints-dev.txt \
		--constraint constraints-dev.txt --editable '.[cpu]' --group dev
	@touch $@
