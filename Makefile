# Targets: run, test, test-kong, bench, lint, build. Variables may be overridden on the command line.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
BIN      = bin

.PHONY: build run test test-kong bench lint fuzz

build:
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN)/openid-connect ./cmd/openid-connect
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN)/sandbox ./cmd/sandbox
