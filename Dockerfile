# docker build -t chainflume .
# The builder is thrown away; what runs has the binary, certificates and a user without rights.
FROM rust:1.94-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY crates crates
COPY benches benches
COPY tests/support tests/support
COPY abi abi
COPY migrations migrations
COPY schemas schemas
COPY config config
# Paths of the builder stay out of the binary.
ENV RUSTFLAGS="--remap-path-prefix=/src=chainflume --remap-path-prefix=/usr/local/cargo=cargo --remap-path-prefix=/usr/local/rustup=rust"
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin chainflume && \
    install -D --strip target/release/chainflume /out/chainflume

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --home-dir /var/lib/chainflume --create-home chainflume
COPY --from=build /out/chainflume /usr/bin/chainflume
USER chainflume
WORKDIR /var/lib/chainflume
ENV CHAINFLUME_CONFIG=/etc/chainflume/chainflume.toml
VOLUME /var/lib/chainflume
EXPOSE 9464
STOPSIGNAL SIGTERM
# Alive, not ready: a node that is away is no reason to replace the container. bash, because the image has no curl.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["/usr/bin/chainflume"]
CMD ["run"]
