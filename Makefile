# run        everything around the plugin server on this machine, on loopback
# test       all tests; what needs Postgres, a browser or other providers runs where they are installed
# test-kong  the end-to-end tests on a real Kong (KONG_BIN, or kong on PATH): without a database and, where
#            initdb is installed (REQUIRE_POSTGRES=1 makes it a must), on PostgreSQL, by 1 and by 2 workers
# bench      decision benchmarks, ten thousand and a million sessions in Redis (minutes), and the server over its
#            Unix socket; the ratios stand last
# lint       gofmt, go vet, the import rules
# chaos      mixed traffic over two nodes with faults at every edge, for CHAOSTIME
# fuzz       every fuzz target for FUZZTIME each
# vulncheck  known faults in what is linked (needs Go's vulnerability database)
# packages   a deb and an rpm in OUT, for the architecture of GOARCH
# sbom       the software bill of materials of the plugin server, bin/sbom.cdx.json (CycloneDX)
GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   = -s -w -X main.version=$(VERSION)
FUZZTIME ?= 60s
CHAOSTIME ?= 10m
PROXY    ?= 127.0.0.1:8000
ADMIN    ?= 127.0.0.1:8001
PROVIDER ?= 127.0.0.1:8080
OUT      ?= bin
NFPM      = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
# A package's version begins with a digit.
PACKAGE_VERSION = $(shell echo '$(VERSION)' | sed -e 's/^v\([0-9]\)/\1/;t' -e 's/^/0.0.0+/')

.PHONY: build run test test-kong bench lint fuzz chaos reference vulncheck packages sbom FORCE
.DEFAULT_GOAL := build

build: bin/openid-connect bin/sandbox

# Static and reproducible: the same sources, Go and VERSION make the same bytes anywhere.
bin/%: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $@ ./cmd/$*
FORCE:

run: build
	@exec bin/sandbox run -config kong.yml -plugin bin/openid-connect -proxy $(PROXY) -admin $(ADMIN) -provider $(PROVIDER)

test:
	$(GO) test ./...

test-kong:
	@command -v "$${KONG_BIN:-kong}" >/dev/null || { echo "no Kong: put kong on PATH or set KONG_BIN"; exit 1; }
	E2E_TARGET=kong E2E_WORKERS=1 $(GO) test -count=1 ./internal/e2e
	E2E_TARGET=kong E2E_WORKERS=2 $(GO) test -count=1 ./internal/e2e/...
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then set -ex; \
	  E2E_TARGET=kong E2E_DATABASE=postgres E2E_WORKERS=1 $(GO) test -count=1 ./internal/e2e; \
	  E2E_TARGET=kong E2E_DATABASE=postgres E2E_WORKERS=2 $(GO) test -count=1 ./internal/e2e; \
	else echo "left out: the tests on Kong with PostgreSQL, as initdb is not installed (Debian: postgresql)"; test -z "$$REQUIRE_POSTGRES"; fi

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./internal/rp/... ./internal/token/... ./internal/session/... ./plugin/...
	$(GO) test -run '^$$' -bench . -benchmem ./internal/bench/...
	@$(GO) run ./internal/bench/ratio

lint:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) mod verify
	$(GO) mod tidy -diff
	$(GO) test -run 'TestImportRules' ./internal/arch

chaos:
	CHAOS_TIME=$(CHAOSTIME) $(GO) test -count=1 -timeout 2h -run TestChaos -v ./internal/e2e/nodes

fuzz:
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

reference:
	$(GO) test ./plugin -run 'TestReference' -update

vulncheck:
	.ci/vulncheck

sbom:
	@mkdir -p bin
	$(GO) run ./internal/supply/collect -sbom bin/sbom.cdx.json -version $(VERSION) ./cmd/openid-connect

packages:
	@rm -rf $(OUT)/package && mkdir -p $(OUT)/package
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(OUT)/package/openid-connect ./cmd/openid-connect
	$(GO) run ./internal/supply/collect -licences $(OUT)/package/licences -sbom $(OUT)/package/sbom.cdx.json -version $(VERSION) ./cmd/openid-connect
	@sed 's#/usr/local/kong#/run/openid-connect#' docs/nginx-admin.conf >$(OUT)/package/nginx-admin.conf
	@set -ex; export PACKAGE_DIR=$(OUT)/package PACKAGE_VERSION=$(PACKAGE_VERSION) PACKAGE_ARCH=$$($(GO) env GOARCH) SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0); \
	  for p in deb rpm; do GOOS= GOARCH= $(GO) run $(NFPM) package -f internal/supply/nfpm.yaml -p $$p -t $(OUT); done
