#!/usr/bin/env bash
# Runs rustc for Cargo (RUSTC_WORKSPACE_WRAPPER): the service's own crate gets counters, dependencies and tests are
# built as ever, so that nothing else is compiled a second time. The counters are mapped into their file while the
# process runs (the second option), so that those of a killed process count, too.
# In bash and not in sh, which may drop Cargo's variables that have a hyphen in their names.
set -euo pipefail
case " $* " in
  *" --crate-name signup_service "*)
    exec "$@" -C instrument-coverage -C llvm-args=-runtime-counter-relocation
    ;;
esac
exec "$@"
