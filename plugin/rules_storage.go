package plugin

import (
	"strings"

	"kong-openid-connect/internal/param"
)

// EntityChecks implements param.CheckedRecord.
func (*Redis) EntityChecks() []param.Check {
	nodes := []string{"sentinel_nodes", "sentinel_addresses"}
	checks := []param.Check{{"conditional_at_least_one_of": param.Check{
		"if_field": "sentinel_master", "if_match": needed, "then_at_least_one_of": nodes}}}
	for _, name := range nodes {
		checks = append(checks, conditional(name, needed, "sentinel_master", needed, ""))
	}
	return checks
}

// checkStorage looks at the two connections to Redis, where they are used.
func checkStorage(c *Config, r *report) {
	sessions := c.SessionStorage == SessionStorageRedis || c.SessionRevocationStorage == RevocationStorageRedis
	checkRedis("redis", &c.Redis.Redis, c.Redis.Socket, sessions, r)
	cluster := c.ClusterCacheStrategy == ClusterCacheStrategyRedis
	checkRedis("cluster_cache_redis", &c.ClusterCacheRedis, "", cluster, r)
	if cluster && len(c.ClusterCacheItems) == 0 {
		r.warn("cluster_cache_items", "list introspection or tokens", "is empty, so cluster_cache_strategy shares nothing")
	}
	if !sessions && !isUnset(c, "redis") {
		r.warn("session_storage", "write redis, or take the redis record out", "is %s, so the redis record is not used", c.SessionStorage)
	}
	if !cluster && !isUnset(c, "cluster_cache_redis") {
		r.warn("cluster_cache_strategy", "write redis, or take the cluster_cache_redis record out", "is off, so the cluster_cache_redis record is not used")
	}
}

// isUnset reports whether a connection to Redis says nothing, or only what
// dumps of Kong before 3.14 have: ssl_verify was false by default.
func isUnset(c *Config, at string) bool {
	look := *c
	look.Redis.SSLVerify, look.ClusterCacheRedis.SSLVerify = true, true
	return Declaration().IsDefault(&look, at)
}

func checkRedis(at string, c *Redis, socket string, used bool, r *report) {
	if (c.SentinelMaster == "") != (len(c.SentinelNodes) == 0) {
		r.err(at+".sentinel_master", "give both or neither", "and %s.sentinel_nodes belong together", at)
	}
	if len(c.SentinelNodes) > 0 && len(c.ClusterNodes) > 0 {
		r.warn(at+".cluster_nodes", "take one of them out", "and %s.sentinel_nodes are both given; the sentinels are used", at)
	}
	if socket != "" && !strings.HasPrefix(socket, "/") {
		r.err(at+".socket", "write an absolute path", "is not an absolute path")
	}
	if !used {
		return
	}
	if c.Database < 0 {
		r.err(at+".database", "write a number from 0 up", "is negative")
	}
	if len(c.ClusterNodes) > 0 && c.Database != 0 {
		r.warn(at+".database", "leave it out", "has no effect: a Redis cluster has one database")
	}
	if c.SSL && !c.SSLVerify {
		r.warn(at+".ssl_verify", "write true and trust the certificate authority", "is false, so anyone in between can pose as Redis")
	}
	checkCloud(at, c, r)
}

// checkCloud looks at logins to Redis by the identity of a cloud.
func checkCloud(at string, c *Redis, r *report) {
	cloud := &c.CloudAuthentication
	at += ".cloud_authentication"
	given := map[CloudProvider]bool{
		CloudProviderAWS: cloud.AWSCacheName+cloud.AWSRegion != "" || !cloud.AWSAccessKeyID.IsZero() || !cloud.AWSSecretAccessKey.IsZero() ||
			!cloud.AWSAssumeRoleARN.IsZero() || !cloud.AWSRoleSessionName.IsZero(),
		CloudProviderAzure: !cloud.AzureClientID.IsZero() || !cloud.AzureClientSecret.IsZero() || !cloud.AzureTenantID.IsZero(),
		CloudProviderGCP:   !cloud.GCPServiceAccountJSON.IsZero(),
	}
	if param.IsReference(string(cloud.AuthProvider)) {
		return
	}
	for _, p := range []CloudProvider{CloudProviderAWS, CloudProviderAzure, CloudProviderGCP} {
		if given[p] && cloud.AuthProvider != p {
			r.err(at+".auth_provider", "write "+string(p)+", or take its settings out", "is not %s, but settings of %s are given", p, p)
		}
	}
	if cloud.AuthProvider == "" {
		return
	}
	if !c.Password.IsZero() {
		r.warn(at, "take the password out", "is given together with a password; the cloud's login is used")
	}
	if !c.SSL {
		r.err(strings.TrimSuffix(at, ".cloud_authentication")+".ssl", "write true", "is false, and a cloud's login must not cross the network in clear")
	}
	if cloud.AuthProvider == CloudProviderAWS && cloud.AWSCacheName == "" {
		r.err(at+".aws_cache_name", "name the cache", "is missing, and logins to ElastiCache are signed for it")
	}
	if cloud.AWSAccessKeyID.IsZero() != cloud.AWSSecretAccessKey.IsZero() {
		r.err(at+".aws_secret_access_key", "give both or neither", "and aws_access_key_id belong together")
	}
}
