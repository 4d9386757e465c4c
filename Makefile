# `make demo` and `make test` set up everything on a fresh machine; README.md spells them out.
# They need Python 3.11 or newer and a C++ compiler. VENV=DIR puts the environment elsewhere.

PYTHON ?= python3
VENV ?= .venv
OUT ?= ivn-demo
BIN := $(VENV)/bin

# $(call timed,WHAT,COMMAND): run COMMAND and print how long WHAT took.
timed = @echo '$(2)'; start=$$(date +%s); $(2) && echo "== $(1) took $$(($$(date +%s) - start)) s"

.PHONY: demo test check lint soak clean install-demo install-test

demo: install-demo
	rm -rf $(OUT)
	$(call timed,demo,$(BIN)/ivn demo --out $(OUT))

# Two processes of one thread each: on two cores quicker than one process of two threads.
test: demo install-test
	$(call timed,tests,OMP_NUM_THREADS=1 $(BIN)/pytest -n 2)

install-demo: $(BIN)/python
	$(call timed,installation,$(BIN)/python -m pip install ".[demo]")

install-test: $(BIN)/python
	$(call timed,installation for tests,$(BIN)/python -m pip install ".[test]")

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What to run before every commit.
check: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m "not slow"

lint: $(BIN)/ruff
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# For development the package is installed in place.
$(BIN)/ruff: | $(BIN)/python
	$(BIN)/python -m pip install -e ".[test]"

# Many more kills and damaged files than the tests' share of them.
soak: $(BIN)/ruff
	IVN_SOAK=200 OMP_NUM_THREADS=1 $(BIN)/pytest -s tests/train/test_processes.py tests/test_fuzz.py -k "kills or damaged"

clean:
	rm -rf build dist *.egg-info ivn/libivn.so $(OUT)
