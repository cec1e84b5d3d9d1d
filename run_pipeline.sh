#!/usr/bin/env bash
# The one door: set everything up on first use, then hand over to `python -m pipeline`.
#
#   ./run_pipeline.sh                  the demo
#   ./run_pipeline.sh COMMAND …        see --help
#   ./run_pipeline.sh test             ruff, mypy and the whole test suite
#   ./run_pipeline.sh test ARGUMENT …  only pytest, with these arguments (-m pure: the quick tests)
#
# PYTHON=/path/to/python3.11 chooses the interpreter; otherwise the first of python3.11, python3.12, python3 that fits.
# Packages go into .venv beside this script, in three sets, each with all of the one before it: what a run on a CPU uses;
# torch, if there is a GPU, or `--device cuda` or a .pth file among the arguments; what the tests use. A set that is wanted
# later is added. The stamps .venv/ready, ready-torch and ready-test are written last and tell what was installed there; a
# .venv that has a setup.log but no stamp was interrupted, is not trusted, and is built anew (pip's cache makes that quick).
set -euo pipefail
unset CDPATH

say() { printf 'whitesweep: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do  # `readlink -f` is missing on older macOS
  target=$(readlink "$script")
  case $target in /*) script=$target ;; *) script=$(dirname "$script")/$target ;; esac
done
root=$(cd -P "$(dirname "$script")" && pwd)
venv=$root/.venv
python=$venv/bin/python
log=$venv/setup.log

# What the virtual environment must have been made from: this place (an editable install knows its path), this Python, these pins.
state() { printf '%s\n' "$root" && cat "$venv/pyvenv.cfg" "$root/setup.py" "$root/constraints.txt"; }

# True if the person named an interpreter of another version than the one in .venv.
other_python() {
  [ -n "${PYTHON:-}" ] &&
    ! grep -qxF "version = $("$PYTHON" -c 'import platform; print(platform.python_version())' 2>&1)" "$venv/pyvenv.cfg" 2>/dev/null
}

# True if the set of this stamp is installed.
ready() { [ -x "$python" ] && state 2>/dev/null | cmp -s - "$venv/$1" && ! other_python; }

# True if these arguments or this machine want torch. nvidia-smi lists the GPUs that can be used here, in a container too,
# where the host's driver can be seen in /proc whether or not the container was given a GPU.
wants_torch() {
  case " $* " in
    *" --device"[\ =]"cuda "* | *.pth" "*) return 0 ;;
    *" --device"[\ =]"cpu "*) return 1 ;;
  esac
  case $(nvidia-smi -L 2>/dev/null) in GPU*) ;; *) return 1 ;; esac
}

# Say what the set of a stamp takes.
size_of() {
  case $1 in
    ready) echo "300 MB to download, 1.1 GB on disk" ;;
    ready-torch) echo "3 GB to download, 6 GB on disk" ;;
    ready-test) echo "3.1 GB to download, 6.3 GB on disk" ;;
  esac
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Set `chosen` and `version` to a Python that fits, or stop with the most telling reason.
choose_python() {
  local candidate problem="" advice="install Python 3.11 or 3.12, or name one: PYTHON=/path/to/python3.11 $0"
  local candidates=(python3.11 python3.12 python3)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    chosen=$(command -v "$candidate") && version=$(version_of "$chosen") || continue  # not there, or only a pyenv shim
    case $version in
      3.11 | 3.12)
        "$chosen" -c 'import ensurepip, venv' 2>/dev/null && return
        problem="$chosen (Python $version) comes without its venv module; on Debian and Ubuntu: apt install python$version-venv"
        ;;
      2.* | 3.? | 3.10) problem=${problem:-"$chosen is Python $version, which is too old; $advice"} ;;
      *) problem=${problem:-"$chosen is Python $version, which is too new; $advice"} ;;
    esac
  done
  fail "${problem:-"${PYTHON:-python3} is no Python that runs; $advice"}"
}

# Say in a few words why the set-up of a stamp's set failed.
reason() {
  local free
  free=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
  if grep -qE 'No space left on device|Disk quota exceeded' "$log" || [ "${free:-102400}" -lt 102400 ]; then
    echo "the disk is full: the packages take $(size_of "$1"), and pip's cache what was downloaded"
  elif grep -qE "name resolution|Name or service not known|nodename nor servname|Network is unreachable|No route to host|Connection refused|\
Connection reset|NewConnectionError|ProxyError|SSLError|timed out|Max retries exceeded" "$log"; then
    echo "the package index cannot be reached: is the network there?"
  elif grep -q 'No matching distribution found' "$log"; then
    echo "$(grep -o 'No matching distribution found.*' "$log" | tail -n 1): is the network there, and is there a build for this machine?"
  else
    grep -iE '^ *error' "$log" | grep -v 'ERROR: Exception:' | head -n 1 | grep . ||
      tail -n 1 "$log" | grep . || echo "no reason was given"
  fi
}

# Give the stamps back if pip stopped before it changed anything: without a network, say, what worked goes on working.
restore() { grep -q '^Installing collected packages' "$log" || mv "$venv"/before/* "$venv" 2>/dev/null || true; }

step() { "$@" >>"$log" 2>&1 || { restore; fail "set-up failed: $(reason "$stamp") (all of it: $log)"; }; }

# Install the set of a stamp.
set_up() {
  local stamp=$1 extras=heif stamps=(ready) each
  case $stamp in
    ready-torch) extras=heif,torch stamps+=(ready-torch) ;;
    ready-test) extras=heif,test stamps+=(ready-torch ready-test) ;;
  esac
  trap 'restore; say "interrupted; the next start completes the set-up"; exit 130' INT
  cd "$root"
  if [ -e "$log" ] && [ ! -e "$venv/ready" ] || other_python || ! version_of "$python" | grep -qxE '3\.1[12]'; then
    choose_python
    rm -rf "$venv.old"
    [ ! -e "$venv" ] || mv "$venv" "$venv.old"  # in one step, so that a half-removed one is never taken for a whole one
    rm -rf "$venv.old"
    say "setting up in $venv with Python $version ($chosen)"
  fi
  # pip unpacks gigabytes under TMPDIR, and /tmp is often a small piece of memory
  mkdir -p "$venv/tmp" "$venv/before" && : >"$log" || fail "cannot write to $venv"
  mv "$venv"/ready* "$venv/before" 2>/dev/null || true  # until all is done, nothing is ready
  export TMPDIR=$venv/tmp
  [ -x "$python" ] || step "$chosen" -m venv "$venv"
  say "installing packages, in all about $(size_of "$stamp"); details in $log"
  local pip=("$python" -m pip install --disable-pip-version-check --no-input --progress-bar off -c constraints.txt)
  step "${pip[@]}" setuptools  # first, so that the next step builds with the pinned one and downloads no other
  step "${pip[@]}" --no-build-isolation -e ".[$extras]"
  rm -rf "$TMPDIR" "$venv/before"
  for each in "${stamps[@]}"; do
    state >"$venv/$each.part" && mv "$venv/$each.part" "$venv/$each" || fail "cannot write to $venv"
  done
  say "set up in $SECONDS s; the next start takes no time"
}

# Run one set-up at a time; whoever waited finds it done. pip keeps the lock even if this script is killed.
set_up_alone() (
  if command -v flock >/dev/null; then
    exec 9>"$root/.venv.lock" || fail "cannot write to $root"
    flock -n 9 || { say "waiting for another set-up of $venv"; flock 9; }
  fi
  ready "$1" || set_up "$1"
)

# Fetch the weights if a file is missing; whether they are the right ones is checked when they are loaded.
need_weights() {
  local model suffix
  for model in u2net u2netp; do
    for suffix in safetensors ${1:+onnx}; do
      if [ ! -f "$root/weights/$model.$suffix" ]; then
        say "fetching the weights of U²-Net, about 170 MB"
        "$python" -m weights ${1:+"$1"} >/dev/null || exit
        return
      fi
    done
  done
}

# Modules come from the installed project, never from the folder one happens to stand in; Beam's worker processes inherit it.
export PYTHONSAFEPATH=1
# google-cloud-storage asks for bucket metadata in the background for its traces: needless requests and permissions.
export DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA=True

[ $# -gt 0 ] || set -- demo

if [ "$1" = test ]; then
  shift
  ready ready-test || set_up_alone ready-test
  need_weights --keep_onnx
  cd "$root"
  if [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
  fi
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  "$python" -m mypy
  "$python" -m pytest -m pure  # in seconds, and held to be that
  exec "$python" -m pytest -m "not pure" -n 2 --dist worksteal  # some files have few tests, but long ones
fi

if ! ready ready-torch; then
  if wants_torch "$@"; then
    set_up_alone ready-torch
  elif ! ready ready; then
    set_up_alone ready
  fi
fi
case " $* " in
  *" --help "* | *" -h "* | *" --weights"[\ =]*) ;;  # nothing of ours is needed
  *) need_weights ;;
esac
exec "$python" -m pipeline "$@"
