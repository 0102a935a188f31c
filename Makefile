# Everything happens in .venv, made from $(PYTHON): `PYTHON=python3.13 make test`.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
# The tests start hundreds of processes: compile what they import once, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=
# Tests mostly wait for processes: twice as many at once as there are cores.
TEST_PROCESSES ?= 4
# The tests of `make test-matrix`: all, unless paths are named.
TESTS ?=
# Named after the Python, so that another one makes a new environment.
STAMP := .venv/made-with-python-$(VERSION)

.PHONY: test test-matrix lint statistics demo bench bench-faults clean

test: lint
	.venv/bin/pytest -n $(TEST_PROCESSES)

# With each Python and each Postgres found here: `TESTS=tests/unit make test-matrix` for a part.
test-matrix:
	TEST_PROCESSES=$(TEST_PROCESSES) $(PYTHON) -m tools.matrix $(TESTS)

lint: $(STAMP)
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/python -m tools.check_prose
	.venv/bin/python -m tools.code_statistics --check
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows \
		.github/workflows/*.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml

statistics: $(STAMP)
	.venv/bin/python -m tools.code_statistics

demo: $(STAMP)
	.venv/bin/taskmaster demo

bench: $(STAMP)
	.venv/bin/python -m benchmarks

bench-faults: $(STAMP)
	.venv/bin/python -m benchmarks kills disturbed stops

clean:
	rm -rf .venv .venv-* dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@test -n "$(VERSION)" || { echo "'$(PYTHON)' is no Python: name one of 3.11 or newer, \
	as in 'PYTHON=python3.13 make test'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "taskmaster needs \
	Python 3.11 or newer and '$(PYTHON)' is $(VERSION): name another, \
	as in 'PYTHON=python3.13 make test'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' comes without venv \
	and pip: install them (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,embedded]'
	@touch $@

# -- documentation

DOCS_STAMP := .venv/made-with-docs

.PHONY: docs clean-docs

# Strict: a broken link or a warning fails. The site in site/ loads nothing from another host.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

$(DOCS_STAMP): $(STAMP)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

clean: clean-docs
clean-docs:
	rm -rf site
