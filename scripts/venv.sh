#!/usr/bin/env bash
# Creates a Python environment in a folder, with exactly the files that a requirements.txt lists by hash: no other
# versions, no unlisted dependencies, and no source packages, whose build would run code.
#
#   scripts/venv.sh target/load/venv locust/requirements.txt
set -euo pipefail
venv=$1 requirements=$2

"$(dirname "$0")/install.sh" python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is required, but python3 is $(python3 --version)" >&2
  exit 1
}
python3 -m venv --clear "$venv"
pip=("$venv/bin/pip" --disable-pip-version-check)
"${pip[@]}" install --quiet --require-hashes --only-binary :all: --no-deps --requirement "$requirements"
# Checks that the list is complete.
"${pip[@]}" check >/dev/null || "${pip[@]}" check
