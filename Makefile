# `make demo` and `make test` set up everything on a fresh machine; README.md spells them out.
# They need Python 3.11 or newer and a C++ compiler. VENV=DIR puts the environment elsewhere.

PYTHON ?= python3
VENV ?= .venv
OUT ?= ivn-demo
BIN := $(VENV)/bin

# $(call timed,WHAT,COMMAND): run COMMAND and print how long WHAT took.
timed = @echo '$(2)'; start=$$(date +%s); $(2) && echo "== $(1) took $$(($$(date +%s) - start)) s"

.PHONY: demo test check lint soak profile clean install-demo install-test

demo: install-demo
	rm -rf $(OUT)
	$(call timed,demo,$(BIN)/ivn demo --out $(OUT))

# Two processes of one thread each: on two cores quicker than one process of two threads.
test: install-test
	$(call timed,tests,OMP_NUM_THREADS=1 $(BIN)/pytest -n 2)

install-demo: $(BIN)/python
	$(call timed,installation,$(BIN)/python -m pip install ".[demo]")

install-test: $(BIN)/python
	$(call timed,installation,$(BIN)/python -m pip install ".[test]")

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

# What takes too long for every change: the whole demo, the tests marked `soak`, and those marked
# `longer` with many more kills and damaged files. It says how many ran, and fails where none did.
soak: $(BIN)/ruff
	$(call timed,whole demo,folder=$$(mktemp -d) && $(BIN)/ivn demo --out $$folder/demo && rm -r $$folder)
	$(call timed,soak,IVN_SOAK=200 IVN_FUZZ=10000 OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "soak or longer")

# The CPU's results and all tables that follow from them: on a machine that does nothing else.
RESULTS := benchmarks/results/cpu
STEP := $(BIN)/python benchmarks/bench_step.py --device cpu --threads 2
profile: $(BIN)/ruff
	mkdir -p $(RESULTS)
	$(STEP) --preset stage1-tiny --batch 8 --reference --json $(RESULTS)/step-stage1-tiny.json
	$(STEP) --preset stage2-tiny --batch 8 --reference --json $(RESULTS)/step-stage2-tiny.json
	$(STEP) --preset stage1-base --batch 1 --warm 1 --rounds 2 --json $(RESULTS)/step-stage1-base.json
	$(STEP) --preset stage2-base --batch 1 --warm 1 --rounds 2 --json $(RESULTS)/step-stage2-base.json
	$(BIN)/python -m ivn bench ops --device cpu --threads 2 --out $(RESULTS)
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf build dist *.egg-info ivn/libivn.so $(OUT)
