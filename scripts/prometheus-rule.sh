#!/usr/bin/env bash
# Prints the PrometheusRule of deploy/kubernetes, generated from deploy/prometheus/rules.yml. Used by `make docs`.
set -euo pipefail
cd "$(dirname "$0")/.."

cat <<'EOT'
# Generated from deploy/prometheus/rules.yml by scripts/prometheus-rule.sh: change it there, and run `make docs`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: signup-service
  labels:
    app.kubernetes.io/component: api
spec:
EOT
# YAML nests by indentation, so the text is indented and otherwise unchanged.
sed -e '/^---$/d' -e '/^#/d' -e 's/^\(.\)/  \1/' deploy/prometheus/rules.yml
