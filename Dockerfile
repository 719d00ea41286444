# syntax=docker/dockerfile:1
# The image: one static binary, the CA certificates of Debian, a user that is not root. amd64 and arm64.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t ecr-pull-secrets .
#
# `make image` makes the same without a Docker engine.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Statically linked against glibc: its DNS look-ups need nothing of the image but /etc/resolv.conf, which Kubernetes brings.
ENV RUSTFLAGS="-C target-feature=+crt-static"
ARG TARGETARCH
RUN case "$TARGETARCH" in arm64) echo aarch64 ;; *) echo x86_64 ;; esac > /arch

# The dependencies, as a layer of their own: they change with Cargo.lock, not with the sources.
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY core/Cargo.toml core/
COPY tests/aws-stand-in/Cargo.toml tests/aws-stand-in/
RUN mkdir -p src core/src tests/suite tests/aws-stand-in/src \
 && touch src/lib.rs core/src/lib.rs tests/aws-stand-in/src/lib.rs \
 && echo 'fn main() {}' | tee src/main.rs tests/suite/main.rs tests/aws-stand-in/src/main.rs \
 && cargo build --locked --release --bin ecr-pull-secrets --target "$(cat /arch)-unknown-linux-gnu"

COPY core/src core/src
COPY src src
RUN touch core/src/lib.rs src/lib.rs src/main.rs \
 && cargo build --locked --release --bin ecr-pull-secrets --target "$(cat /arch)-unknown-linux-gnu" \
 && cp "target/$(cat /arch)-unknown-linux-gnu/release/ecr-pull-secrets" /ecr-pull-secrets

FROM scratch
LABEL org.opencontainers.image.title="ecr-pull-secrets" \
      org.opencontainers.image.description="Pull secrets for Amazon ECR, made just in time" \
      org.opencontainers.image.source="https://github.com/ecr-pull-secrets/ecr-pull-secrets" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /ecr-pull-secrets /ecr-pull-secrets
USER 65532:65532
ENTRYPOINT ["/ecr-pull-secrets"]
CMD ["serve"]
