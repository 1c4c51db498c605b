# The service in an image without a shell or a package manager.
#
#   docker build --tag signup-service:0.1.0 .
#   docker run --rm --read-only --publish 127.0.0.1:8000:8000 --volume signup-data:/data signup-service:0.1.0
#
# Images are pinned by tag and not by digest, so that a new build has the security fixes of Debian. For
# reproducible builds, name both by digest (--build-arg BUILD_IMAGE=…@sha256:…).

# The compiler of rust-toolchain.toml, on the same Debian as the image that the service runs on, because the
# binary is linked to glibc. It is not linked statically, as a static glibc can't resolve host names; everything
# else (SQLite, TLS, the migrations) is in the binary.
ARG BUILD_IMAGE=rust:1.95.0-trixie
# Distroless has no tags with a version, only the release of Debian.
ARG RUN_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

# The dependencies, as a layer of their own: it is rebuilt only when a manifest or Cargo.lock changes. The sources
# of the workspace are empty here. What was built from them is removed at the end, as Cargo would otherwise take
# it for up to date: it compares modification times, and a checkout may be older than this layer.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates/bcrypt-lanes/Cargo.toml crates/bcrypt-lanes/
COPY crates/load-generator/Cargo.toml crates/load-generator/
COPY crates/throwaway-servers/Cargo.toml crates/throwaway-servers/
RUN mkdir src crates/bcrypt-lanes/benches \
 && touch src/lib.rs crates/bcrypt-lanes/benches/throughput.rs \
 && for crate in crates/*; do mkdir "$crate/src" && touch "$crate/src/lib.rs" || exit 1; done \
 && echo 'fn main() {}' > src/main.rs \
 && echo 'fn main() {}' > build.rs \
 && cargo build --profile production --locked --bin signup-service \
 && cargo clean --profile production --locked --package signup-service --package bcrypt-lanes

COPY build.rs LICENSE-APACHE ./
COPY scripts/notices.py scripts/
COPY migrations migrations
COPY crates crates
COPY src src
RUN cargo build --profile production --locked --bin signup-service \
 && mkdir --parents /out/data \
 && cp target/production/signup-service /out/ \
 && python3 scripts/notices.py /out/notices

FROM ${RUN_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="signup-service" \
      org.opencontainers.image.description="A CQRS signup service: one account per signup, whatever crashes" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /out/signup-service /signup-service
# sbom.cdx.json, the bill of materials, and licences.txt, the licence texts.
COPY --from=build /out/notices /usr/share/doc/signup-service
# The default database is data/signup.db, which is in this volume, as the service runs in /. With PostgreSQL
# the service writes no files, neither here nor elsewhere.
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /data
VOLUME /data
WORKDIR /

# The user `nonroot` of the image, by number: Kubernetes can't verify from a name that it is not root.
USER 65532:65532
ENV HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
  CMD ["/signup-service", "healthcheck"]
ENTRYPOINT ["/signup-service"]
CMD ["serve"]
