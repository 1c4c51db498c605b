# `make help` lists the targets.

# The parts of `make test`, in this order. CI has a job for each.
TESTS := test-rust test-chaos check-monitoring check-deployment check-openapi check-docs-page check-pages check-mail check-kernel
# The programs that they need.
TEST_PROGRAMS := postgres redis-server pgbouncer prometheus promtool haproxy chromium chromedriver python3-venv valgrind curl jq

.DEFAULT_GOAL := help
.PHONY: help run check programs test $(TESTS) coverage chaos lint format docs bench bench-peers load servers load-programs \
  release-tools python-locks docs-screenshot pages-screenshots browser debug-build supply-chain

# Modules that a macro declares are not seen by `cargo fmt`, so every file is named.
RUST_FILES := find src tests benches crates build.rs -name '*.rs'

# The environment of the servers that `bench-peers` compares with.
PEERS_VENV := target/peers-venv
# The environment of `check-monitoring`.
MONITORING_VENV := target/monitoring-venv
# The environment of `check-deployment`.
DEPLOYMENT_VENV := target/deployment-venv
# The environment of `check-openapi`, `check-docs-page` and `check-pages`.
OPENAPI_VENV := target/openapi-venv
# The environment of `check-mail`.
MAIL_VENV := target/mail-venv
# The environment of `supply-chain`.
SUPPLY_CHAIN_VENV := target/supply-chain-venv
# The environment of the tool that signs releases.
RELEASE_VENV := target/release-venv
# What checks spelling and words.
WORDS_VENV := target/words-venv
# What reads the counters of `coverage`.
COVERAGE_VENV := target/coverage-venv
# Whether `test-rust` counts the lines that it runs.
COUNTS := $(filter-out 0,$(COVERAGE))
# The client generators that `check-openapi` tries, with node; and the packages that node runs.
GENERATORS_VENV := target/generators-venv
OPENAPI_NODE := target/openapi-node

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and start the service on SQLite
	cargo run --release --locked

check: ## Formatting, types and the architecture rules, in seconds once built
	$(RUST_FILES) -exec rustfmt --check {} +
	cargo check --workspace --all-targets --locked
	cargo test --locked --test architecture

test: programs ## Run all tests; asks before installing the programs they need (YES=1: don't ask)
	@scripts/test.sh $(foreach part,$(TESTS),'$(MAKE) --no-print-directory $(part)')

programs: ## Install missing programs that the tests need; asks first
	@# All at once, so that no question comes up minutes later.
	@scripts/install.sh $(TEST_PROGRAMS)

test-rust: servers $(if $(COUNTS),$(COVERAGE_VENV)/installed) ## All Rust tests: units, architecture, the service on SQLite, PostgreSQL and Redis
	$(if $(COUNTS),$(COVERAGE_VENV)/bin/python tests/coverage/check.py,cargo test --workspace --locked)

coverage: ## The same, and how much of each layer they run, with a bar for each; COVERAGE=1 make test does it on the way
	@$(MAKE) --no-print-directory test-rust COVERAGE=1

test-chaos: servers $(MAIL_VENV)/installed ## Kills, crashes and faults, for some seconds; `make chaos` runs for minutes
	cargo test --locked --features faults --test chaos

check-monitoring: debug-build $(MONITORING_VENV)/installed ## Test rules, alerts and dashboard with a Prometheus that scrapes the service
	@scripts/install.sh prometheus promtool
	$(MONITORING_VENV)/bin/python tests/monitoring/check.py --binary $${CARGO_TARGET_DIR:-target}/debug/signup-service

check-deployment: servers debug-build $(DEPLOYMENT_VENV)/installed ## Check Dockerfile, Compose and Kubernetes; no engine or cluster needed
	@scripts/install.sh haproxy
	$(DEPLOYMENT_VENV)/bin/python tests/deployment/check.py
	$(DEPLOYMENT_VENV)/bin/python tests/deployment/planted.py
	$(DEPLOYMENT_VENV)/bin/python tests/deployment/live.py

check-openapi: servers debug-build $(OPENAPI_VENV)/installed $(OPENAPI_NODE)/installed ## Test the service against docs/reference/openapi.json with schemathesis, on both databases; and how-to pages
	@scripts/install.sh curl jq
	$(OPENAPI_VENV)/bin/python tests/openapi/check.py

check-docs-page: browser debug-build $(OPENAPI_VENV)/installed $(OPENAPI_NODE)/installed ## Sign up through the page /docs, in a real browser
	$(OPENAPI_VENV)/bin/python tests/openapi/docs_page.py

check-pages: browser servers debug-build $(OPENAPI_VENV)/installed $(OPENAPI_NODE)/installed ## Use the pages for people and administrators in a real browser, on both databases
	$(OPENAPI_VENV)/bin/python tests/pages/check.py

check-mail: servers debug-build $(MAIL_VENV)/installed ## Send mails to a real mail server: encrypted; and, on both databases, to one that fails
	$(MAIL_VENV)/bin/python tests/mail/check.py --binary $${CARGO_TARGET_DIR:-target}/debug/signup-service

check-kernel: ## Count the instructions of bcrypt-lanes with each build profile, and pack it as for crates.io
	@scripts/install.sh valgrind
	python3 tests/kernel/check.py
	cargo package --package bcrypt-lanes --locked --allow-dirty

docs-screenshot: browser debug-build $(OPENAPI_VENV)/installed $(OPENAPI_NODE)/installed ## The same, and update docs/images/docs.png
	$(OPENAPI_VENV)/bin/python tests/openapi/docs_page.py --screenshot

