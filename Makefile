# Needs make and Python 3.11 or newer, nothing else; each environment is made when first wanted.
#
# What is installed is locked: exact versions with hashes, for Python 3.11 to 3.14, in requirements.lock (to run) and
# requirements-test.lock (to test); pyproject.toml keeps the ranges, `make lock` renews the locks.
#
#   make run ARGS="--batch 64"      the example run with more options
#   make test ARGS="-k units"       part of the tests
#   make test PYTHON=python3.13     with that interpreter (after `make clean`)

.DEFAULT_GOAL := help
.PHONY: run gallery accuracy held-out certainty calibrate-profiles test mutate test-oldest test-newest lock lint format bench fuzz clean help

ARGS ?=
PYTHON ?=
PYTHONS = $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11
SIMULATE = .venv/bin/simulate

# In CI the optional extras' tests run too. PyTorch stands apart from the lock: there is a build of it for each kind of
# device under one version, so that no hash fits all; elsewhere its tests skip unless you ask: make test TORCH=torch==2.13.0
# The oldest click that is allowed stands in a folder of its own, with which tests read every help page a second time.
ifeq ($(CI),true)
TORCH ?= torch==2.13.0
OLDEST_CLICK := click==$(shell sed -n 's/.*"click>=\([0-9.]*\)".*/\1/p' pyproject.toml)
endif
TORCH ?=
OLDEST_CLICK ?=

# A stamp is named after what was asked for and where the checkout lies (an environment cannot be moved), and is older
# than the lock when the environment must be made again.
stamp = $(1)/.stamp-$(shell printf '%s' '$(CURDIR) $(2)' | cksum | cut -d' ' -f1)
RUN_STAMP := $(call stamp,.venv,)
TEST_STAMP := $(call stamp,.venv-test,$(strip $(TORCH) $(OLDEST_CLICK)))
LOCK_STAMP := $(call stamp,.venv-lock,)
MUTATE_STAMP := $(call stamp,.venv-mutate,)

# $(call make_venv,folder,what pip installs,further packages)
define make_venv
@rm -rf $(1)
@python=; for candidate in $(PYTHONS); do \
    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
    then python=$$candidate; break; fi; \
done; \
test -n "$$python" || { echo "error: no Python 3.11 or newer with venv found; install it (Debian: python3-venv) or set PYTHON=" >&2; exit 1; }; \
echo "Making $(1) with $$("$$python" --version), once; this takes a minute or so ..." >&2; \
"$$python" -m venv $(1) || exit 1; \
{ $(1)/bin/python -m pip install --disable-pip-version-check --no-input $(2) && \
  { test -z '$(3)' || $(1)/bin/python -m pip install --disable-pip-version-check --no-input $(3); }; } >$(1)/install.log 2>&1 \
    || { tail -n 4 $(1)/install.log >&2; echo "error: installing into $(1) failed; the whole log: $(1)/install.log" >&2; exit 1; }
endef

# The project itself, built by the back end that the lock names, and ready to start.
define add_project
@$(1)/bin/python -m pip install --disable-pip-version-check --no-input --no-deps --no-build-isolation -e . >>$(1)/install.log 2>&1 \
    || { tail -n 4 $(1)/install.log >&2; echo "error: installing the project failed; the whole log: $(1)/install.log" >&2; exit 1; }
@$(1)/bin/python -m compileall -q simulator
endef

$(RUN_STAMP): requirements.lock pyproject.toml
	$(call make_venv,.venv,--require-hashes -r requirements.lock)
	$(call add_project,.venv)
	@touch $@

$(TEST_STAMP): requirements-test.lock pyproject.toml
	$(call make_venv,.venv-test,--require-hashes -r requirements-test.lock,$(if $(TORCH),--no-deps $(TORCH)))
	$(if $(OLDEST_CLICK),@.venv-test/bin/python -m pip install --disable-pip-version-check --no-input --no-deps \
		--target .venv-test/click-oldest $(OLDEST_CLICK) >>.venv-test/install.log 2>&1)
	$(call add_project,.venv-test)
	@touch $@

$(LOCK_STAMP):
	$(call make_venv,.venv-lock,uv)
	@touch $@

$(MUTATE_STAMP):
	$(call make_venv,.venv-mutate,'cosmic-ray>=8.7')
	@touch $@

run: $(RUN_STAMP) ## simulate 100 epochs of SENet on a V100; reports go to reports/
	$(SIMULATE) --workload senet --device v100 --epochs 100 $(ARGS)

gallery: $(RUN_STAMP) ## make the reports in reports/gallery/ again
	$(SIMULATE) --workload senet --device cpu-16core --device v100 --epochs 100 --out reports/gallery $(ARGS)
	$(SIMULATE) --workload senet --device v100 --device cpu-16core --epochs 100 --out reports/gallery $(ARGS)
	$(SIMULATE) --workload alexnet --device v100 --epochs 90 --out reports/gallery $(ARGS)

accuracy: $(RUN_STAMP) ## validate against the published measurements and draw docs/accuracy/ again
	$(SIMULATE) validate tests/validation/networks.csv --held-out --out docs/accuracy

held-out: $(RUN_STAMP) ## predictions with measurers, frameworks, devices and workloads held out of the fit; a quarter of an hour
	.venv/bin/python -m simulator.calibration.held_out tests/validation

