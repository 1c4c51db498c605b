#!/usr/bin/env bash
# Makes a Python environment in a folder, with just the files that a requirements.txt names by hash: no other
# versions, nothing that they bring along unnamed, and no package that would have to run code to be built.
#
#   scripts/venv.sh target/load/venv locust/requirements.txt
set -euo pipefail
venv=$1 requirements=$2

"$(dirname "$0")/install.sh" python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is needed, and python3 is $(python3 --version)" >&2
  exit 1
}
python3 -m venv --clear "$venv"
pip=("$venv/bin/pip" --disable-pip-version-check)
"${pip[@]}" install --quiet --require-hashes --only-binary :all: --no-deps --requirement "$requirements"
# All that is needed is in the list.
"${pip[@]}" check >/dev/null || "${pip[@]}" check
