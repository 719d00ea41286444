# make demo: see it work · make check: before a commit · make test: what CI runs. CONTRIBUTING.md has more.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Outside the clone, like tools and cluster binaries: a clean clone finds what an earlier one built.
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ecr-pull-secrets
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(cache)/target)

# Where the installers put Rust and Go, for a shell that has not heard of them.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin

# Every other goal needs a machine that has what it takes. PATH is named because make before 4.4 exports nothing to a $(shell).
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
export RUSTUP_TOOLCHAIN := $(shell PATH='$(PATH)' tests/demo/machine.sh)
ifneq ($(or $(.SHELLSTATUS),0),0)
$(error this machine is not ready, see above)
endif
$(shell tests/demo/claim.sh $(CARGO_TARGET_DIR))
endif

tool = $$(tests/cluster/tools.sh $1)
go_packages := ./internal/... # the rest of the module compiles Kubernetes

.PHONY: help
help: ## say what there is
	@sed -n 's/^\([a-z]*\): [^#]*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

.PHONY: check
check: format lint unit docs dependencies tls go manifests-check scripts ## format, lints, unit and property tests: no cluster

.PHONY: test
test: check smoke suite ## all of it, what CI runs

.PHONY: demo
demo: ## the promise, kept before your eyes on a real API server
	@tests/demo/run.sh

.PHONY: manifests
manifests: ## render manifests/install.yaml and certs/cert-manager.yaml from the chart
	manifests/render.sh

# This machine's, or ARCH=amd64, ARCH=arm64.
ARCH = $(subst x86_64,amd64,$(subst aarch64,arm64,$(shell uname -m)))

.PHONY: image
image: ## the image as an OCI archive, without a Docker engine; ARCH=arm64 for another architecture
	manifests/image/build.sh $(ARCH) target/image/ecr-pull-secrets-$(ARCH).tar

# Built along with the binary of the image, by the same flags: what it is compared with.
.PHONY: bench
bench: ## the figures that the design promises (under half an hour), also in target/bench.json
	manifests/image/build.sh $(ARCH) target/image/ecr-pull-secrets-$(ARCH).tar --package do-nothing --bin do-nothing
	for tool in cluster helm wrk; do tests/cluster/tools.sh $$tool >/dev/null; done
	ECR_PULL_SECRETS_BINARY=$(CARGO_TARGET_DIR)/$(shell uname -m)-unknown-linux-gnu/release/ecr-pull-secrets \
		cargo bench --locked --bench bench -- $(ONLY)

.PHONY: soak
soak: image ## pods that pull for an hour, while tokens live for 20 s; 20,000 more through restarts (root, Linux)
	for tool in cluster helm containerd node-packages; do tests/cluster/tools.sh $$tool >/dev/null; done
	ROTATION_LIFETIMES=180 cargo test --locked --test suite -- node::rotation
	RESTARTS=3 cargo test --locked --test suite -- node::restarts

.PHONY: mutants
mutants: ## break the core in every way; a test must notice (most of an hour)
	mkdir -p target
	PATH=$$(dirname $(call tool,cargo-mutants)):$$PATH env -u CARGO_TARGET_DIR \
		cargo mutants --package ecr-pull-secrets-core --jobs 2 --output target

# Of each target.
FUZZ_SECONDS ?= 30

.PHONY: fuzz
fuzz: ## give hostile bytes to what reads bytes, on nightly Rust; FUZZ_SECONDS=600 for more than half a minute each
	fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: clean
clean: ## remove what was built here, but not tools and cluster binaries
	rm -rf target $(CARGO_TARGET_DIR)

# What check and test are made of.
.PHONY: format lint unit docs dependencies tls go manifests-check scripts smoke suite

format:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	unformatted=$$(gofmt -l tests/cluster); [[ -z $$unformatted ]] || { echo "run gofmt -w: $$unformatted"; exit 1; }

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Every test file but the suite: that one starts a control plane.
test_files := $(wildcard core/tests/*.rs core/tests/*/main.rs tests/aws-stand-in/tests/*/main.rs)
test_names := $(notdir $(basename $(patsubst %/main.rs,%.rs,$(test_files))))

unit:
	cargo test --locked --workspace --lib --bins $(addprefix --test ,$(test_names))

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items

dependencies:
	$(call tool,cargo-deny) --locked check --hide-inclusion-graph -D unmatched-skip bans licenses sources
	$(call tool,cargo-deny) --locked --manifest-path fuzz/Cargo.toml check --hide-inclusion-graph -D unmatched-skip bans licenses sources

# deny.toml bans the others as well; this looks at what is really built, with its features.
tls:
	@tree=$$(cargo tree --locked --workspace --edges normal,build --prefix none --format '{lib}'); \
	grep -qx aws_lc_rs <<<"$$tree" || { echo 'aws-lc-rs is not in the tree: look at this check'; exit 1; }; \
	! grep -xE 'ring|openssl|openssl_sys|native_tls|boring|mbedtls' <<<"$$tree" || { echo 'a second TLS provider'; exit 1; }; \
	echo 'one TLS provider: aws-lc-rs'

go:
	cd tests/cluster && export CGO_ENABLED=0 && go vet $(go_packages) && go test $(go_packages)

manifests-check:
	manifests/render.sh --check
	$(call tool,helm) lint --strict --quiet manifests/helm

scripts:
	@if type shellcheck >/dev/null 2>&1; then git ls-files '*.sh' .ci/run | xargs shellcheck --severity=warning; else echo 'no shellcheck here: scripts are checked for syntax only'; fi
	for script in $$(git ls-files '*.sh' .ci/run); do bash -n $$script; done

smoke:
	fuzz/run.sh --smoke

# Where there can be a node, and the tests on it are not skipped.
node := $(filter Linux-0,$(shell uname)-$(shell id -u))

# The tools first: a test that waits for a build looks like one that hangs.
suite: $(if $(node),image)
	for tool in cluster helm moto $(if $(node),containerd); do tests/cluster/tools.sh $$tool >/dev/null; done
	$(if $(node),tests/cluster/tools.sh node-packages)
	cargo test --locked --workspace --test suite
