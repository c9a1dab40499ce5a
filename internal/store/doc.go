// Package store says what is kept beyond the life of one process or one node:
// discovery objects and their generated session secrets, the plugin's own key
// pairs, the list of revoked sessions, and results that only one node may
// produce. Package memory keeps them in the process and in a state directory
// (Kong without a database), package postgres in Kong's own database; package
// storetest holds the suite that both pass, package seal the encryption at rest.
//
// Imported by package backing, which joins it to op, jwks/own, session and
// admin, and by the wiring. It imports nothing of this module.
package store
