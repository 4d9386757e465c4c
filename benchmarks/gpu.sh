#!/usr/bin/env bash
# Builds ivn on a bare GPU machine, tests it there and measures it; nothing is downloaded and
# nothing installed outside a temporary folder.
#
#   benchmarks/gpu.sh [--quick] --out DIR
#
# Needs torch (CUDA), triton, numpy, safetensors, pytest, setuptools >= 70.1, cmake and ninja in
# the Python that $PYTHON names (default python3), a C++ compiler and nvcc. DIR gets one log for
# each step, results as JSON and summary.txt. A failing step does not stop the others, but the
# exit code is then 1; 2 if there is nothing to run on.
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
: > "$out/summary.txt"
failed=0

# step NAME COMMAND...: run it with its output in DIR/NAME.log, and go on whatever happens.
step() {
  local name=$1 start=$SECONDS code
  shift
  timeout 900 "$@" > "$out/$name.log" 2>&1
  code=$?
  if [ $code -eq 0 ]; then
    echo "ok      $name ($((SECONDS - start)) s)" | tee -a "$out/summary.txt"
  else
    failed=1
    echo "FAILED  $name with exit code $code ($((SECONDS - start)) s)" | tee -a "$out/summary.txt"
    tail -n 15 "$out/$name.log"
  fi
}

environment() {
  nvidia-smi
  nvcc --version
  "$python" --version
  "$python" -m pip list 2> /dev/null
  git rev-parse HEAD 2> /dev/null || echo "commit unknown: not a git checkout"
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

environment > "$out/environment.log" 2>&1
libnvcuvid | tee "$out/libnvcuvid.log" "$out/summary.txt"
step build "$python" -m pip install . --no-deps --no-build-isolation --target "$site" -v
# Its exit code speaks of the whole core; a bare machine has no video decoder.
PYTHONSAFEPATH=1 "$python" -c 'from ivn.doctor import doctor; doctor(json=True)' \
  > "$out/doctor.json" 2> "$out/doctor.log"

tests=(tests/ops tests/model tests/stages tests/kernels)
step tests env PYTHONSAFEPATH=1 "$python" -m pytest -q "${tests[@]}" --durations=10 \
  --junitxml "$out/tests.xml"
step ops env PYTHONSAFEPATH=1 "$python" -m ivn.benchmarks.ops --device cuda "${quick[@]}" --out "$out"
for preset in stage1-base stage2-base; do
  step "step-$preset" env PYTHONSAFEPATH=1 "$python" -m ivn.benchmarks.bench_step \
    --preset "$preset" --device cuda "${quick[@]}" --reference --json "$out/step-$preset.json"
done

echo "results in $out"
exit $failed
