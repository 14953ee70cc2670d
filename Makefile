.DEFAULT_GOAL := help
.PHONY: release help demo example test soak bench bench-push check dependencies fmt lint figures figures-push figures-relay figures-webhook figures-store figures-application fuzz-api docs deb clean

# The unoptimised profile: it builds in a fraction of the time, its dependencies are optimised all the same
# (Cargo.toml), and the tests use the very same artefacts. `make demo PROFILE=release` for the real thing.
PROFILE ?= dev
BIN := $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/chainflume

help: ## What there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## See it work: a chain, a database and the daemon (ARGS="--for 30s" ends by itself)
	@scripts/need cc postgresql
	@cargo build --locked --profile $(PROFILE)
	@exec $(BIN) demo $(ARGS)

example: ## Serve a page that follows the demo with the client for JavaScript (SERVER=http://127.0.0.1:8080)
	@scripts/need node
	@scripts/build-client
	@exec node examples/page/serve.mjs $(SERVER)

test: ## Install what the tests need and run them all (ARGS goes to cargo test)
	@scripts/need cc postgresql redis openssl curl node python systemd promtool dpkg pgbouncer chromium nginx
	@scripts/test-tools
	cargo test --locked $(ARGS)

soak: ## Live through half an hour of trouble, then compare every row (SOAK_MINUTES, SOAK_SEED, SOAK_FAULTS: tests/daemon/soak.rs)
	@scripts/need cc postgresql redis
	cargo test --locked --release --test daemon soak::half_an_hour -- --ignored --nocapture --test-threads=1

bench: ## Measure it: history, live, reorgs (docs/PERFORMANCE.md; BENCH_LOGS=100000 BENCH_RUNS=1 for a minute's look)
	@scripts/need cc postgresql
	cargo bench --locked --bench flume

bench-push: ## Measure the public server beside npm socket.io (CLIENTS=1000 RATE=10 SECONDS=20 IDLE=10000 HOLD=0; docs/PERFORMANCE.md)
	@scripts/need cc postgresql node
	@cargo build --locked --release --package chainflume --package chainflume-push-clients
	@cmp -s benches/push/package-lock.json benches/push/node_modules/installed || { npm ci --prefix benches/push --ignore-scripts --no-audit --no-fund && cp benches/push/package-lock.json benches/push/node_modules/installed; }
	@ulimit -n $$(ulimit -Hn) && exec node benches/push/bench.mjs $(or $(CARGO_TARGET_DIR),target)/release/chainflume $(or $(CARGO_TARGET_DIR),target)/release/chainflume-push-clients

check: ## What must hold before a commit, tests apart
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

dependencies: ## Advisories, licences and duplicate versions of what the program is built from (deny.toml)
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --locked check

fmt: ## Format the code
	cargo fmt

lint: ## Lint the code
	cargo clippy --locked --all-targets

figures: ## Lines of code by room, the longest file and function
	@cargo test --locked --quiet --test architecture figures -- --nocapture

figures-relay: ## How fast messages leave: latency, throughput, memory, of a release build
	@scripts/need cc postgresql redis
	cargo test --locked --release --test deliver relay::figures -- --ignored --nocapture --test-threads=1

figures-push: ## How long 2,000 clients take to recover from a server that is killed, of a release build
	@scripts/need cc postgresql
	cargo test --locked --release --test gateway push::scale::figures -- --ignored --nocapture --test-threads=1

figures-webhook: ## How fast messages leave while 300,000 wait for a retry to a webhook
	@scripts/need cc postgresql
	cargo test --locked --release --test deliver webhook::figures -- --ignored --nocapture --test-threads=1

figures-store: ## Memory of a rewind, time of a block with many sources (FIGURES_EVENTS=200000 FIGURES_SOURCES=4000)
	@scripts/need cc postgresql
	cargo test --locked --workspace --test figures -- --ignored --nocapture --test-threads=1

fuzz-api: ## Requests made up from /openapi.json; installs schemathesis into .tools
	@scripts/need cc postgresql python
	@test -x .tools/schemathesis/bin/pip || python3 -m venv .tools/schemathesis
	@.tools/schemathesis/bin/pip install -q --disable-pip-version-check -r tests/tools/schemathesis.txt
	cargo test --locked --test gateway push::application::fuzz -- --ignored --nocapture

figures-application: ## What publishers, activities and inbound webhooks take, of a release build
	@scripts/need cc postgresql node
	@scripts/build-client
	cargo test --locked --release --test gateway push::application::figures -- --ignored --nocapture --test-threads=1

docs: ## Write what is made from the code: docs/METRICS.md
	@CHAINFLUME_WRITE_DOCS=1 cargo test --locked --quiet --test operations docs

deb: ## Build the Debian package and try it on a throw-away copy of this machine (PROFILE=release for the real thing)
	@scripts/need cc dpkg
	@cargo build --locked --profile $(PROFILE)
	@scripts/deb-test $$(scripts/deb $(BIN))

release: ## Build what a release consists of into target/dist: tarball, Debian package, checksums, notes (RELEASE=dev for a try)
	@scripts/need cc dpkg
	@RUSTFLAGS="$$(scripts/remap)" cargo build --locked --bin chainflume --profile $(or $(RELEASE),release) --target-dir target/remapped
	@scripts/release target/remapped/$(or $(RELEASE:dev=debug),release)/chainflume target/dist

clean: ## Remove what was built and the tests' tools
	cargo clean
	rm -rf .tools
