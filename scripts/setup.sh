#!/usr/bin/env bash
# Makes a fresh Debian or Ubuntu machine ready: system packages, .venv, the built and installed project.
# Idempotent: what is there is kept. `--rebuild` compiles the Python extension again.
set -euo pipefail
cd "$(dirname "$0")/.."

rebuild=no
[ "${1:-}" = "--rebuild" ] && rebuild=yes

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
fail() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }

packages=(g++ cmake ninja-build ccache pkg-config git python3-dev python3-venv libeigen3-dev libzmq3-dev cppzmq-dev
  libmsgpack-cxx-dev nlohmann-json3-dev libtomlplusplus-dev libcli11-dev doctest-dev libmodbus-dev rt-tests libegl1 libgl1-mesa-dri)

# Where the distribution packages ONNX Runtime's headers (Debian 13, Ubuntu 25.04), they come from there.
if apt-cache show libonnxruntime-dev >/dev/null 2>&1; then
  packages+=(libonnxruntime-dev)
fi
# Ubuntu 22.04 has msgpack's C++ headers in another package.
if ! apt-cache show libmsgpack-cxx-dev >/dev/null 2>&1 && apt-cache show libmsgpack-dev >/dev/null 2>&1; then
  packages=("${packages[@]/libmsgpack-cxx-dev/libmsgpack-dev}")
fi

install_system_packages() {
  command -v apt-get >/dev/null || fail "apt-get was not found: this script knows Debian and Ubuntu. Elsewhere install the equivalents of: ${packages[*]}"
  local missing=()
  for package in "${packages[@]}"; do
    # dpkg says "installed" also for held or automatic packages; anything else counts as missing.
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "these packages are missing and this user is not root and has no sudo: run as root: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing system packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq || fail "apt-get update failed: check the network and the package sources, then run 'make setup' again"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >build/setup-apt.log 2>&1 \
    || { tail -n 20 build/setup-apt.log >&2; fail "apt-get install failed (build/setup-apt.log): run it by hand: apt-get install ${missing[*]}"; }
}

find_python() {
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.10 or newer was not found: install python3.11, or set PYTHON=/path/to/python3"
}

create_venv() {
  [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null && return
  local python
  python=$(find_python)
  say "creating .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv || fail "could not create .venv: install python3-venv"
  .venv/bin/python -m pip install --quiet --upgrade pip || fail "pip could not be upgraded: check the network"
}

# What the installed state depends on: a changed pyproject or C++ source installs again.
fingerprint() {
  { cat pyproject.toml CMakeLists.txt; find cmake controller/cpp -type f -print0 | sort -z | xargs -0 cat; } | sha256sum | cut -d' ' -f1
}

install_project() {
  local stamp=.venv/.serl-rt-installed wanted
  wanted=$(fingerprint)
  if [ "$rebuild" = no ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  local requirements
  requirements=$(sha256sum pyproject.toml | cut -d' ' -f1)
  if [ "$(cat .venv/.serl-rt-requirements 2>/dev/null)" != "$requirements" ]; then
    say "installing Python packages (the first time takes a few minutes: torch, mujoco, onnxruntime)"
    .venv/bin/python scripts/requirements.py dev >build/requirements.txt
    .venv/bin/python -m pip install --quiet -r build/requirements.txt || fail "pip install failed: see above; check the network and free disk space, then run 'make setup' again"
    echo "$requirements" >.venv/.serl-rt-requirements
  fi
  say "compiling the controller (about two minutes the first time)"
  # The compiler's name that CMake would choose for `make cpp`: ccache tells names apart, and this
  # Python's own choice may be another one.
  CXX="${CXX:-c++}" .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e . || fail "the build failed: see the compiler's message above"
  mkdir -p build/typing && ln -sfn ../.. build/typing/serl_rt
  echo "$wanted" >"$stamp"
}

mkdir -p build
install_system_packages
scripts/fetch_onnxruntime_headers.sh .deps
create_venv
install_project
say "ready"
