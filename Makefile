# `make help` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help run test chaos lint format docs bench bench-peers load servers load-programs python \
  check-monitoring check-deployment check-openapi check-docs-page docs-screenshot browser debug-build

# The environment of the servers that `bench-peers` compares with.
PEERS_VENV := target/peers-venv
# The environment of `check-monitoring`.
MONITORING_VENV := target/monitoring-venv
# The environment of `check-deployment`.
DEPLOYMENT_VENV := target/deployment-venv
# The environment of `check-openapi` and `check-docs-page`.
OPENAPI_VENV := target/openapi-venv

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and start the service on SQLite
	cargo run --release --locked

test: servers ## Install what the tests need, and run all of them
	cargo test --workspace --locked
	cargo test --locked --features crash-points --test chaos
	@$(MAKE) --no-print-directory check-monitoring check-deployment check-openapi check-docs-page

check-monitoring: $(MONITORING_VENV)/installed ## Test rules, alerts and dashboard, on a Prometheus that scrapes the service
	@scripts/install.sh prometheus promtool
	cargo build --locked
	$(MONITORING_VENV)/bin/python tests/monitoring/check.py --binary $${CARGO_TARGET_DIR:-target}/debug/signup-service

check-deployment: servers $(DEPLOYMENT_VENV)/installed ## Check Dockerfile, Compose and Kubernetes; no engine or cluster needed
	@scripts/install.sh haproxy
	cargo build --locked
	$(DEPLOYMENT_VENV)/bin/python tests/deployment/check.py
	$(DEPLOYMENT_VENV)/bin/python tests/deployment/live.py

$(DEPLOYMENT_VENV)/installed: tests/deployment/requirements.txt
	@scripts/install.sh python3-venv
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	$(@D)/bin/pip check --disable-pip-version-check
	touch $@

check-openapi: servers debug-build $(OPENAPI_VENV)/installed ## Does the service keep docs/openapi.json? schemathesis asks, on both databases
	$(OPENAPI_VENV)/bin/python tests/openapi/check.py

check-docs-page: browser debug-build $(OPENAPI_VENV)/installed ## A signup through the page /docs, in a real browser
	$(OPENAPI_VENV)/bin/python tests/openapi/docs_page.py

docs-screenshot: browser debug-build $(OPENAPI_VENV)/installed ## The same, and writes docs/images/docs.png anew
	$(OPENAPI_VENV)/bin/python tests/openapi/docs_page.py --screenshot

chaos: servers ## Some minutes of kills and crashes; CHAOS_SECONDS and CHAOS_SEED say more
	CHAOS_SECONDS=$${CHAOS_SECONDS:-180} CHAOS_SEED=$${CHAOS_SEED:-$$(date +%s)} \
	  cargo test --locked --features crash-points --test chaos -- --nocapture --test-threads 1

lint: ## Check formatting, lints and documentation
	@# Modules that a macro declares are not seen by `cargo fmt`, so every file is named.
	find src tests benches crates build.rs -name '*.rs' -exec rustfmt --check {} +
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --workspace --no-deps --document-private-items --locked

format: ## Format every file
	find src tests benches crates build.rs -name '*.rs' -exec rustfmt {} +

docs: ## Write the generated documents anew
	cargo run --locked --quiet -- settings > docs/settings.md.new
	mv docs/settings.md.new docs/settings.md
	cargo run --locked --quiet -- openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json
	scripts/prometheus-rule.sh > deploy/kubernetes/base/prometheusrule.yaml.new
	mv deploy/kubernetes/base/prometheusrule.yaml.new deploy/kubernetes/base/prometheusrule.yaml

bench: servers load-programs ## Measure, and print a table
	cargo bench --locked --bench reads
	cargo bench --locked --bench signups

load: python ## Load the service and check each answer; SHAPE=steady, spike or soak instead of smoke
	@scripts/load.sh

bench-peers: $(PEERS_VENV)/installed ## Signups beside Django, fastapi-users and PocketBase; PEERS_OPTIONS goes to the script
	@scripts/install.sh postgres
	cargo build --release --locked
	cargo build --release --locked --package load-generator
	$(PEERS_VENV)/bin/python benches/peers/peers.py $(PEERS_OPTIONS)

$(PEERS_VENV)/installed: benches/peers/requirements.txt
$(MONITORING_VENV)/installed: tests/monitoring/requirements.txt
$(OPENAPI_VENV)/installed: tests/openapi/requirements.txt

$(PEERS_VENV)/installed $(MONITORING_VENV)/installed $(OPENAPI_VENV)/installed:
	@scripts/install.sh python3-venv
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

servers:
	@scripts/install.sh postgres redis-server pgbouncer

load-programs:
	@scripts/install.sh wrk
	-@scripts/install.sh john # one figure less without it

# The service, and the PostgreSQL of a script.
debug-build:
	cargo build --locked
	cargo build --locked --package throwaway-servers --example postgres

browser:
	@scripts/install.sh chromium chromedriver

python:
	@scripts/install.sh python3-venv
