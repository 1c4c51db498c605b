#!/usr/bin/env bash
# Regenerates each requirements.txt from the requirements.in beside it: every package at one version, with the
# hashes of its files. `pip` then installs only those files. It needs `uv` from PyPI.
#
#   scripts/python-locks.sh              applies changes of requirements.in; other versions stay
#   scripts/python-locks.sh --upgrade    updates each to its newest version
set -euo pipefail
cd "$(dirname "$0")/.."

command -v uv >/dev/null || {
  echo "uv is missing; please install it: pip install uv" >&2
  exit 1
}
for list in */requirements.in */*/requirements.in */*/*/requirements.in; do
  uv pip compile "$list" --output-file "${list%.in}.txt" "$@" \
    --universal --python-version 3.11 --generate-hashes --no-annotate --quiet
done
