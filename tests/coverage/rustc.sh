#!/usr/bin/env bash
# Runs rustc for Cargo (RUSTC_WORKSPACE_WRAPPER): the service's own crate gets counters, dependencies and tests are
# built as ever, so that nothing else is compiled a second time. The counters are mapped into their file while the
# process runs (the second option), so that those of a killed process count, too. Names are not compressed (the third),
# as the programs that read them here are built without zlib.
# In bash and not in sh, which may drop Cargo's variables that have a hyphen in their names.
set -euo pipefail
case " $* " in
  *" --crate-name signup_service "*)
    exec "$@" -C instrument-coverage -C llvm-args=-runtime-counter-relocation -C llvm-args=-enable-name-compression=false
    ;;
esac
exec "$@"
