#!/usr/bin/env bash
# Builds ivn on a bare GPU machine, tests it there and measures it; nothing is downloaded, and
# nothing installed outside a temporary folder.
#
# Needs torch (CUDA), triton, numpy, safetensors, transformers, pytest, setuptools >= 70.1, cmake
# and ninja in the Python that $PYTHON names (default python3), a C++ compiler and nvcc; uses
# compute-sanitizer, pytest-xdist, PyAV, tyro and DALI if they are installed. $IVN_COMMIT names the
# commit if this is no git checkout.
#
# DIR gets one file, results.tar.gz: summary.txt, one log for each step, results as JSON. It is
# rewritten after each step and when this script is stopped, so that it exists in any case. A
# failing step does not stop the others, but makes the exit code 1; it is 2 without a GPU to run on.
set -uo pipefail

# each BEGINNING FILE...: a part for the operation of each file, which is bench_NOUN.py or NOUN.cu.
each() {
  local beginning=$1 file noun
  shift
  for file; do
    noun=${file##*/} noun=${noun#bench_} noun=${noun%.*}
    echo "$beginning-$noun:85"
  done
}
here=$(dirname "$0")
mapfile -t shared < <(grep -l __shared__ "$here"/../csrc/*.cu)

# Each part, and its time limit in seconds, after which it is stopped and the next one begins. Parts
# run in this order, the most informative first.
mapfile -t parts < <(
  printf '%s\n' step-stage1-large:75 step-stage2-large:75 tests:100
  printf '%s:85\n' tests-compile tests-opcheck
  printf '%s:85\n' step-stage1-base step-stage2-base plain-stage1-base plain-stage2-base
  each ops "$here"/ops/bench_*.py
  each memcheck "$here"/../csrc/*.cu
  each racecheck "${shared[@]}"
  printf '%s:85\n' pretrain decode
)
first=(step-stage1-large step-stage2-large tests)

usage() {
  cat << END
usage: benchmarks/gpu.sh [--first | --only PART,...] [--wheels DIR] [--dry] --out DIR

  --first       run, in 6 minutes: ${first[*]}
  --only PART   run these parts, separated by commas; "ops" is all that begin with "ops-"
  --wheels DIR  install the wheels in DIR into a temporary folder; "pretrain" needs those of av,
                tyro, docstring-parser and tomli-w
  --dry         needs no GPU and measures nothing: tests are collected, the rest runs small on the
                CPU, and limits are ten times as long; stage one needs efficientnet-lite-pytorch
  --out DIR     where results.tar.gz goes

Without --first and --only all parts run. The build comes first and takes at most 50 s. The parts,
in their order, with the time limit of each:

END
  printf '  %s s\n' "${parts[@]/:/ }"
}

python=${PYTHON:-python3}
wanted=all dry= wheels= out=
# After this number of seconds no step begins, and the running one is stopped.
deadline=1000000
while [ $# -gt 0 ]; do
  case $1 in
    --first) wanted=$(IFS=,; echo "${first[*]}") deadline=345 ;;
    --only) wanted=${2:-}; shift ;;
    --wheels) wheels=${2:-}; shift ;;
    --dry) dry=1 ;;
    --out) out=${2:-}; shift ;;
    --help) usage; exit ;;
    *) echo "unknown argument $1; --help lists them" >&2; exit 2 ;;
  esac
  shift
done
[ -n "$out" ] || { usage >&2; exit 2; }

# A name that is not that of a part stands for all parts that begin with it.
asked=() patterns=()
IFS=, read -ra names <<< "$wanted"
for name in "${names[@]}"; do
  known= pattern=$name-*
  for part in "${parts[@]%:*}"; do
    case $part in
      "$name") known=1 pattern=$name; break ;;
      "$name"-*) known=1 ;;
    esac
  done
  [ "$name" != all ] || known=1 pattern=*
  [ -n "$known" ] || { echo "no part $name; --help lists them" >&2; exit 2; }
  patterns+=("$pattern")
done
[ ${#names[@]} -gt 0 ] || { echo "--only names no part; --help lists them" >&2; exit 2; }
for part in "${parts[@]}"; do
  for pattern in "${patterns[@]}"; do
    case ${part%:*} in $pattern) asked+=("$part"); break ;; esac
  done
done

longer=1
if [ -n "$dry" ]; then
  device=cpu arch=90 longer=10 deadline=1000000
else
  device=cuda
  nvidia-smi > /dev/null 2>&1 || { echo "no GPU here: nvidia-smi does not run" >&2; exit 2; }
  # Code for this GPU only, since other architectures would double the work of nvcc.
  arch=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') || {
    echo "no usable GPU here: torch.cuda.get_device_capability() fails in $python" >&2
    exit 2
  }
  export IVN_REQUIRE_GPU=1
fi

mkdir -p "$out" && out=$(cd "$out" && pwd) && rm -f "$out/results.tar.gz" || exit 2
[ -z "$wheels" ] || wheels=$(cd "$wheels" && pwd) || exit 2
cd "$here/.." || exit 2
scratch=$(mktemp -d) || exit 2
site=$scratch/site brought=$scratch/brought results=$scratch/results
mkdir "$results"
# The installed package is imported, not the sources in the working directory.
export PYTHONPATH=$site:$brought${PYTHONPATH:+:$PYTHONPATH}
IVN_COMMIT=${IVN_COMMIT:-$(git describe --always --dirty 2> /dev/null)}
export IVN_COMMIT
running= current=

say() { echo "$1" | tee -a "$results/summary.txt"; }

has() { "$python" -c "import $1" > /dev/null 2>&1; }

pack() {
  tar -czf "$out/results.tar.gz.part" -C "$results" . && mv "$out/results.tar.gz"{.part,}
}

finish() {
  trap '' TERM INT HUP
  if [ -n "$running" ]; then
    kill "$running"
    say "FAILED  $current: stopped after $((SECONDS - start)) s, and all after it skipped"
  fi
  pack
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'exit 129' HUP

# step SECONDS NAME COMMAND...: runs a command with a time limit and its output in NAME.log, and
# continues whatever happens. It runs in the background: signals reach only a shell that waits.
step() {
  local limit=$(($1 * longer)) name=$2 left=$((deadline - SECONDS)) code
  shift 2
  start=$SECONDS current=$name
  if [ $left -lt 10 ]; then
    say "FAILED  $name: no time left"
    return 1
  fi
  timeout -k 5 $((limit < left ? limit : left)) "$@" > "$results/$name.log" 2>&1 &
  running=$!
  wait $running
  code=$?
  running=
  if [ $code -eq 0 ]; then
    say "ok      $name ($((SECONDS - start)) s)"
  else
    say "FAILED  $name with exit code $code ($((SECONDS - start)) s)"
    tail -n 15 "$results/$name.log"
  fi
  pack
  return $code
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

# Reported before a decoder is chosen, but no failure, since containers often lack the library.
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

# run_tests SECONDS NAME FILTER: runs the tests that need a GPU.
run_tests() {
  local parallel=()
  if has xdist; then parallel=(-n 8); fi
  [ -z "$dry" ] || parallel=(--collect-only)
  step "$1" "$2" "$python" -m pytest -q "${parallel[@]}" -p no:cacheprovider -m gpu -k "$3" \
    tests/ops tests/stages tests/data/{augment/test_{augment,colour},loader/test_{packing,transfer},test_resize}.py \
    --continue-on-collection-errors --durations=10 --junitxml "$results/$2.xml"
}

# sanitize SECONDS NAME TOOL NOUN: runs tests under a tool, with an allocation for each tensor.
# There is no initcheck: the tests fill new memory with NaN, which shows reads before writes.
sanitize() {
  local checker collect=()
  local plain="not opcheck and not compile and not captured and not differences"
  checker=$(sanitizer)
  if [ -z "$checker" ]; then
    say "FAILED  $2: no compute-sanitizer in the path, beside nvcc or in CUDA_HOME"
    return
  fi
  [ -z "$dry" ] || collect=(--collect-only)
  step "$1" "$2" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$checker" \
    --tool "$3" --report-api-errors no --error-exitcode 9 \
    "$python" -m pytest -q "${collect[@]}" -p no:cacheprovider -m gpu \
    -k "$plain and not second_order" "tests/ops/test_$4.py"
}

# bench_step SECONDS NAME PRESET BATCH OPTION...
bench_step() {
  local name=$2 preset=$3 batch=$4 limit=$1 small=()
  shift 4
  [ -z "$dry" ] || { preset=${preset%-*}-tiny batch=1 small=(--quick); }
  step "$limit" "$name" "$python" -m ivn.benchmarks.steps.bench_step --preset "$preset" \
    --device "$device" --batch "$batch" --rounds 10 "${small[@]}" "$@" --json "$results/$name.json"
}

# bench_ops SECONDS NAME NOUN
bench_ops() {
  local small=()
  [ -z "$dry" ] || small=(--quick)
  step "$1" "$2" "$python" -m ivn.benchmarks.ops.run --device "$device" "${small[@]}" \
    --only "$3" --out "$scratch/$2"
  [ ! -e "$scratch/$2/ops.json" ] || mv "$scratch/$2/ops.json" "$results/$2.json"
}

# Trains on real clips from the loader, up to a checkpoint.
pretrain() {
  local preset=stage1-base batch=16
  if ! { has av && has tyro && has tomli_w; }; then
    say "skipped  pretrain: av, tyro and tomli-w are not all installed; --wheels brings them"
    return
  fi
  [ -z "$dry" ] || preset=stage1-tiny batch=2
  step "$1" pretrain "$python" -m ivn pretrain "$preset" --data "$site/ivn/assets/clips" \
    --out "$scratch/run" --set stage.teacher.weights=random "optim.batch_size=$batch" \
    optim.steps=$([ -z "$dry" ] && echo 30 || echo 2) "efficiency.device=$device" \
    efficiency.workers=8 run.log_every=1
  [ ! -e "$scratch/run/log.jsonl" ] || cp "$scratch/run/log.jsonl" "$results/pretrain.jsonl"
}

# DALI's wheels are large, and GPU machines often have no network. If it is missing, the line on
# libnvcuvid says whether the driver could decode.
decode() {
  if ! { has nvidia.dali && has av; }; then
    say "skipped  decode: nvidia-dali-cuda130 and av are not both installed; see libnvcuvid above"
    return
  fi
  step $(($1 / 2)) decode-tests "$python" -m pytest -q -m gpu tests/data/loader/test_dali_feeder.py \
    tests/media/decode/test_backends.py --junitxml "$results/decode-tests.xml"
  step $(($1 / 2)) decode "$python" -m ivn.benchmarks.decode.bench_decode "$site/ivn/assets/clips" \
    --rounds 2 --processes 8 --out "$results"
}

[ -z "$dry" ] || say "--dry: no GPU is used, nothing is measured"
environment > "$results/environment.log" 2>&1
libnvcuvid | tee -a "$results/summary.txt"
if [ -n "$wheels" ]; then
  step 15 wheels "$python" -m pip install --no-index --no-deps --no-compile --no-cache-dir \
    --find-links "$wheels" --target "$brought" "$wheels"/*.whl
fi
step 50 build env "CUDAARCHS=$arch" "$python" -m pip install . --no-deps --no-build-isolation \
  --target "$site" -v || exit 1
export PYTHONSAFEPATH=1
# Its exit code is ignored: it is about the whole core, and a bare machine has no video decoder.
step 20 doctor bash -c '"$0" -c "from ivn.doctor import doctor; doctor(json=True)" > "$1" || true' \
  "$python" "$results/doctor.json"

for part in "${asked[@]}"; do
  limit=${part#*:} part=${part%:*}
  case $part in
    tests) run_tests "$limit" "$part" "not compile and not opcheck" ;;
    tests-compile) run_tests "$limit" "$part" compile ;;
    tests-opcheck) run_tests "$limit" "$part" "opcheck and not compile" ;;
    step-stage1-large) bench_step "$limit" "$part" stage1-large 16 --kernels ;;
    step-stage2-large) bench_step "$limit" "$part" stage2-large 8 --kernels ;;
    step-*) bench_step "$limit" "$part" "${part#*-}" 16 --reference ;;
    plain-*) bench_step "$limit" "$part" "${part#*-}" 16 --plain ;;
    ops-*) bench_ops "$limit" "$part" "${part#*-}" ;;
    memcheck-* | racecheck-*) sanitize "$limit" "$part" "${part%-*}" "${part#*-}" ;;
    *) "$part" "$limit" ;;
  esac
done

echo "results in $out/results.tar.gz"
! grep -q '^FAILED' "$results/summary.txt"
