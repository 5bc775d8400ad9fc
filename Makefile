# Everything lives in .venv and node_modules of this folder; `make clean` removes both.
PYTHON ?= python3
BIN := .venv/bin
FRONT_END := package.json yarn.lock tsconfig.json $(shell find labextension -type f)

.PHONY: demo lab test lint bench clean

demo: .venv/demo  ## answer a question over examples/data with a model on this machine, and check the answer
	$(BIN)/jupyter kowalski model
	mkdir -p .venv/run && rm -rf .venv/run/examples && cp -r examples .venv/run/examples
	$(BIN)/jupyter kowalski demo .venv/run/examples/quickstart.ipynb
	@echo; echo "The notebook with its outputs: .venv/run/examples/quickstart.ipynb. Open it in JupyterLab: make lab"

lab: .venv/demo  ## open the quickstart in JupyterLab
	mkdir -p .venv/run && { [ -d .venv/run/examples ] || cp -r examples .venv/run/examples; }
	$(BIN)/jupyter lab .venv/run/examples/quickstart.ipynb

test: .venv/test  ## lint, types, Python tests, browser tests
	scripts/system-packages
	$(MAKE) lint
	$(BIN)/jupyter kowalski model
	$(BIN)/pytest
	scripts/browser-tests

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" jlpm lint:check

bench: .venv/test  ## overheads beside the peers, with a scripted model
	$(BIN)/python -m benchmarks

.venv/demo: pyproject.toml $(FRONT_END)
	scripts/install embedded,sandbox,tables
	@touch $@

.venv/test: pyproject.toml $(FRONT_END)
	scripts/install test
	@touch $@ .venv/demo

clean:
	rm -rf .venv .venv-bench node_modules lib kowalski_jupyter/labextension ui-tests/node_modules
