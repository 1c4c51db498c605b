#!/usr/bin/env bash
# Installs missing programs that tests and benchmarks use: on Debian and Ubuntu with apt; elsewhere it prints what to
# install. It asks first on a terminal; without one, it installs only with YES=1 or CI=true. No installed server is
# started.
#
#   scripts/install.sh postgres redis-server wrk python3-venv
#   YES=1 scripts/install.sh prometheus
#
# It runs in Bash 3.2, the version of macOS.
set -euo pipefail

# The purpose of a program.
reason() {
  case $1 in
    postgres) echo "the tests start servers of their own, on free ports" ;;
    redis-server) echo "the same" ;;
    pgbouncer) echo "a connection pooler in front of PostgreSQL, as in many installations" ;;
    haproxy) echo "the proxy of docker-compose.yml, run as a process" ;;
    prometheus | promtool) echo "checks the rules and alerts with metrics of the running service" ;;
    chromium | chromedriver) echo "signs up through the pages, as a user does" ;;
    python3-venv) echo "keeps Python packages of tests below target/" ;;
    curl | jq) echo "commands of how-to pages, which are run" ;;
    valgrind) echo "counts the instructions of the hash kernel" ;;
    wrk) echo "loads the service in benchmarks" ;;
    john) echo "a peer in the benchmark of hashing" ;;
    *) return 1 ;;
  esac
}

# The packages with a program: the first one that the system knows is installed.
packages_of() {
  case $1 in
    postgres) echo postgresql ;;
    promtool) echo prometheus ;;
    # Debian's name, then Ubuntu's.
    chromium) echo chromium chromium-browser ;;
    chromedriver) echo chromium-driver chromium-chromedriver ;;
    *) echo "$1" ;;
  esac
}

has() {
  # Debian does not include virtual environments in python3.
  if [ "$1" = python3-venv ]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null
    return
  fi
  command -v "$1" >/dev/null && return 0
  if [ "$1" = chromium ]; then
    # Other builds, which tests/openapi/docs_page.py can use, too.
    command -v chromium-browser >/dev/null && return 0
    command -v google-chrome >/dev/null && return 0
  fi
  # Debian installs these in a folder that may be missing from PATH.
  case $1 in john | haproxy | pgbouncer) [ -x "/usr/sbin/$1" ] && return 0 ;; esac
  [ "$1" = postgres ] || return 1
  # Debian keeps the server's programs out of PATH; PG_BIN names another folder.
  for folder in "${PG_BIN:-/nowhere}" /usr/lib/postgresql/*/bin; do
    [ -x "$folder/postgres" ] && [ -x "$folder/psql" ] && return 0
  done
  return 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
for program in "$@"; do
  reason "$program" >/dev/null || {
    echo "install.sh: unknown program $program" >&2
    exit 2
  }
  has "$program" || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

echo "These programs are missing:" >&2
for program in $missing; do
  printf '  %-14s %s\n' "$program" "$(reason "$program")" >&2
done

if ! command -v apt-get >/dev/null; then
  echo "Please install them." >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
  echo "sudo is missing; please install them." >&2
  exit 1
fi

if [ "${YES:-}" != 1 ] && [ "${CI:-}" != true ]; then
  if ! [ -t 0 ] || ! [ -t 2 ]; then
    echo "Please install them, or set YES=1 to install them with apt." >&2
    exit 1
  fi
  printf 'Install them with apt? No server is started. [y/N] ' >&2
  read -r reply || reply=
  case $reply in
    y | Y | yes | Yes) ;;
    *)
      echo "Nothing was installed." >&2
      exit 1
      ;;
  esac
fi

as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
packages=
for program in $missing; do
  known=
  for package in $(packages_of "$program"); do
    if [ -z "$known" ] && apt-cache show "$package" >/dev/null 2>&1; then known=$package; fi
  done
  [ -n "$known" ] || {
    echo "This system has no package with $program; please install it." >&2
    exit 1
  }
  case " $packages " in *" $known "*) ;; *) packages="$packages $known" ;; esac
done
echo "installing$packages" >&2

# Debian starts servers on installation unless this file denies it. An existing file is the user's choice and is kept.
# POLICY_RC_D is another path, for the tests of this script.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
if ! [ -e "$policy" ]; then
  trap 'as_root rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM HUP
  # shellcheck disable=SC2016 # The inner shell expands its own argument.
  as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 0755 "$1"' sh "$policy"
fi
# The names have no spaces.
# shellcheck disable=SC2086
as_root env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends $packages >/dev/null
