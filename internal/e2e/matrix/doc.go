// Package matrix tests the plugin through a gateway, over HTTP, against OpenID
// Providers that people use: every method and every client authentication at
// the sandbox's provider, at npm's oidc-provider and at Keycloak; the
// documented how-tos on Keycloak; and the OpenID Foundation's modules for
// relying parties against the sandbox's provider, which can misbehave.
//
// One gateway serves all of it: each row of the tables is a route of a
// configuration that the tests write. E2E_TARGET=kong runs the same tests on a
// real Kong. A provider that this machine cannot run is left out with a word;
// REQUIRE_PROVIDERS=1 makes that a failure.
package matrix
