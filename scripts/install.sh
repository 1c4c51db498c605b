#!/usr/bin/env bash
# Installs the programs that tests and benchmarks use, where they are missing: on Debian and
# Ubuntu by apt, elsewhere it says what to install.
#
#   scripts/install.sh postgres redis-server wrk python3-venv
set -euo pipefail

# The package that has a program, on Debian and Ubuntu.
declare -A package=([postgres]=postgresql [redis-server]=redis-server [wrk]=wrk
  [python3-venv]=python3-venv [john]=john [prometheus]=prometheus [promtool]=prometheus
  [haproxy]=haproxy [pgbouncer]=pgbouncer [chromium]=chromium [chromedriver]=chromium-driver)

has() {
  # Debian keeps what makes virtual environments away from python3.
  if [ "$1" = python3-venv ]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null
    return
  fi
  command -v "$1" >/dev/null && return 0
  if [ "$1" = chromium ]; then
    # Others' builds of it, with which tests/openapi/docs_page.py does as well.
    command -v chromium-browser >/dev/null && return 0
    command -v google-chrome >/dev/null && return 0
  fi
  # Where Debian puts it is not on everybody's path.
  case $1 in john | haproxy | pgbouncer) [ -x "/usr/sbin/$1" ] && return 0 ;; esac
  [ "$1" = postgres ] || return 1
  # Debian keeps the server's programs away from the path; PG_BIN names another place.
  for folder in "${PG_BIN:-/nowhere}" /usr/lib/postgresql/*/bin; do
    [ -x "$folder/postgres" ] && [ -x "$folder/psql" ] && return 0
  done
  return 1
}

missing=()
for program in "$@"; do
  [ -n "${package[$program]:-}" ] || { echo "install.sh: unknown program $program" >&2; exit 2; }
  has "$program" || missing+=("$program")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "These programs are missing; please install them: ${missing[*]}" >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "These programs are missing, and there is no sudo to install them: ${missing[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi
packages=()
for program in "${missing[@]}"; do packages+=("${package[$program]}"); done
echo "installing ${packages[*]}"
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
