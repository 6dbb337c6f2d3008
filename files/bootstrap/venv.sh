#!/bin/sh
# Makes the virtual environment .venv from requirements.txt; needs a Python 3.12 or newer somewhere on the machine.
set -eu
minimum="3, 12"

# Not every name on the PATH runs: a version manager's shims exist for versions that are not chosen.
for candidate in python3 python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 \
    /usr/local/bin/python3* /opt/*/bin/python3; do
  if "$candidate" -c "import sys; sys.exit(sys.version_info < ($minimum))" 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "${python:-}" ]; then
  echo "No Python $(echo "$minimum" | tr -d ' ' | tr , .) or newer runs on this machine: install one (on Debian 13: apt-get install python3)." >&2
  exit 1
fi

# Debian keeps what a virtual environment is made with in a package of its own.
if ! "$python" -c "import ensurepip, venv" 2>/dev/null; then
  if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
  $sudo apt-get update -qq
  $sudo apt-get install -qq --yes --no-install-recommends python3-venv ca-certificates >/dev/null
fi

echo "Making .venv with $("$python" --version) and the pinned requirements (about half a minute)"
"$python" -m venv --clear .venv
.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt "$@"
