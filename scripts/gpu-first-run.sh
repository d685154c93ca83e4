#!/usr/bin/env bash
# The whole of docs/gpu-checklist.md on a machine with a GPU and no network, and one archive for people without a GPU.
#
#   scripts/gpu-first-run.sh [--wheels DIR] [--out DIR] [--minutes N] [--check] [--dry-run] [--list] [--list-wheels] [PART...]
#
# Without parts all of them run, the most telling first, so that a short loan has what matters; --list names them. With
# parts those run, in the order given. The machine, what is installed and its peaks are recorded in any case.
#
# Needed there: Python 3.11 or later with torch, CuPy and Triton, nvcc, a C++ compiler; --check says what of it is
# missing and what that costs. What else is missing comes from --wheels, and goes beside what Python has, not into it;
# --list-wheels prints the commands that fill such a folder where there is a network. A step that fails or takes too
# long is noted in steps.tsv and the next one goes on: the archive is written in any case.
set -u -o pipefail

cd "$(dirname "$0")/.." || exit 2
WHEELS=wheels OUT=results/gpu-first-run MINUTES=15 DRY='' CHECK='' CHOSEN='' PYTHON=${PYTHON:-python3}

# What the tests that need a GPU need: not all of the extra `dev`, which brings browsers and servers.
TESTING='pytest pytest-timeout hypothesis'

# Parts in the order they run in, the seconds each takes at most (of a rung: each), and what it tells.
parts() {
  cat <<'END'
large      150  a large product: predicted, then measured, beside cuBLAS
rungs       20  each CUDA rung, small and ragged: measured and verified
memcheck    45  each rung under compute-sanitizer: reads and writes out of bounds
tests      240  the tests that need a GPU
libraries  180  convolution and attention beside their libraries; a load that lasts beside bursts
sweep       90  a sweep with a final
ncu         45  each rung: hardware counters, to lie beside the static figures
racecheck   45  each rung under compute-sanitizer: races in shared memory
predicted   20  each rung: predicted times, which can be had elsewhere too
emulator    20  each rung: the emulator's verdict, likewise
END
}

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }
refuse() { echo "error: $1" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --wheels | --out | --minutes)
      [ $# -ge 2 ] || refuse "$1 needs a value"
      case $1 in --wheels) WHEELS=$2 ;; --out) OUT=$2 ;; *) MINUTES=$2 ;; esac
      shift 2 ;;
    --check) CHECK=1; shift ;;
    --dry-run) DRY=1; shift ;;
    --list) parts; exit 0 ;;
    --list-wheels)
      # Of a Linux x86-64 with the same minor version of Python as the machine with the GPU.
      echo "# driver 580 and later:"
      echo "pip download -d $WHEELS '.[gpu]' $TESTING"
      echo "# driver 525 to 575:"
      echo "pip download -d $WHEELS '.[gpu12]' $TESTING"
      echo "# both: pip, where the Python there has none"
      echo "pip download -d $WHEELS pip"
      echo "# a wheel too large to travel goes in pieces, which are joined there"
      echo "for w in \$(find $WHEELS -name '*.whl' -size +40M); do split -b 40M \"\$w\" \"\$w.part-\" && rm \"\$w\"; done"
      exit 0 ;;
    -h | --help) usage; exit 0 ;;
    -*) refuse "no option $1; there is --wheels, --out, --minutes, --check, --dry-run, --list, --list-wheels" ;;
    *)
      parts | grep -q "^$1 " || refuse "no part $1; there is $(parts | awk '{printf "%s%s", comma, $1; comma = ", "}')"
      CHOSEN="$CHOSEN $1"; shift ;;
  esac
done
case $MINUTES in '' | *[!0-9]* | 0) refuse "--minutes takes a whole number from 1, not $MINUTES" ;; esac

END=$((SECONDS + 60 * MINUTES))
DB=$OUT/results.db

