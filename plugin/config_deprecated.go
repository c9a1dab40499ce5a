package plugin

import (
	"fmt"

	"kong-openid-connect/internal/param"
)

// DeprecatedParams are spellings of older versions of Kong. They have no
// defaults, because Kong fills those in before anyone can tell them from what
// a person wrote. After decoding they are empty: their values are in the
// parameters that took their place.
type DeprecatedParams struct {
	AuthorizationCookieHttponly        *bool         `kong:"authorization_cookie_httponly" since:"0.34" deprecated:"use authorization_cookie_http_only instead" doc:"HttpOnly attribute of the authorization cookie."`
	AuthorizationCookieLifetime        *float64      `kong:"authorization_cookie_lifetime" since:"0.34" deprecated:"use authorization_rolling_timeout instead" doc:"Seconds for which a pending login can be finished."`
	AuthorizationCookieSamesite        OldSameSite   `kong:"authorization_cookie_samesite" since:"0.34" deprecated:"use authorization_cookie_same_site instead" doc:"SameSite attribute of the authorization cookie; off leaves it out."`
	ConsumerClaim                      []string      `kong:"consumer_claim" since:"0.31" deprecated:"use consumer_claims instead" doc:"A single claim path for the consumer."`
	SessionCompressor                  string        `kong:"session_compressor" since:"0.34" deprecated:"it has had no effect since Kong 3.2" doc:"Compressor of session data."`
	SessionCookieHttponly              *bool         `kong:"session_cookie_httponly" since:"0.34" deprecated:"use session_cookie_http_only instead" doc:"HttpOnly attribute of the session cookie."`
	SessionCookieIdletime              *float64      `kong:"session_cookie_idletime" since:"0.34" deprecated:"use session_idling_timeout instead" doc:"Seconds without use after which a session ends."`
	SessionCookieLifetime              *float64      `kong:"session_cookie_lifetime" since:"0.34" deprecated:"use session_rolling_timeout instead" doc:"Seconds after which a session must be renewed."`
	SessionCookieMaxsize               *int          `kong:"session_cookie_maxsize" since:"0.34" deprecated:"it has had no effect since Kong 3.2" doc:"Largest size of a session cookie."`
	SessionCookieRenew                 *float64      `kong:"session_cookie_renew" since:"0.34" deprecated:"it has had no effect since Kong 3.2" doc:"Seconds before the end at which a session was renewed."`
	SessionCookieSamesite              OldSameSite   `kong:"session_cookie_samesite" since:"0.34" deprecated:"use session_cookie_same_site instead" doc:"SameSite attribute of the session cookie; off leaves it out."`
	SessionMemcacheHost                string        `kong:"session_memcache_host" since:"0.34" deprecated:"use session_memcached_host instead" doc:"Host of memcached."`
	SessionMemcachePort                *param.Port   `kong:"session_memcache_port" since:"0.34" deprecated:"use session_memcached_port instead" doc:"Port of memcached."`
	SessionMemcachePrefix              string        `kong:"session_memcache_prefix" since:"0.34" deprecated:"use session_memcached_prefix instead" doc:"Prefix of keys in memcached."`
	SessionMemcacheSocket              string        `kong:"session_memcache_socket" since:"0.34" deprecated:"use session_memcached_socket instead" doc:"Unix socket of memcached."`
	SessionRedisAuth                   param.Secret  `kong:"session_redis_auth,-referenceable" since:"0.32" deprecated:"use redis.password instead" doc:"Password for Redis; removed in Kong 3.0." refused:"session_redis_auth was removed in Kong 3.0: use redis.password"`
	SessionRedisClusterMaxRedirections *int          `kong:"session_redis_cluster_max_redirections" since:"1.3" deprecated:"use redis.cluster_max_redirections instead" doc:"Limit of redirects in a Redis cluster."`
	SessionRedisClusterMaxredirections *int          `kong:"session_redis_cluster_maxredirections" since:"1.3" deprecated:"use redis.cluster_max_redirections instead" doc:"Limit of redirects in a Redis cluster."`
	SessionRedisClusterNodes           []ClusterNode `kong:"session_redis_cluster_nodes" since:"1.3" deprecated:"use redis.cluster_nodes instead" doc:"Seed nodes of a Redis cluster."`
	SessionRedisConnectTimeout         *int          `kong:"session_redis_connect_timeout" between:"0,2147483646" since:"0.32" deprecated:"use redis.connect_timeout instead" doc:"Milliseconds to connect to Redis."`
	SessionRedisHost                   string        `kong:"session_redis_host" since:"0.32" deprecated:"use redis.host instead" doc:"Host of Redis."`
	SessionRedisPassword               param.Secret  `kong:"session_redis_password" since:"2.8" deprecated:"use redis.password instead" doc:"Password for Redis."`
	SessionRedisPort                   *param.Port   `kong:"session_redis_port" since:"0.32" deprecated:"use redis.port instead" doc:"Port of Redis."`
	SessionRedisPrefix                 string        `kong:"session_redis_prefix" since:"0.32" deprecated:"use redis.prefix instead" doc:"Prefix of keys in Redis."`
	SessionRedisReadTimeout            *int          `kong:"session_redis_read_timeout" between:"0,2147483646" since:"0.32" deprecated:"use redis.read_timeout instead" doc:"Milliseconds to read from Redis."`
	SessionRedisSendTimeout            *int          `kong:"session_redis_send_timeout" between:"0,2147483646" since:"0.32" deprecated:"use redis.send_timeout instead" doc:"Milliseconds to write to Redis."`
	SessionRedisServerName             string        `kong:"session_redis_server_name" since:"2.1" deprecated:"use redis.server_name instead" doc:"Name that the certificate of Redis is verified for."`
	SessionRedisSocket                 string        `kong:"session_redis_socket" since:"0.32" deprecated:"use redis.socket instead" doc:"Unix socket of Redis."`
	SessionRedisSSL                    *bool         `kong:"session_redis_ssl" since:"0.32" deprecated:"use redis.ssl instead" doc:"Whether to speak TLS to Redis."`
	SessionRedisSSLVerify              *bool         `kong:"session_redis_ssl_verify" since:"0.32" deprecated:"use redis.ssl_verify instead" doc:"Whether to verify the certificate of Redis."`
	SessionRedisUsername               string        `kong:"session_redis_username,referenceable" since:"2.8" deprecated:"use redis.username instead" doc:"ACL user of Redis."`
	SessionStrategy                    string        `kong:"session_strategy" since:"0.34" deprecated:"it has had no effect since Kong 3.2" doc:"Strategy of the session library before Kong 3.2."`
}

// spelling is an old name of a parameter.
type spelling struct {
	old, new string
	convert  func(any) any // nil: the value is the same
}

// spellings are folded in this order.
var spellings = []spelling{
	{"consumer_claim", "consumer_claims", onePath},
	{"authorization_cookie_httponly", "authorization_cookie_http_only", nil},
	{"authorization_cookie_lifetime", "authorization_rolling_timeout", nil},
	{"authorization_cookie_samesite", "authorization_cookie_same_site", sameSite},
	{"session_cookie_httponly", "session_cookie_http_only", nil},
	{"session_cookie_idletime", "session_idling_timeout", nil},
	{"session_cookie_lifetime", "session_rolling_timeout", nil},
	{"session_cookie_samesite", "session_cookie_same_site", sameSite},
	{"session_memcache_host", "session_memcached_host", nil},
	{"session_memcache_port", "session_memcached_port", nil},
	{"session_memcache_prefix", "session_memcached_prefix", nil},
	{"session_memcache_socket", "session_memcached_socket", nil},
	{"session_redis_cluster_max_redirections", "redis.cluster_max_redirections", nil},
	{"session_redis_cluster_maxredirections", "redis.cluster_max_redirections", nil},
	{"session_redis_cluster_nodes", "redis.cluster_nodes", nil},
	{"session_redis_connect_timeout", "redis.connect_timeout", nil},
	{"session_redis_host", "redis.host", nil},
	{"session_redis_password", "redis.password", nil},
	{"session_redis_port", "redis.port", nil},
	{"session_redis_prefix", "redis.prefix", nil},
	{"session_redis_read_timeout", "redis.read_timeout", nil},
	{"session_redis_send_timeout", "redis.send_timeout", nil},
	{"session_redis_server_name", "redis.server_name", nil},
	{"session_redis_socket", "redis.socket", nil},
	{"session_redis_ssl", "redis.ssl", nil},
	{"session_redis_ssl_verify", "redis.ssl_verify", nil},
	{"session_redis_username", "redis.username", nil},
	{"redis.cluster_addresses", "redis.cluster_nodes", clusterNodes},
	{"redis.sentinel_addresses", "redis.sentinel_nodes", sentinelNodes},
	{"cluster_cache_redis.cluster_addresses", "cluster_cache_redis.cluster_nodes", clusterNodes},
	{"cluster_cache_redis.sentinel_addresses", "cluster_cache_redis.sentinel_nodes", sentinelNodes},
}

