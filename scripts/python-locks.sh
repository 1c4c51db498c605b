#!/usr/bin/env bash
# Writes each requirements.txt anew, of the requirements.in beside it: every package at one version, with the
# hashes of its files. `pip` then installs those files and no others. It takes `uv`, of PyPI.
#
#   scripts/python-locks.sh              adds and removes what requirements.in says; other versions stay
#   scripts/python-locks.sh --upgrade    takes the newest version of each
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
