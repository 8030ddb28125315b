# Everything a newcomer needs: `make demo` and `make test`. Both set the project up in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := onnx,torch,plan,gateway,kube,otel,test,dev
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench clean

help: ## Show this.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

demo: $(READY) ## Serve the OCR example fused, split and in between, and read a page with each.
	$(BIN)/python examples/demo.py

test: $(READY) ## Run the tests.
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(READY) ## Check format, lint, types and layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Put the code into shape.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Run every benchmark in its short form.
	$(BIN)/python -m benchmarks --short

clean: ## Remove what was set up and cached.
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache
