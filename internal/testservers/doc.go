// Package testservers starts throwaway servers for tests, on loopback ports
// that are free: redis-server (alone, below sentinels, as a cluster, with TLS,
// with ACL users) and memcached, from the packages of the distribution. Where
// they are not installed a test is skipped and says what it left out; with
// REQUIRE_SERVERS=1 it fails. No server outlives the test, or its binary.
//
// Imported by tests only; imports nothing of this module.
package testservers
