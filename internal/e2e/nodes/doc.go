// Package nodes tests what several gateways share: sessions in Redis and
// memcached, one refresh among all, the cluster cache. It has tests only.
package nodes
