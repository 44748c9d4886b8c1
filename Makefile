# `make run` needs a Rust toolchain and a C compiler; `make test` installs the other programs that it speaks with, and the targets
# of the image install theirs.

CARGO ?= cargo
FUZZ_SECONDS ?= 60
# Seeds of the deterministic simulation in `make soak`; `make test` tries 1,000 fresh ones.
SIM_SEEDS ?= 100000
CRASH_ROUNDS ?= 200
# Random sequences that the alert engine and its model both take, and traps of the storm; `make test` has 2,000 and 50,000.
MODEL_SEQUENCES ?= 100000
STORM_TRAPS ?= 1000000
# Where `cargo deny fetch` puts the RustSec advisory database.
ADVISORY_DB ?= $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs

.PHONY: run build test lint deny fuzz bench soak clean tools image test-image ci-image lint-image test-ansible image-tools

run:
	@$(CARGO) build --release -p postern-control -p postern-gateway -p postern-tests --bins
	@exec "$${CARGO_TARGET_DIR:-target}/release/postern-demo"

build:
	$(CARGO) build --workspace --bins

# The programs are built with the tests' features, so that nothing is compiled twice.
test: tools
	$(CARGO) build --workspace --bins --tests
	$(CARGO) nextest run --workspace
	$(CARGO) test --workspace --doc --quiet
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=1

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) fetch --locked
	$(CARGO) deny --offline check bans licenses sources
	@if [ -d "$(ADVISORY_DB)" ]; then $(CARGO) deny --offline check advisories; \
	else echo "advisories: skipped, there is no database at $(ADVISORY_DB)"; fi

# Each target for FUZZ_SECONDS, on stable Rust without a sanitizer: the code forbids unsafe. `make test` gives each a second.
fuzz:
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@cd tests && $(CARGO) fuzz build -s none
	@cd tests && for target in $$($(CARGO) fuzz list); do \
	  echo "fuzzing $$target for $(FUZZ_SECONDS) s" && $(CARGO) fuzz run -s none $$target -- -max_total_time=$(FUZZ_SECONDS) \
	    >fuzz/$$target.log 2>&1 || { cat fuzz/$$target.log; exit 1; }; grep -h "^Done" fuzz/$$target.log; done

# The gateway beside the field's programs at the same load, then instructions for one event. `make bench ROWS=connect` measures a part.
bench:
	@tests/benches/install-peers
	$(CARGO) build --release -p postern-control -p postern-gateway -p postern-tests --bins
	$(CARGO) bench -p postern-tests --bench append
	$(CARGO) bench -p postern-tests --bench load -- $(ROWS)
	$(CARGO) bench -p postern-tests --bench engine
	$(CARGO) bench -p postern-tests --bench instructions
	$(CARGO) bench -p postern-tests --bench memory

# Ten minutes of mixed load at half the rate without loss, with a revision every second (POSTERN_SOAK_SECONDS); then SIM_SEEDS lives of a
# simulated pair, MODEL_SEQUENCES of the engine beside its model, a storm of STORM_TRAPS, and CRASH_ROUNDS deaths of the real gateway.
soak:
	$(CARGO) build --release -p postern-control -p postern-gateway -p postern-tests --bins
	$(CARGO) bench -p postern-tests --bench load -- soak
	SIM_SEEDS=$(SIM_SEEDS) $(CARGO) test --release -p postern-tests --test simulation every_invariant -- --nocapture
	PROPTEST_CASES=$(MODEL_SEQUENCES) $(CARGO) test --release -p postern-engine --test model -- --nocapture
	STORM_TRAPS=$(STORM_TRAPS) $(CARGO) test --release -p postern-tests --test storm -- --nocapture
	POSTERN_CRASH_ROUNDS=$(CRASH_ROUNDS) $(CARGO) test --release -p postern-tests --test e2e rounds:: -- --nocapture

tools:
	@tests/install-tools

# The appliance, from nothing, in every format: target/image/release/out. image/README.md tells of keys, versions and options.
image:
	@image/install-tools build
	@image/build release

# The OVA with the programs as the tests have built them, booted and tried in a virtual machine.
test-image: image-tools
	@image/build development
	@image/check-sbom target/image/sbom.cdx.json
	@tests/image/run smoke

# The tests of the image that take long: tampering, roll-back, scans; and whether two builds give the same root.
ci-image: test-image
	@image/test-variant --image target/image/out --out target/image/test-variant
	@tests/image/run long
	@image/check-reproducible

# What can be said of the image without building it.
lint-image: image-tools
	@image/lint

# The roles alone: lint, and a second run that must change nothing.
test-ansible: lint-image
	@CHECK_IDEMPOTENT=yes image/build development

image-tools: tools
	@image/install-tools test

clean:
	$(CARGO) clean
	rm -rf .run
