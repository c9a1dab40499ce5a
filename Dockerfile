# Three images from one build:
#   docker build --target plugin    .   the plugin server as a container of its own (the default)
#   docker build --target kong      .   Kong with the plugin server beside it, for its -dump or to launch it
#   docker build --target keycloak  .   Keycloak with the realm of docker-compose.yml, for trying
# Give the version with --build-arg VERSION=$(git describe --tags --always).

FROM golang:1.26.8-bookworm AS build
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download && go mod verify
COPY Makefile LICENSE ./
COPY cmd ./cmd
COPY internal ./internal
COPY plugin ./plugin
COPY docs ./docs
COPY testdata/keycloak ./testdata/keycloak
RUN GOFLAGS=-buildvcs=false make bin/openid-connect VERSION=$VERSION
RUN mkdir -p /out/share /out/rootfs/run/openid-connect \
 && cp bin/openid-connect LICENSE docs/nginx-admin.conf /out/share/ \
 && sed 's#/usr/local/kong#/run/openid-connect#' docs/nginx-admin.conf >/out/share/nginx-admin-container.conf \
 && go run ./internal/supply/collect -licences /out/share/licences -sbom /out/share/sbom.cdx.json -version $VERSION ./cmd/openid-connect \
 && chmod 0770 /out/rootfs/run/openid-connect
# Keycloak makes keys of its own, and takes the client's secret from its environment.
RUN sed -e '/"components": {/,/},/d' -e 's/kong-secret-0123456789abcdef0123456789abcdef/${OIDC_CLIENT_SECRET}/' testdata/keycloak/realm-a.json >/out/realm.json

FROM scratch AS plugin
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/share /usr/share/openid-connect
# The directory of the socket, which a volume takes over with its owner and mode.
COPY --from=build --chown=65532:65532 /out/rootfs /
COPY --from=build /out/share/openid-connect /openid-connect
USER 65532:65532
ENTRYPOINT ["/openid-connect"]
CMD ["-kong-prefix", "/run/openid-connect", "-socket-mode", "0660", "-admin-socket-mode", "0660"]
HEALTHCHECK --interval=10s --timeout=5s --retries=6 CMD ["/openid-connect", "health", "-kong-prefix", "/run/openid-connect"]

# Not in /usr/local/bin: there Kong would find it and launch it unasked.
FROM kong:3.9.1 AS kong
COPY --from=build /out/share /opt/openid-connect
COPY --from=build --chown=65532:65532 /out/rootfs /

FROM keycloak/keycloak:26.5.6 AS keycloak
COPY --from=build /out/realm.json /opt/keycloak/data/import/realm-a.json

# What `docker build .` makes.
FROM plugin