certainty: $(RUN_STAMP) ## fit the stated interval to them, and write docs/accuracy/held_out.md and coverage.md
	.venv/bin/python -m simulator.calibration.certainty tests/validation
	.venv/bin/python -m simulator.calibration.expectation tests/validation docs/accuracy

calibrate-profiles: $(RUN_STAMP) ## fit the coefficients in hardware_profiles/ to the published measurements again
	.venv/bin/python -m simulator.calibration.profiles tests/validation

# Some measure this machine, so with nothing beside them.
define run_tests
$(1)/bin/python -m pytest -m alone $(ARGS) || test $$? -eq 5
$(1)/bin/python -m pytest -n auto -m "not alone" $(ARGS)
endef

test: lint ## lint, types and tests, warnings as errors
	$(call run_tests,.venv-test)

# $(call resolve,options of the resolver,file that it writes): names, exact versions and hashes, for every supported Python
resolve = .venv-lock/bin/uv pip compile -q pyproject.toml --group build --python-version 3.11 --no-header --no-annotate $(1) -o $(2)
TEST_NEEDS = --extra dev --extra onnx --extra devices --extra dask --group torch-needs --group torch-uses

lock: $(LOCK_STAMP) ## resolve requirements.lock and requirements-test.lock anew, with the newest versions of today
	rm -f requirements.lock requirements-test.lock
	$(call resolve,--universal --generate-hashes,requirements.lock)
	$(call resolve,--universal --generate-hashes $(TEST_NEEDS),requirements-test.lock)

test-oldest: $(LOCK_STAMP) ## the tests with the oldest versions that pyproject.toml allows
	$(call resolve,--resolution lowest-direct $(TEST_NEEDS),.venv-lock/oldest.txt)
	$(call make_venv,.venv-oldest,-r .venv-lock/oldest.txt)
	$(call add_project,.venv-oldest)
	$(call run_tests,.venv-oldest)

test-newest: $(LOCK_STAMP) ## the tests with the newest versions of today
	$(call resolve,--upgrade $(TEST_NEEDS),.venv-lock/newest.txt)
	$(call make_venv,.venv-newest,-r .venv-lock/newest.txt)
	$(call add_project,.venv-newest)
	$(call run_tests,.venv-newest)

# Faults are planted in a copy of the checkout, one at a time, by Cosmic Ray; the tests given must find each. Those that
# they let pass are shown as differences, and the share that they found. `|` is left alone, which annotations are full of,
# and so is `is` for `==`. A room has thousands: MODULES=simulator/report SAMPLE=150 SEED=1 draws some of them.
MODULES ?= simulator/device/provenance.py
TESTS ?= tests/device
SAMPLE ?=
SEED ?= 1
FAULTS = .mutate/faults

mutate: $(TEST_STAMP) $(MUTATE_STAMP) ## plant faults in MODULES="..." (SAMPLE=150 SEED=1 of them), count those that TESTS="..." find
	rm -rf .mutate && mkdir .mutate
	git ls-files -z | tar --null -T - -cf - | tar -xf - -C .mutate
	printf '[cosmic-ray]\nmodule-path = [%s]\ntimeout = 120.0\nexcluded-modules = []\ntest-command = "%s"\n[cosmic-ray.distributor]\nname = "local"\n[cosmic-ray.filters.operators-filter]\nexclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*", "core/ReplaceComparisonOperator_(Eq_Is|NotEq_IsNot)"]\n' \
	    "$$(printf '"%s",' $(MODULES))" '$(CURDIR)/.venv-test/bin/python -m pytest -x -q -p no:cacheprovider $(TESTS)' >$(FAULTS).toml
	cd .mutate && PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1 ../.venv-mutate/bin/cosmic-ray init faults.toml faults.sqlite
	.venv-mutate/bin/cr-filter-operators $(FAULTS).sqlite $(FAULTS).toml
	cd .mutate && ../.venv-mutate/bin/python tests/faults.py sample faults.sqlite $(or $(SAMPLE),1000000) $(SEED)
	cd .mutate && PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1 ../.venv-mutate/bin/cosmic-ray exec faults.toml faults.sqlite
	.venv-mutate/bin/cr-report $(FAULTS).sqlite --show-diff --surviving-only
	.venv-mutate/bin/python tests/faults.py share $(FAULTS).sqlite

lint: $(TEST_STAMP) ## ruff and mypy
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

format: $(TEST_STAMP) ## put imports and layout right
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

fuzz: $(TEST_STAMP) ## mutate every kind of input for SECONDS=60, and print what escapes
	.venv-test/bin/python tests/fuzz/fuzz.py --seconds $(or $(SECONDS),60) $(ARGS)

bench: $(TEST_STAMP) ## time the benchmarks (the tests run each once, untimed)
	.venv-test/bin/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only $(ARGS)

clean: ## remove the environments, builds and caches; reports stay
	rm -rf .venv .venv-test .venv-lock .venv-oldest .venv-newest .venv-mutate .mutate build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find simulator tests -name __pycache__ -prune -exec rm -rf {} +

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## (.*)/\1	\2/' | awk -F'\t' '{ printf "make %-19s %s\n", $$1, $$2 }'
