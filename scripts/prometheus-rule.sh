#!/usr/bin/env bash
# Prints the PrometheusRule of deploy/kubernetes, made of deploy/prometheus/rules.yml. `make docs` writes it.
set -euo pipefail
cd "$(dirname "$0")/.."

cat <<'EOT'
# Made of deploy/prometheus/rules.yml by scripts/prometheus-rule.sh: change it there, and say `make docs`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: signup-service
  labels:
    app.kubernetes.io/component: api
spec:
EOT
# YAML nests by indentation, so the text as it is, moved to the right.
sed -e '/^---$/d' -e '/^#/d' -e 's/^\(.\)/  \1/' deploy/prometheus/rules.yml
