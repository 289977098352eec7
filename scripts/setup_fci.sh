#!/usr/bin/env bash
# Makes .venv-fci: franka-sim, a simulated FR3 that enforces the robot's limits. It pins its own MuJoCo and NumPy, so it
# has an environment of its own. Idempotent. franky-sim, the other server, comes with the development packages.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.1.7
stamp=.venv-fci/.franka-sim-version
[ "$(cat "$stamp" 2>/dev/null)" = "$version" ] && exit 0

fail() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }
[ -x .venv/bin/python ] || fail "run 'make setup' first"
python=$(.venv/bin/python -c 'import sys; print(sys._base_executable)')
# It needs NumPy 1.26, which has no wheels for Python 3.13 and later.
"$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || python=$(command -v python3.12 || command -v python3.11 || command -v python3.10) \
  || fail "franka-sim needs Python 3.10 to 3.12: install one of them"
printf '\033[1m[setup]\033[0m creating .venv-fci with franka-sim %s\n' "$version"
rm -rf .venv-fci
"$python" -m venv .venv-fci || fail "could not create .venv-fci: install python3-venv"
.venv-fci/bin/python -m pip install --quiet "franka-sim==$version" || fail "pip could not install franka-sim: check the network"
echo "$version" >"$stamp"
