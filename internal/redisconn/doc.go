// Package redisconn is the one way to dial Redis: one server (TCP or Unix
// socket), the master or a replica that sentinels name, or a cluster; with TLS,
// ACL users, and the short-lived logins of AWS, Azure and Google Cloud. A
// Client offers the few commands that sessions, locks and caches need, each of
// them on one key, so that the same code runs on all of these, and retries what
// a restart or a failover interrupts.
//
// Redis 5 or later is expected. An ACL user needs `~<prefix>*` and
// `+get +set +del +getrange +eval +evalsha +ping +select` with what the scripts
// call, in a cluster also `+cluster|slots`; commands are refused with NOPERM otherwise.
//
// It is the only package that imports go-redis. Imported by session/redis,
// clustercache and the wiring; imports nothing of this module.
package redisconn
