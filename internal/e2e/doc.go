// Package e2e tests the whole through HTTP: a proxy address, an Admin API
// address and an issuer. The same tests run against the sandbox and, with
// E2E_TARGET=kong and a kong binary on PATH or in KONG_BIN, against a real
// Kong, without a database or (E2E_DATABASE=postgres) on a PostgreSQL made for
// the run, by E2E_WORKERS workers. Provider and service behind are the
// sandbox's on all of them.
package e2e