pages-screenshots: browser servers debug-build $(OPENAPI_VENV)/installed $(OPENAPI_NODE)/installed ## Run check-pages, and update docs/images/pages-*.png and administration-*.png
	$(OPENAPI_VENV)/bin/python tests/pages/check.py --screenshots

chaos: servers $(MAIL_VENV)/installed ## Minutes of kills and crashes (6 x CHAOS_SECONDS), memory exhaustion attacks, fuzzing
	@seconds=$${CHAOS_SECONDS:-180}; echo "chaos: 6 runs of $$seconds s on the unmodified service, and 9 of 10 s in which" \
	  "a planted bug must be found; then $$((40 + $${MEMORY_SECONDS:-60})) s of memory exhaustion attacks, and" \
	  "$${FUZZ_SECONDS:-10} s of fuzzing for each parser; building and starting servers takes additional time"
	CHAOS_SECONDS=$${CHAOS_SECONDS:-180} CHAOS_SEED=$${CHAOS_SEED:-$$(date +%s)} \
	  cargo test --locked --features faults --test chaos -- --nocapture --test-threads 1
	FUZZ_SECONDS=$${FUZZ_SECONDS:-10} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} \
	  cargo test --locked --test fuzz -- --nocapture --test-threads 1
	MEMORY_SECONDS=$${MEMORY_SECONDS:-60} cargo test --release --locked --test memory -- --nocapture

supply-chain: $(SUPPLY_CHAIN_VENV)/installed ## Check crates, Python packages, workflows, release; advisories too, where they are reachable
	$(SUPPLY_CHAIN_VENV)/bin/python tests/supply_chain/check.py
	$(SUPPLY_CHAIN_VENV)/bin/python tests/supply_chain/planted.py

lint: $(WORDS_VENV)/installed ## Check formatting, lints, documentation and words
	$(WORDS_VENV)/bin/typos
	$(RUST_FILES) -exec rustfmt --check {} +
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --workspace --no-deps --document-private-items --locked

format: ## Format every file
	$(RUST_FILES) -exec rustfmt {} +

docs: ## Regenerate the generated documents
	cargo build --locked --quiet
	@# Whole or not at all: a page that fails to print leaves the old one.
	for page in limits.md metrics.md openapi.json openapi-administration.json operations.md problems.md settings.md; do \
	  $${CARGO_TARGET_DIR:-target}/debug/signup-service reference "$${page%.*}" > "docs/reference/$$page.new" && \
	  mv "docs/reference/$$page.new" "docs/reference/$$page" || exit 1; done
	scripts/prometheus-rule.sh > deploy/kubernetes/base/prometheusrule.yaml.new
	mv deploy/kubernetes/base/prometheusrule.yaml.new deploy/kubernetes/base/prometheusrule.yaml

release-tools: $(RELEASE_VENV)/installed ## Install the tool with which the release workflow signs

python-locks: ## Regenerate each requirements.txt from the requirements.in beside it
	scripts/python-locks.sh

bench: servers load-programs ## Measure, and print a table
	cargo bench --locked --bench breached
	cargo bench --locked --bench hostile
	cargo bench --locked --bench reads
	cargo bench --locked --bench signups

load: ## Load the service and check each response; SHAPE=steady, spike or soak instead of smoke
	@scripts/load.sh

bench-peers: $(PEERS_VENV)/installed ## Compare signups with Django, fastapi-users and PocketBase; PEERS_OPTIONS goes to the script
	@scripts/install.sh postgres
	cargo build --profile production --locked
	cargo build --profile production --locked --package load-generator
	$(PEERS_VENV)/bin/python benches/peers/peers.py $(PEERS_OPTIONS)

$(PEERS_VENV)/installed: benches/peers/requirements.txt
$(MONITORING_VENV)/installed: tests/monitoring/requirements.txt
$(DEPLOYMENT_VENV)/installed: tests/deployment/requirements.txt
$(OPENAPI_VENV)/installed: tests/openapi/requirements.txt
$(GENERATORS_VENV)/installed: tests/openapi/clients/requirements.txt
$(MAIL_VENV)/installed: tests/mail/requirements.txt
$(SUPPLY_CHAIN_VENV)/installed: tests/supply_chain/requirements.txt
$(RELEASE_VENV)/installed: scripts/release/requirements.txt
$(WORDS_VENV)/installed: tests/words/requirements.txt
$(COVERAGE_VENV)/installed: tests/coverage/requirements.txt

%/installed:
	scripts/venv.sh $(@D) $<
	touch $@

$(OPENAPI_NODE)/installed: tests/openapi/clients/package-lock.json $(GENERATORS_VENV)/installed
	mkdir -p $(@D)
	cp tests/openapi/clients/package.json tests/openapi/clients/package-lock.json $(@D)
	PATH="$$PWD/$(GENERATORS_VENV)/bin:$$PATH" npm ci --prefix $(@D) --silent --ignore-scripts --no-audit --no-fund
	touch $@

servers:
	@scripts/install.sh postgres redis-server pgbouncer

load-programs:
	@scripts/install.sh wrk
	-@scripts/install.sh john # without it, one figure is missing

# Builds the service and the `postgres` example for scripts.
debug-build:
	@# Built like the tests, so that nothing is built twice.
	cargo test --workspace --locked --no-run

browser:
	@scripts/install.sh chromium chromedriver haproxy

