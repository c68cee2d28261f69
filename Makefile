# make run       build what is needed and check this host
# make test      the gate: ruff, mypy and pytest with the oldest supported Python that is installed
# make test-all  pytest with every supported Python that is installed, one after the other
# make bench     measure speed and memory against their limits, and show the table
# make corpus    record what real programs and the lab do anew, in private network namespaces: tests/corpus/
# make score     precision and recall of each finding, over the corpus and the lab
# make lock      pin the newest versions that pyproject.toml allows
# make clean     remove what the others made

PYTHONS = $(shell for version in 3.11 3.12 3.13 3.14; do \
	for python in python$$version $(HOME)/.pyenv/versions/$$version.*/bin/python; do \
		if $$python -c 'import ensurepip, venv' 2>/dev/null; then echo $$python; break; fi; \
	done; done)
PYTHON ?= $(or $(firstword $(PYTHONS)),$(error no Python 3.11 to 3.14 with the venv module; on Debian: apt-get install python3-venv))
VENV ?= .venv
BIN = $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help run test test-all lint pytest bench corpus score lock clean debian-packages prometheus3

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# The verdict about this host is no failure of the build; exit 3, the check could not look, is.
run: $(VENV)/.run
	$(BIN)/sockwatch check || test $$? -ne 3

test: debian-packages prometheus3 lint pytest

test-all: debian-packages prometheus3 lint
	for python in $(PYTHONS); do \
		$(MAKE) pytest PYTHON=$$python VENV=.venv-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
			|| exit 1; done

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

pytest: $(VENV)/.test
	$(BIN)/pytest -n auto

bench: debian-packages $(VENV)/.test
	$(BIN)/python -m bench --write docs/performance.md

corpus: debian-packages $(VENV)/.test
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		tests/install-debian-packages tests/corpus/debian-packages.txt; fi
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m corpus record $(NAMES)

score: debian-packages $(VENV)/.test
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m corpus score

# Two stages of one virtual environment: what `check` needs, and what the tests need as well.
$(VENV)/.run: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/run.txt
	PATH=$(abspath $(BIN)):$$PATH pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.test: requirements/dev.txt $(VENV)/.run
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	touch $@

# Elsewhere, and as an ordinary user, the tests that need a missing program are skipped and say so.
debian-packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then tests/install-debian-packages; fi

# A Prometheus newer than that of the installed Debian, for the tests that scrape with each there is.
prometheus3:
	@! command -v apt-get >/dev/null || tests/fetch-prometheus3 .tools/prometheus3 || echo "no Prometheus 3.x"

lock:
	test -x .tools/bin/uv || { $(PYTHON) -m venv .tools && .tools/bin/pip install --quiet uv; }
	.tools/bin/uv pip compile $(UV_COMPILE) --group build --output-file requirements/run.txt pyproject.toml
	.tools/bin/uv pip compile $(UV_COMPILE) --group dev --extra tui --constraint requirements/run.txt \
		--output-file requirements/dev.txt pyproject.toml
UV_COMPILE = --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

clean:
	rm -rf .venv .venv-3.* .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find sockwatch tests bench -name __pycache__ -prune -exec rm -r {} +
