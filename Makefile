# make demo: see it work · make check: before each commit · make test: what CI runs. See CONTRIBUTING.md.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Outside the clone, like tools and cluster binaries, so that a clean clone reuses what an earlier one built.
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ecr-pull-secrets
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(cache)/target)

# The folders of the Rust and Go installers, for a shell whose PATH lacks them.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin

# All other goals need Rust, Go and some packages. PATH is passed because make before 4.4 exports nothing to a $(shell).
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
export RUSTUP_TOOLCHAIN := $(shell PATH='$(PATH)' tests/demo/machine.sh)
ifneq ($(or $(.SHELLSTATUS),0),0)
$(error this machine is not ready: the lines before this one say why)
endif
$(shell tests/demo/claim.sh $(CARGO_TARGET_DIR))
endif

tool = $$(tests/cluster/tools.sh $1)
go_packages := ./internal/... # the rest of the module compiles Kubernetes

.PHONY: help
help: ## list the goals
	@sed -n 's/^\([a-z-]*\): [^#]*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

.PHONY: check
check: format lint unit docs dependencies tls go manifests-check scripts house ## format, lints, unit and property tests: no cluster

.PHONY: test
test: check smoke suite ## every test, what CI runs

.PHONY: demo
demo: ## see it work on a real API server
	@tests/demo/run.sh

.PHONY: manifests
manifests: ## render manifests/install.yaml and certs/cert-manager.yaml from the chart
	manifests/render.sh

# The architecture of this machine, unless set to amd64 or arm64.
ARCH = $(subst x86_64,amd64,$(subst aarch64,arm64,$(shell uname -m)))

.PHONY: image
image: ## build the image as an OCI archive, without a Docker engine; ARCH=arm64 for the other architecture
	manifests/image/build.sh $(ARCH) target/image/ecr-pull-secrets-$(ARCH).tar

# The binary of the image, which the benchmarks measure.
image_binary := $(CARGO_TARGET_DIR)/$(shell uname -m)-unknown-linux-gnu/release/ecr-pull-secrets

# Builds the binary of the image, and with the same flags the handler that it is compared with.
.PHONY: bench
bench: ## measure the promised figures (under half an hour), also into target/bench.json
	manifests/image/build.sh $(ARCH) target/image/ecr-pull-secrets-$(ARCH).tar --package do-nothing --bin do-nothing
	for tool in cluster helm wrk; do tests/cluster/tools.sh $$tool >/dev/null; done
	ECR_PULL_SECRETS_BINARY=$(image_binary) cargo bench --locked --bench bench -- $(ONLY)

.PHONY: bench-scale
bench-scale: ## measure what takes long: 1,000 AWS identities, 100,000 pods (half an hour), also into target/bench.json
	manifests/image/build.sh $(ARCH) target/image/ecr-pull-secrets-$(ARCH).tar
	for tool in cluster helm; do tests/cluster/tools.sh $$tool >/dev/null; done
	ECR_PULL_SECRETS_BINARY=$(image_binary) cargo bench --locked --bench bench -- scale $(ONLY)

.PHONY: soak
soak: image ## pull for an hour with tokens of 20 s, then create 20,000 pods during restarts (root, Linux)
	for tool in cluster helm containerd node-packages; do tests/cluster/tools.sh $$tool >/dev/null; done
	ROTATION_LIFETIMES=180 cargo test --locked --test suite -- node::rotation
	RESTARTS=3 cargo test --locked --test suite -- node::restarts

.PHONY: mutants
mutants: ## check that a test fails for each mutation of the core (most of an hour)
	mkdir -p target
	PATH=$$(dirname $(call tool,cargo-mutants)):$$PATH env -u CARGO_TARGET_DIR \
		cargo mutants --package ecr-pull-secrets-core --jobs 2 --output target

# Seconds for each target.
FUZZ_SECONDS ?= 30

.PHONY: fuzz
fuzz: ## fuzz the parsers, on nightly Rust, 30 s each; FUZZ_SECONDS=600 for longer
	fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: clean
clean: ## remove build outputs, but keep tools and cluster binaries
	rm -rf target $(CARGO_TARGET_DIR)

# The parts of check and test.
.PHONY: format lint unit docs dependencies tls go manifests-check scripts house smoke suite

format:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	unformatted=$$(gofmt -l tests/cluster); [[ -z $$unformatted ]] || { echo "not formatted; run gofmt -w $$unformatted"; exit 1; }

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Every test target but the suite, which starts a control plane.
test_files := $(wildcard core/tests/*.rs core/tests/*/main.rs tests/aws-stand-in/tests/*/main.rs)
test_names := $(notdir $(basename $(patsubst %/main.rs,%.rs,$(test_files))))

unit:
	cargo test --locked --workspace --lib --bins $(addprefix --test ,$(test_names))

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items

dependencies:
	$(call tool,cargo-deny) --locked check --hide-inclusion-graph -D unmatched-skip bans licenses sources
	$(call tool,cargo-deny) --locked --manifest-path fuzz/Cargo.toml check --hide-inclusion-graph -D unmatched-skip bans licenses sources

# deny.toml bans the other TLS libraries, too; this checks what is really built, with its features.
tls:
	@tree=$$(cargo tree --locked --workspace --edges normal,build --prefix none --format '{lib}'); \
	grep -qx aws_lc_rs <<<"$$tree" || { echo 'aws-lc-rs is not in the tree, so this check is stale'; exit 1; }; \
	! grep -xE 'ring|openssl|openssl_sys|native_tls|boring|mbedtls' <<<"$$tree" || { echo 'the tree has a second TLS provider'; exit 1; }; \
	echo 'one TLS provider: aws-lc-rs'

go:
	cd tests/cluster && export CGO_ENABLED=0 && go vet $(go_packages) && go test $(go_packages)

manifests-check:
	manifests/render.sh --check
	$(call tool,helm) lint --strict --quiet manifests/helm

scripts:
	@if type shellcheck >/dev/null 2>&1; then git ls-files '*.sh' .ci/run | xargs shellcheck --severity=warning; else echo 'shellcheck is not installed: checking only the syntax of the scripts'; fi
	for script in $$(git ls-files '*.sh' .ci/run); do bash -n $$script; done

# No cycles between files, type names used once, plain English.
house:
	cargo run --quiet --locked --package house

smoke:
	fuzz/run.sh --smoke

# Set where a node can run: as root on Linux. Elsewhere the tests on a node are skipped.
node := $(filter Linux-0,$(shell uname)-$(shell id -u))

# Tools are built first, because a test that waits for a build seems to hang.
suite: $(if $(node),image)
	for tool in cluster helm moto $(if $(node),containerd); do tests/cluster/tools.sh $$tool >/dev/null; done
	$(if $(node),tests/cluster/tools.sh node-packages)
	cargo test --locked --workspace --test suite
