// Package testproviders runs OpenID Providers that people use on this machine,
// for tests: the npm package oidc-provider and Keycloak, each on loopback, with
// clients, users and secrets of ours (testdata/oidc-provider and
// testdata/keycloak).
//
// A test asks for one by OIDCProvider(t) or Keycloak(t); the first call installs
// and starts it, later calls of the same test binary share it. TestMain ends
// with StopAll. What cannot be had (no Node.js, no Java, no registry) skips the
// test and says why, or fails it where REQUIRE_PROVIDERS=1 is set, as in CI.
//
// Installed software is kept in the user's cache directory and found again by
// later runs. Each provider is reached through a front in the test binary that
// counts its requests and can play dead.
//
// Imported by tests and by the command beside it only.
package testproviders
