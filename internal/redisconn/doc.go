// Package redisconn is the one way to dial Redis: one server (TCP or Unix
// socket), the master or a replica that sentinels name, or a cluster; with TLS,
// ACL users, and the short-lived logins of AWS, Azure and Google Cloud. A
// Client offers the few commands that sessions, locks and caches need, each of
// them on one key, so that the same code runs on all of these, and retries what
// a restart or a failover interrupts.
//
// Redis 5 or later is expected. What an ACL user needs beside the keys of the
// prefix is in Permissions.
//
// It is the only package that imports go-redis. Imported by session/redis,
// clustercache, replays and the wiring; imports nothing of this module.
package redisconn

// Permissions are the rules that an ACL user needs: the commands of this
// package, and those that the scripts of its users call.
const Permissions = "+ping +select +get +set +getrange +del +eval +evalsha +time +pttl +pexpireat +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +zremrangebyrank +role +cluster|slots +readonly"