# step NAME SECONDS COMMAND...: runs it, its output in NAME.txt; none goes on beyond the end.
step() {
  local name=$1 limit=$2 left began=$SECONDS code
  shift 2
  if [ -n "$DRY" ]; then
    printf '%-44s %4ss  %s\n' "$name" "$limit" "$*"
    return 0
  fi
  left=$((END - SECONDS))
  if [ "$left" -lt 5 ]; then
    printf '%s\t0\tskipped: no time left\t%s\n' "$name" "$*" >>"$OUT/steps.tsv"
    return 1
  fi
  [ "$limit" -le "$left" ] || limit=$left
  timeout -k 5 "$limit" "$@" >"$OUT/$name.txt" 2>&1
  code=$?
  printf '%s\t%s\t%s\t%s\n' "$name" "$((SECONDS - began))" "$code" "$*" >>"$OUT/steps.tsv"
  echo "$name: exit code $code after $((SECONDS - began)) s"
  return "$code"
}

# What is missing here, a line each with what it costs; false where nothing can be measured without it.
missing() {
  local found=0 absent
  lacks() { echo "missing: $1"; found=1; }
  command -v nvidia-smi >/dev/null || lacks "an NVIDIA driver (nvidia-smi): nothing can be measured"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || lacks "Python 3.11 or later as $PYTHON (PYTHON=... names another): the lab does not start"
  absent=$("$PYTHON" -c 'import importlib.util as u, sys
print(*(name for name in sys.argv[1:] if u.find_spec(name) is None))' \
    typer sqlalchemy numpy cupy triton torch cuda pynvml 2>/dev/null)
  [ -z "$absent" ] || [ -d "$WHEELS" ] \
    || lacks "in $PYTHON: $absent; and there is no folder $WHEELS to install from (--list-wheels)"
  "$PYTHON" -c 'import pip' 2>/dev/null || compgen -G "$WHEELS/pip-*.whl" >/dev/null \
    || lacks "pip, in $PYTHON and among $WHEELS/pip-*.whl: nothing that was brought along can be installed"
  command -v g++ >/dev/null || lacks "g++: no emulator's verdict beside the sanitizer's, no predicted trial verified"
  command -v nvcc >/dev/null || lacks "nvcc: its version is not recorded; NVRTC compiles"
  command -v compute-sanitizer >/dev/null || lacks "compute-sanitizer (CUDA toolkit): no memcheck, no racecheck"
  command -v ncu >/dev/null || lacks "ncu (Nsight Compute): no counters beside the static figures"
  [ "$found" = 0 ] && echo "missing: nothing"
  command -v nvidia-smi >/dev/null
}

has() { [ -n "$DRY" ] || command -v "$1" >/dev/null || { echo "$1 is not here: its steps are left out" | tee -a "$OUT/missing.txt"; false; }; }

# Of each CUDA rung: name, operator, first dtype, entry, as its head comment declares them; and the one architecture
# that a rung of wgmma is built for, whose letter no device has by itself.
rungs() {
  awk 'function told() { if (name) print name, operator, dtype, entry, only }
       FNR == 1 { told(); name = operator = entry = only = ""; dtype = "f32" }
       !name && /^name = "/ { split($0, p, "\""); name = p[2] }
       !operator && /^operator = "/ { split($0, p, "\""); operator = p[2] }
       !entry && /^entry = "/ { split($0, p, "\""); entry = p[2] }
       /^dtypes = \["/ { split($0, p, "\""); dtype = p[2] }
       /^requires = .*"wgmma"/ { only = "cuda:sm_90a" }
       END { told() }' cuda_src/*/*.cu
}

