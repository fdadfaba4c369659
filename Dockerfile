# syntax=docker/dockerfile:1
# One static binary in an image without shell, package manager or root.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/earworm ./cmd/earworm \
    && mkdir -p /out/state

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/earworm /earworm
# A named volume takes the owner of the folder that it is mounted on.
COPY --from=build --chown=65532:65532 /out/state /var/lib/earworm
ENV EARWORM_STATE_DIR=/var/lib/earworm \
    EARWORM_HTTP_LISTEN=0.0.0.0:8080 \
    EARWORM_LOG_FORMAT=json
USER 65532:65532
VOLUME /var/lib/earworm
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=12 CMD ["/earworm", "health"]
ENTRYPOINT ["/earworm"]
CMD ["serve"]
