# make demo: train MAML on 2D navigation, evaluate on held-out tasks, write the curve and the video.
# make test: every test. make docs: guides and API reference as a site in site/. All make .venv from the pins first, and
# can be repeated.
# A torch of the pinned version that .venv already holds, such as the CPU's build, is kept. TORCH_OPTIONS are options of
# pip for torch alone: README.md has the use.

PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: demo test lint docs setup clean policies

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_OPTIONS) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--config-settings editable_mode=compat -e '.[dev]'  # a folder envs without code then does not hide ours
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps metaworld  # docs/suites.md
	touch $@

demo: setup
	@if [ -f $(DEMO)/config.json ]; then $(BIN)/metarl train --resume $(DEMO); \
	else $(BIN)/metarl train maml-point --run-dir $(DEMO); fi
	$(BIN)/metarl evaluate $(DEMO) --output videos/demo-curve.json
	$(BIN)/metarl record $(DEMO) --output videos/demo.mp4

test: setup
	$(BIN)/python -m pytest -n auto --dist loadscope

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--config-settings editable_mode=compat -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Wrote site/. To read it with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

policies: setup  # those that come with the package, from the presets of today; hours on one core
	$(BIN)/python scripts/ship.py

clean:
	rm -rf .venv runs/demo site
