#!/usr/bin/env bash
# Builds ivn on a bare GPU machine, tests it there and measures it, in under nine minutes; nothing is
# downloaded and nothing installed outside a temporary folder.
#
#   benchmarks/gpu.sh [--quick] --out DIR
#
# Needs torch (CUDA), triton, numpy, safetensors, pytest, setuptools >= 70.1, cmake and ninja in
# the Python that $PYTHON names (default python3), a C++ compiler, nvcc and compute-sanitizer; for
# stage one transformers; uses pytest-xdist, matplotlib and DALI where they are. DIR gets one log for each
# step, results as JSON, a plot and summary.txt. A failing step does not stop the others, but the
# exit code is then 1; 2 if there is nothing to run on. --quick takes about two thirds of the time:
# fewer tests, sizes and rounds. $IVN_COMMIT names the commit where this is no git checkout.
#
# The time, estimated for 16 cores: build 70 s; the tests, with the checkers beside them, 110 s;
# operations 200 s, of which 130 s are 29 forward passes that PyTorch compiles in 2 s each and 20
# with backward in 3.5 s, and 25 s our own Triton kernels; each stage's step 50 s.
set -uo pipefail

python=${PYTHON:-python3}
quick=()
out=
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=(--quick) ;;
    --out) out=${2:-}; shift ;;
    *) echo "unknown argument $1; usage: benchmarks/gpu.sh [--quick] --out DIR" >&2; exit 2 ;;
  esac
  shift
done
[ -n "$out" ] || { echo "usage: benchmarks/gpu.sh [--quick] --out DIR" >&2; exit 2; }

nvidia-smi > /dev/null 2>&1 || { echo "no GPU here: nvidia-smi does not run" >&2; exit 2; }
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
  echo "no usable GPU here: torch.cuda.is_available() is not True in $python" >&2
  exit 2
}

mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
# The installed package is imported, not the sources in the working directory.
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
export IVN_REQUIRE_GPU=1
IVN_COMMIT=${IVN_COMMIT:-$(git describe --always --dirty 2> /dev/null)}
export IVN_COMMIT
: > "$out/summary.txt"
# What is not done by then is not begun, and what runs is stopped, so that results come back.
deadline=530
[ ${#quick[@]} -eq 0 ] || deadline=360

say() { echo "$1" | tee -a "$out/summary.txt"; }

has() { "$python" -c "import $1" > /dev/null 2>&1; }

# step SECONDS NAME COMMAND...: run it for so long at most, its output in DIR/NAME.log, and go on
# whatever happens.
step() {
  local limit=$1 name=$2 start=$SECONDS left code
  shift 2
  left=$((deadline - SECONDS))
  if [ $left -lt 10 ]; then
    say "FAILED  $name: no time left"
    return
  fi
  timeout -k 5 $((limit < left ? limit : left)) "$@" > "$out/$name.log" 2>&1
  code=$?
  if [ $code -eq 0 ]; then
    say "ok      $name ($((SECONDS - start)) s)"
  else
    say "FAILED  $name with exit code $code ($((SECONDS - start)) s)"
    tail -n 15 "$out/$name.log"
  fi
}

environment() {
  nvidia-smi
  nvcc --version
  "$python" --version
  "$python" -m pip list 2> /dev/null
  echo "commit ${IVN_COMMIT:-unknown: not a git checkout}"
  git status --short 2> /dev/null
  return 0
}

# To be known before a decoder is chosen, but no failure: containers often lack it.
libnvcuvid() {
  "$python" - << 'END'
import ctypes
try:
    ctypes.CDLL("libnvcuvid.so.1")
    print("libnvcuvid loads")
except OSError as error:
    print(f"libnvcuvid does not load: {error}")
END
}

# The path of compute-sanitizer: in the path, beside nvcc, or in the toolkit.
sanitizer() {
  local beside cuda=${CUDA_HOME:-/usr/local/cuda} place
  beside=$(dirname "$(readlink -f "$(command -v nvcc)")")
  for place in "$(command -v compute-sanitizer)" "$beside/compute-sanitizer" \
    "$beside/../compute-sanitizer/compute-sanitizer" "$cuda/bin/compute-sanitizer" \
    "$cuda/compute-sanitizer/compute-sanitizer"; do
    [ -f "$place" ] && [ -x "$place" ] && { echo "$place"; return; }
  done
}

# sanitize NAME TOOL FILTER FILE...: tests under a tool. Each tensor is an allocation of its own.
sanitize() {
  local name=$1 tool=$2 filter=$3
  shift 3
  step 150 "$name" env PYTHONSAFEPATH=1 PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$checker" \
    --tool "$tool" --report-api-errors no --error-exitcode 9 \
    "$python" -m pytest -q -p no:cacheprovider -m gpu -k "$filter" "$@"
}

environment > "$out/environment.log" 2>&1
libnvcuvid | tee "$out/libnvcuvid.log" "$out/summary.txt"
step 150 build "$python" -m pip install . --no-deps --no-build-isolation --target "$site" -v
# Its exit code speaks of the whole core; a bare machine has no video decoder.
PYTHONSAFEPATH=1 "$python" -c 'from ivn.doctor import doctor; doctor(json=True)' \
  > "$out/doctor.json" 2> "$out/doctor.log"

# Right first: nothing is timed yet, so these share the GPU. (No initcheck: the tests fill new
# memory with NaN themselves, and so see what is read before it is written.)
checker=$(sanitizer)
if [ -n "$checker" ]; then
  plain="not opcheck and not compile and not captured and not differences and not second_order"
  cuda_ops=(tests/ops/test_{tokens,patches,masking,random}.py)
  if [ ${#quick[@]} -gt 0 ]; then
    plain="$plain and not float64 and not dtype1"
  fi
  sanitize memcheck memcheck "$plain" "${cuda_ops[@]}" &
  sanitize racecheck racecheck "$plain" tests/ops/test_{masking,patches}.py &
else
  say "FAILED  memcheck, racecheck: no compute-sanitizer in the path, beside nvcc or in CUDA_HOME"
fi
parallel=()
if has xdist; then parallel=(-n 8); fi
some=gpu
if [ ${#quick[@]} -gt 0 ]; then some="gpu and not slow"; fi
# What needs no GPU is tested without one.
step 150 tests env PYTHONSAFEPATH=1 "$python" -m pytest -q "${parallel[@]}" -m "$some" \
  tests/ops tests/stages --ignore tests/ops/test_fuzz.py --durations=10 \
  --junitxml "$out/tests.xml"
wait

plot=()
if has matplotlib; then plot=(--plot); else say "no plot: matplotlib is missing"; fi
# Its wheels are large and GPU machines often without network: where DALI is missing, what is said of
# libnvcuvid above tells whether the driver would let it decode.
if has nvidia.dali && has av; then
  step 60 tests-dali env PYTHONSAFEPATH=1 "$python" -m pytest -q -m gpu \
    tests/data/test_on_gpu.py tests/data/decode/test_backends.py --junitxml "$out/tests-dali.xml"
  step 40 decode env PYTHONSAFEPATH=1 "$python" -m ivn.benchmarks.bench_decode \
    "$site/ivn/assets/clips" --rounds 2 --processes 8 --out "$out"
else
  say "no DALI: nvidia-dali-cuda130 and av are not both installed; see libnvcuvid above"
fi
step 210 ops env PYTHONSAFEPATH=1 "$python" -m ivn.benchmarks.ops --device cuda \
  "${quick[@]}" "${plot[@]}" --out "$out"
for preset in stage1-base stage2-base; do
  step 75 "step-$preset" env PYTHONSAFEPATH=1 "$python" -m ivn.benchmarks.bench_step \
    --preset "$preset" --device cuda --batch 16 --rounds 10 "${quick[@]}" --reference \
    --json "$out/step-$preset.json"
done

echo "results in $out"
! grep -q '^FAILED' "$out/summary.txt"
