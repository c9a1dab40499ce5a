// Package own keeps the plugin's own key pairs: one for each algorithm, made
// in the background, published without their private members, and rotated.
// They sign client assertions and request objects where no client_jwk is
// configured.
//
// Imported by package backing, which gives it a store, and by the wiring;
// imports token.
package own
