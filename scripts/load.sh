#!/usr/bin/env bash
# Loads the service, checks each response, and fails if one was wrong. See locust/README.md.
#
#   scripts/load.sh                                  starts a service of its own, on SQLite
#   SHAPE=spike scripts/load.sh                      smoke, steady, spike or soak
#   LOAD_URL=http://127.0.0.1:8000 scripts/load.sh   loads a service that is already running; with LOCUST_SERVICE_KEY,
#                                                    a key with the permission users:read, it is also listed
#
# All of its files are in target/load.
set -euo pipefail
cd "$(dirname "$0")/.."

shape=${SHAPE:-smoke}
out=target/load
venv=$out/venv
binary=${CARGO_TARGET_DIR:-target}/release/signup-service
log=$out/service.log
# Seconds to become ready, and to shut down.
patience=30

folder=
service=
locust=
interrupted=

say() { echo "load: $*"; }

fail() {
  say "$shape FAILED: $*" >&2
  exit 1
}

running() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# Terminates a child process, kills it if it does not end, and returns its exit code.
end() {
  running "$1" && kill -TERM "$1" 2>/dev/null
  for _ in $(seq $((patience * 10))); do
    running "$1" || break
    sleep 0.1
  done
  running "$1" && kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

tidy() {
  trap - EXIT INT TERM HUP
  [ -z "$locust" ] || end "$locust" || true
  [ -z "$service" ] || end "$service" || true
  [ -z "$folder" ] || rm -rf "$folder"
  [ -z "$interrupted" ] || say "$shape was interrupted" >&2
}
trap tidy EXIT
trap 'interrupted=yes; exit 130' INT TERM HUP

# No proxies: everything is on this machine.
export no_proxy='*' NO_PROXY='*'

mkdir -p "$out"
if ! cmp -s locust/requirements.txt "$venv/installed.txt"; then
  say "installing Locust into $venv"
  scripts/venv.sh "$venv" locust/requirements.txt || fail "Locust could not be installed"
  cp locust/requirements.txt "$venv/installed.txt"
fi

tests=$("$venv/bin/python" -m unittest discover --quiet --start-directory locust 2>&1) \
  || { echo "$tests" >&2; fail "the tests of the checks failed"; }

PYTHONPATH=locust "$venv/bin/python" -c 'import os, shapes; shapes.chosen(os.environ)' \
  || fail "SHAPE or SOAK_MINUTES is invalid"

# Whether the service at $url is ready; if /ready is on a separate port, whether it serves requests.
ready() {
  for path in /ready /; do
    status=$("$venv/bin/python" -c '
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print(0)' "$url$path")
    [ "$status" = 404 ] || break
  done
  [ "$status" = 200 ]
}

if [ -n "${LOAD_URL:-}" ]; then
  url=${LOAD_URL%/}
  PYTHONPATH=locust "$venv/bin/python" -c 'import checks, sys; sys.exit(not checks.is_loopback(sys.argv[1]))' \
    "$url" || fail "$url is not on this machine"
  ready || fail "$url/ready does not return 200"
else
  cargo build --release --locked
  folder=$(mktemp -d)
  # The rate limits are off, as all users of a run have one address, and no user has a mailbox. Port 0 takes a free one, which is logged. Inherited
  # settings of other servers are removed.
  settings=(-u SIGNUP_CONFIG -u REDIS_URL -u DATABASE_READ_URL -u READS
    HOST=127.0.0.1 PORT=0 ADMIN_PORT=0 DATABASE_URL="sqlite://$folder/signup.db" DATABASE_MIGRATE=true
    EMAIL_VERIFICATION=off RATE_LIMIT_SIGNUP=off RATE_LIMIT_LOGIN=off RATE_LIMIT_REFRESH=off LOG_FORMAT=json RUST_LOG=info)
  env "${settings[@]}" "$binary" serve >"$log" 2>&1 &
  service=$!
  url=
  deadline=$((SECONDS + patience))
  until [ -n "$url" ] && ready; do
    running "$service" || fail "the service did not start; see $log"
    [ "$SECONDS" -lt "$deadline" ] || fail "the service was not ready within $patience s; see $log"
    sleep 0.1
    address=$(sed -n '/"ready: listening"/s/.*"address":"\([^"]*\)".*/\1/p' "$log" | head -n 1)
    url=${address:+http://$address}
  done
  LOCUST_SERVICE_KEY=$(env "${settings[@]}" "$binary" \
    service-keys create --name load --permission users:read --expires-in-days 1 2>/dev/null) \
    || fail "the service key could not be made"
fi
# Without a key, there are no services that list users.
export LOCUST_SERVICE_KEY=${LOCUST_SERVICE_KEY:-}

say "$shape against $url"
# In the background, so that this script handles signals at once.
SHAPE=$shape "$venv/bin/locust" --config locust/locust.conf --host "$url" \
  --csv "$out/$shape" --html "$out/$shape.html" </dev/null &
locust=$!
code=0
wait "$locust" || code=$?
locust=

stopped=0
if [ -n "$service" ]; then
  running "$service" || fail "the service ended during the run; see $log"
  end "$service" || stopped=$?
  service=
fi

case $code in
  0) ;;
  3) fail "there were wrong responses, or no correct one of some kind; see above, and $out/$shape.html" ;;
  *) fail "Locust could not run the load, and exited with $code" ;;
esac
[ "$stopped" -eq 0 ] || fail "the service did not shut down properly, and exited with $stopped; see $log"
say "$shape passed without wrong responses; the figures are in $out/$shape.html"
