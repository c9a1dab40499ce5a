// Package redis keeps sessions, their index, the list of revoked ones and the
// locks of refreshes in Redis. Keys begin with the configured prefix
// (`sessions` unless set):
//
//	<prefix>:<id>              a sealed session
//	<prefix>:index:<digest>    the live sessions of an audience and subject
//	<prefix>:revoked:<key>     since when a key is revoked
//	<prefix>:lock:<key>        who is at a piece of work, or its sealed result
//
// Every step touches one key, so it runs on a cluster as on one server. Times
// to live are counted by Redis, moments by the callers' clocks. Redis copies to
// replicas without waiting: a failover can lose the last writes, so a session
// may have to be made anew, and a revocation of that moment may be lost (use
// min-replicas-to-write and WAIT-like settings of the server against that).
//
// Imported by the wiring.
package redis
