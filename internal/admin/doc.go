// Package admin serves the companion endpoints below /openid-connect/:
// discovery objects (discovery-cache and its alias issuers), the plugin's own
// keys (jwks), health, and what the wiring adds. Its answers have the form of
// Kong's Admin API. It knows no store: what it shows comes through the small
// interfaces that it declares. Imported by the wiring.
package admin
