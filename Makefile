# Needs make and Python 3.11 or newer, nothing else; each environment is made when first wanted.
#
#   make run ARGS="--batch 64"      the example run with more options
#   make test ARGS="-k units"       part of the tests
#   make test PYTHON=python3.13     with that interpreter (after `make clean`)

.DEFAULT_GOAL := help
.PHONY: run gallery accuracy held-out calibrate-profiles test lint format bench clean help

ARGS ?=
PYTHON ?=
PYTHONS = $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11
SIMULATE = .venv/bin/simulate

# The optional extras whose tests run; elsewhere than in CI those tests skip unless you ask: make test TEST_EXTRAS=onnx
ifeq ($(CI),true)
TEST_EXTRAS ?= onnx,devices
TEST_PACKAGES ?= torch==2.13.0
else
TEST_EXTRAS ?=
TEST_PACKAGES ?=
endif
comma := ,
TEST_SPEC = .[dev$(if $(TEST_EXTRAS),$(comma)$(TEST_EXTRAS))]

# A stamp is named after what was asked for and where the checkout lies (an environment cannot be moved), and is older
# than pyproject.toml when the environment must be made again.
stamp = $(1)/.stamp-$(shell printf '%s' '$(CURDIR) $(2)' | cksum | cut -d' ' -f1)
RUN_STAMP := $(call stamp,.venv,)
TEST_STAMP := $(call stamp,.venv-test,$(TEST_EXTRAS) $(TEST_PACKAGES))

# $(call make_venv,folder,what pip installs)
define make_venv
@rm -rf $(1)
@python=; for candidate in $(PYTHONS); do \
    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
    then python=$$candidate; break; fi; \
done; \
test -n "$$python" || { echo "error: no Python 3.11 or newer with venv found; install it (Debian: python3-venv) or set PYTHON=" >&2; exit 1; }; \
echo "Making $(1) with $$("$$python" --version), once; this takes a minute or so ..." >&2; \
"$$python" -m venv $(1) || exit 1; \
$(1)/bin/python -m pip install --disable-pip-version-check --no-input $(2) >$(1)/install.log 2>&1 \
    || { tail -n 4 $(1)/install.log >&2; echo "error: installing into $(1) failed; the whole log: $(1)/install.log" >&2; exit 1; }
@$(1)/bin/python -m compileall -q simulator
@touch $@
endef

$(RUN_STAMP): pyproject.toml
	$(call make_venv,.venv,-e .)

$(TEST_STAMP): pyproject.toml
	$(call make_venv,.venv-test,-e '$(TEST_SPEC)' $(TEST_PACKAGES))

run: $(RUN_STAMP) ## simulate 100 epochs of SENet on a V100; reports go to reports/
	$(SIMULATE) --workload senet --device v100 --epochs 100 $(ARGS)

gallery: $(RUN_STAMP) ## make the reports in reports/ again
	$(SIMULATE) --workload senet --device cpu-16core --device v100 --epochs 100 $(ARGS)
	$(SIMULATE) --workload senet --device v100 --device cpu-16core --epochs 100 $(ARGS)
	$(SIMULATE) --workload alexnet --device v100 --epochs 90 $(ARGS)

accuracy: $(RUN_STAMP) ## validate against the published measurements and draw docs/accuracy/ again
	$(SIMULATE) validate tests/validation/networks.csv --out docs/accuracy

held-out: $(RUN_STAMP) ## errors with workloads and devices held out of the fit; half an hour
	.venv/bin/python -m simulator.calibration.held_out tests/validation docs/accuracy/held_out.md

calibrate-profiles: $(RUN_STAMP) ## fit the coefficients in hardware_profiles/ to the published measurements again
	.venv/bin/python -m simulator.calibration.profiles tests/validation

test: lint ## lint, types and tests, warnings as errors
	.venv-test/bin/python -m pytest -n auto $(ARGS)

lint: $(TEST_STAMP) ## ruff and mypy
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

format: $(TEST_STAMP) ## put imports and layout right
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

bench: $(TEST_STAMP) ## time the benchmarks (the tests run each once, untimed)
	.venv-test/bin/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only $(ARGS)

clean: ## remove the environments, builds and caches; reports stay
	rm -rf .venv .venv-test build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find simulator tests -name __pycache__ -prune -exec rm -rf {} +

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## (.*)/\1	\2/' | awk -F'\t' '{ printf "make %-19s %s\n", $$1, $$2 }'
