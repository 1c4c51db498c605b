#!/usr/bin/env bash
# Runs commands in sequence, up to the first that fails, and adds up the test counts that they print: the last line is
# "N passed, N failed" over all of them, and the one before it the time.
#
#   scripts/test.sh 'cargo test --locked' 'make check-openapi'
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

code=0
for command in "$@"; do
  # The output is passed through unchanged.
  bash -c "$command" | tee -a "$log" || code=$?
  [ "$code" -eq 0 ] || break
done

# Cargo writes "test result: ok. 3 passed; 0 failed; …", the other checks "name: 3 passed, 0 failed".
read -r passed failed <<<"$(awk '
  match($0, /[0-9]+ passed[;,] [0-9]+ failed/) {
    split(substr($0, RSTART, RLENGTH), words, " ")
    passed += words[1]; failed += words[3]
  }
  END { print passed + 0, failed + 0 }' "$log")"
# A command may fail without a failed test, for example if it does not compile or a program is missing.
if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi

echo
[ "$code" -eq 0 ] || echo "make test stopped at: $command"
echo "make test took $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed"
exit "$code"