// ignored are accepted and have no effect; with them stands the default that
// Kong's Admin API still shows, which says nothing about what was wanted.
var ignored = []struct {
	name  string
	shown any
}{
	{"session_compressor", "none"}, {"session_cookie_maxsize", 4000}, {"session_cookie_renew", 600.0}, {"session_strategy", "default"},
}

func isIgnored(path string) bool {
	for _, i := range ignored {
		if i.name == path {
			return true
		}
	}
	return false
}

func sameSite(old any) any {
	if s := old.(OldSameSite); s != "off" {
		return SameSite(s)
	}
	return SameSiteDefault
}

func onePath(old any) any { return [][]string{old.([]string)} }

func clusterNodes(old any) any {
	nodes := []ClusterNode{}
	for _, a := range old.([]HostPort) {
		host, port, _ := a.split() // a wrong one is among the findings already
		nodes = append(nodes, ClusterNode{IP: host, Port: port})
	}
	return nodes
}

func sentinelNodes(old any) any {
	nodes := []SentinelNode{}
	for _, a := range old.([]HostPort) {
		host, port, _ := a.split()
		nodes = append(nodes, SentinelNode{Host: host, Port: port})
	}
	return nodes
}

// foldDeprecated moves what old spellings say into the parameters that took
// their place (behaviour.md 1.4), with one warning for each. Kong's Admin API
// and decK's dumps show old and new beside each other: where the new one is
// given, says the same, there is nothing to warn of.
func foldDeprecated(c *Config, given func(path string) bool) param.Findings {
	var found param.Findings
	warn := func(path, message, do string) {
		found = append(found, param.Finding{Severity: param.Warning, Path: path, Message: message, Do: do})
	}
	for _, s := range spellings {
		switch folded := Declaration().Fold(c, s.old, s.new, s.convert); {
		case folded == param.FoldKept:
			warn(s.old, fmt.Sprintf("is ignored, because %s says something else", s.new), "take it out")
		case folded == param.FoldMoved, folded == param.FoldSame && !given(s.new):
			warn(s.old, "is an old spelling", "write "+s.new+" instead")
		}
	}
	foldTimeout(c, "redis", &c.Redis.Redis, given, warn)
	foldTimeout(c, "cluster_cache_redis", &c.ClusterCacheRedis, given, warn)
	for _, i := range ignored {
		if v := Declaration().Value(c, i.name); v != nil && v != i.shown {
			warn(i.name, "has had no effect since Kong 3.2", "take it out")
		}
	}
	c.SessionCompressor, c.SessionCookieMaxsize, c.SessionCookieRenew, c.SessionStrategy = "", nil, nil, ""
	if c.SessionStorage == SessionStorageMemcache {
		c.SessionStorage = SessionStorageMemcached
	}
	return found
}

// foldTimeout spreads the old timeout over the three that took its place,
// where none of them says anything else. Kong shows connect_timeout under the
// old name too.
func foldTimeout(config *Config, at string, c *Redis, given func(string) bool, warn func(path, message, do string)) {
	if c.Timeout == nil {
		return
	}
	old, connect := *c.Timeout, at+".connect_timeout"
	c.Timeout = nil
	for _, name := range []string{".connect_timeout", ".read_timeout", ".send_timeout"} {
		if !Declaration().IsDefault(config, at+name) {
			if old != c.ConnectTimeout {
				warn(at+".timeout", "is ignored, because "+at+name+" says something else", "take it out")
			}
			return
		}
	}
	if old == c.ConnectTimeout && given(connect) {
		return
	}
	c.ConnectTimeout, c.ReadTimeout, c.SendTimeout = old, old, old
	warn(at+".timeout", "is an old spelling", "write connect_timeout, read_timeout and send_timeout instead")
}