# Ragged, so that every edge is taken, and small, so that the emulator and the sanitizer are quick.
ragged() { # OPERATOR KERNEL
  case $1/$2 in
    gemm/*tma) echo "m123 n72 k88" ;; # the copy engine wants whole pieces of 16 bytes
    gemm/*) echo "m123 n77 k88" ;;
    conv2d/*depthwise*) echo "n1 c32 h13 w11 k32 r3 s3 pad=1 groups=32" ;;
    conv2d/*tma) echo "n1 c16 h13 w11 k24 r3 s3 pad=1 nhwc" ;; # and channels that lie together
    conv2d/*) echo "n1 c16 h13 w11 k24 r3 s3 pad=1" ;;
    attention/*paged*) echo "b1 h4 q1 kv77 d64 paged" ;;
    attention/*decode*) echo "b1 h4 q1 kv77 d64" ;;
    attention/*) echo "b1 h4 q33 kv33 d64" ;;
    *) return 1 ;;
  esac
}

if [ -n "$CHECK" ]; then
  missing
  exit
fi
if [ -z "$DRY" ]; then
  if ! command -v nvidia-smi >/dev/null; then
    missing >&2
    refuse "there is no nvidia-smi, so no NVIDIA driver; --dry-run shows the plan"
  fi
  mkdir -p "$OUT" || refuse "cannot write to $OUT"
  : >"$OUT/steps.tsv"
  missing | tee "$OUT/missing.txt"
fi

# 1. The machine as it is.
step machine-nvidia-smi 20 nvidia-smi -q
step machine-commit 10 git log -1 --format='%H %ad %s'
step machine-cpu 10 sh -c 'uname -a; lscpu; nproc; free -g'
step machine-nvcc 10 nvcc --version
step machine-python 30 "$PYTHON" -c 'import sys, importlib.metadata as m; print(sys.version, *sorted(d.name + "==" + d.version for d in m.distributions()), sep="\n")'

# 2. The lab, beside what is installed already; a driver before 580 is of CUDA 12.
EXTRA=gpu
DRIVER=
if [ -z "$DRY" ]; then
  DRIVER=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)
  [ "${DRIVER%%.*}" -ge 525 ] 2>/dev/null || refuse "driver ${DRIVER:-unknown} is older than 525, the oldest that runs CUDA 12"
  [ "${DRIVER%%.*}" -ge 580 ] || EXTRA=gpu12
fi
# Beside it, because the Python here may itself be of a virtual environment: one made from it would see neither's
# packages. What the lab starts (children, the sanitizer, ncu) inherits the path, so it is absolute.
# shellcheck disable=SC2086
step install-wheels 180 "$PYTHON" scripts/gpu_wheels.py "$WHEELS" "$OUT" "$EXTRA" $TESTING \
  || echo "not all is there: see $OUT/install-wheels.txt, and --list-wheels for what to bring along" >&2
case $OUT in /*) SITE=$OUT/site ;; *) SITE=$PWD/$OUT/site ;; esac
export PYTHONPATH=$SITE:$PWD${PYTHONPATH:+:$PYTHONPATH}
[ -z "$DRY" ] || echo "from here on PYTHONPATH=$PYTHONPATH"
if ! step check-starts 60 "$PYTHON" -m tuner kernels; then
  echo "the lab does not start: see $OUT/check-starts.txt and $OUT/install-wheels.txt; all that needs it will fail" >&2
fi

# 3. The device and its peaks.
step check-devices 60 "$PYTHON" -m tuner devices --db "$DB"
TARGET=cuda:sm_XX
[ -n "$DRY" ] || TARGET=$(sed -n 's/^cuda: .*(\(cuda:sm_[0-9a-z]*\)).*/\1/p' "$OUT/check-devices.txt" | head -1)
TARGET=${TARGET:-cuda:sm_80}

# 4. The parts.
sweep=("$PYTHON" -m tuner sweep)
large() { # measured against predicted where it counts
  local of=("${sweep[@]}" gemm --shape 4096x4096x4096)
  step large-predicted 60 "${of[@]}" --target "$TARGET" --no-device --trials 20 --rounds 0 --db "$DB"
  step large-measured 90 "${of[@]}" --device cuda:0 --trials 5 --db "$DB"
}
tests() {
  step check-tests 240 "$PYTHON" -m pytest -m gpu -rs --timeout 200 tests/devices tests/integrations
}
libraries() { # and whether a load that lasts gives other times than bursts
  step libraries-conv2d 60 "${sweep[@]}" conv2d --shape "n8 c64 h56 w56 k64 r3 s3 pad=1" --dtype f16 \
    --device cuda:0 --kernel cuda_conv_tensor_cores --trials 5 --db "$DB"
  step libraries-attention 60 "${sweep[@]}" attention --shape "b4 h16 q1024 kv1024 d64 causal" --dtype f16 \
    --device cuda:0 --kernel cuda_attn_tensor_cores --trials 5 --db "$DB"
  step large-sustained 60 "${sweep[@]}" gemm --shape 4096x4096x4096 --device cuda:0 --kernel cuda_warp_tiles \
    --trials 3 --sustained 2 --rounds 0 --no-baselines --db "$DB"
}
final() {
  step check-sweep 90 "${sweep[@]}" gemm --shape 1024x1024x1024 --device cuda:0 --kernel cuda_warp_tiles \
    --trials 20 --db "$DB"
}

# One rung: measured, NVIDIA's sanitizer, counters beside the static figures, the emulator's verdict to lie beside the
# sanitizer's.
rung() {
  local what=$1 name=$2 operator=$3 dtype=$4 entry=$5 only=$6 shape
  shape=$(ragged "$operator" "$name") || { echo "no ragged shape for $operator: $name is left out" >&2; return 0; }
  local of=("$PYTHON" -m tuner sweep "$operator" --shape "$shape" --dtype "$dtype" --kernel "$name"
    --no-baselines --rounds 0 --db "$DB" --json)
  local here=("${of[@]}" --device cuda:0)
  [ -z "$only" ] || here+=(--target "$only")
  case $what in
    predicted) step "rung-$name-$what" 20 "${of[@]}" --target "${only:-$TARGET}" --no-device --trials 8 ;;
    measured) step "rung-$name-$what" 20 "${here[@]}" --trials 4 ;;
    memcheck | racecheck)
      step "rung-$name-$what" 45 compute-sanitizer --tool "$what" --target-processes all \
        "${here[@]}" --trials 1 --remeasure ;;
    ncu)
      step "rung-$name-$what" 45 ncu --clock-control none --target-processes all --csv --page raw --launch-count 3 \
        --kernel-name "regex:$entry" "${here[@]}" --trials 1 --remeasure ;;
    emulator)
      step "rung-$name-$what" 20 "$PYTHON" -m tuner check "$name" --shape "$shape" --dtype "$dtype" \
        --target "${only:-$TARGET}" --json ;;
  esac
}
every_rung() { # WHAT
  local name operator dtype entry only
  while read -r name operator dtype entry only; do
    rung "$1" "$name" "$operator" "$dtype" "$entry" "$only"
  done < <(rungs)
}
for part in ${CHOSEN:-$(parts | awk '{print $1}')}; do
  case $part in
    large | tests | libraries) "$part" ;;
    sweep) final ;;
    rungs) every_rung measured ;;
    memcheck | racecheck) has compute-sanitizer && every_rung "$part" ;;
    ncu) has ncu && every_rung ncu ;;
    predicted | emulator) every_rung "$part" ;;
  esac
done

# 5. Per-trial records, readable without the lab; then everything in one file.
END=$((SECONDS + 60))
step records-json 30 "$PYTHON" -m tuner export --format json --db "$DB" "$OUT/trials.json"
step machine-nvidia-smi-after 20 nvidia-smi -q
ARCHIVE=$OUT.tar.gz
if [ -n "$DRY" ]; then
  echo "archive: $ARCHIVE"
  exit 0
fi
NAME=$(basename "$OUT")
tar -czf "$ARCHIVE" --exclude "$NAME/site" --exclude "$NAME/joined" -C "$(dirname "$OUT")" "$NAME" || refuse "the archive $ARCHIVE could not be written"
echo "steps that failed or were skipped:"
awk -F '\t' '$3 != 0' "$OUT/steps.tsv"
echo "send $ARCHIVE"
