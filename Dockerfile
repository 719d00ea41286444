# The image: one static binary, Debian's CA certificates, a non-root user. For amd64 and arm64.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t ecr-pull-secrets .
#
# Cross-compiled, never emulated. `make image` builds the same image without a Docker engine, and reads the last stage below.

FROM --platform=$BUILDPLATFORM rust:1.95.0-slim-bookworm AS build
ARG TARGETARCH
RUN case "$TARGETARCH" in \
      amd64) machine=x86_64 ;; \
      arm64) machine=aarch64 ;; \
      *) echo "unsupported architecture: $TARGETARCH" && exit 1 ;; \
    esac \
 && echo "$machine-unknown-linux-gnu" > /target \
 && packages="ca-certificates gcc libc6-dev" \
 && if [ "$(uname -m)" != "$machine" ]; then \
      packages="$packages gcc-$(echo $machine | tr _ -)-linux-gnu libc6-dev-$TARGETARCH-cross"; \
      printf '[target.%s]\nlinker = "%s"\n' "$(cat /target)" "$machine-linux-gnu-gcc" >> "$CARGO_HOME/config.toml"; \
    fi \
 && apt-get update && apt-get install --yes --no-install-recommends $packages && rm -rf /var/lib/apt/lists/* \
 && cat /usr/share/ca-certificates/mozilla/*.crt > /ca-certificates.crt \
 && rustup target add "$(cat /target)"
WORKDIR /src
# Linked statically against glibc. Its DNS look-ups need only /etc/resolv.conf, which Kubernetes provides.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=/usr/local/cargo/registry/src=/registry --remap-path-prefix=/src/target=/target"

# The dependencies are a layer of their own, because they change with Cargo.lock and not with the sources.
COPY Cargo.toml Cargo.lock ./
COPY core/Cargo.toml core/
COPY tests/aws-stand-in/Cargo.toml tests/aws-stand-in/
COPY tests/house/Cargo.toml tests/house/
COPY benches/do-nothing/Cargo.toml benches/do-nothing/
RUN mkdir -p src core/src tests/suite tests/aws-stand-in/src tests/aws-stand-in/tests/conformance tests/house/src benches/do-nothing/src \
 && touch src/lib.rs core/src/lib.rs tests/aws-stand-in/src/lib.rs \
 && echo 'fn main() {}' | tee src/main.rs tests/suite/main.rs tests/aws-stand-in/src/main.rs tests/aws-stand-in/tests/conformance/main.rs \
      tests/house/src/main.rs benches/main.rs benches/do-nothing/src/main.rs \
 && cargo build --locked --release --bin ecr-pull-secrets --target "$(cat /target)"

COPY core/src core/src
COPY src src
RUN touch core/src/lib.rs src/lib.rs src/main.rs \
 && cargo build --locked --release --bin ecr-pull-secrets --target "$(cat /target)" \
 && cp "target/$(cat /target)/release/ecr-pull-secrets" /ecr-pull-secrets

FROM scratch
LABEL org.opencontainers.image.title="ecr-pull-secrets" \
      org.opencontainers.image.description="Pull secrets for Amazon ECR, made just in time" \
      org.opencontainers.image.source="https://github.com/ecr-pull-secrets/ecr-pull-secrets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /ecr-pull-secrets /ecr-pull-secrets
# One malloc arena, because most threads are idle; and free memory returns to the system early.
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536 MALLOC_MMAP_THRESHOLD_=65536
USER 65532:65532
ENTRYPOINT ["/ecr-pull-secrets"]
CMD ["serve"]
