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
// replicas without waiting, so a failover can lose its last writes: a session is
// then made anew by a login, while a revocation or a lock of that moment is lost.
// The server's min-replicas-to-write narrows that gap.
//
// Imported by the wiring.
package redis
