package plugin

import "kong-openid-connect/internal/param"

// CacheParams say what is remembered and for how long.
type CacheParams struct {
	CacheIntrospection        bool                 `kong:"cache_introspection" default:"true" since:"<=0.31" doc:"Cache introspection answers."`
	CacheTokenExchange        bool                 `kong:"cache_token_exchange" default:"true" since:"0.32" doc:"Cache legacy token-exchange answers."`
	CacheTokens               bool                 `kong:"cache_tokens" default:"true" since:"<=0.31" doc:"Cache token-endpoint answers (password, client_credentials, refresh_token)."`
	CacheTokensSalt           param.Secret         `kong:"cache_tokens_salt,-encrypted,-referenceable" since:"2.2.0.0" doc:"Salt of the token cache key; derived from the configuration when unset. Changing it empties the cache of tokens."`
	CacheTTL                  float64              `kong:"cache_ttl" default:"3600" since:"0.32" doc:"Fallback TTL in seconds for cached objects that carry no expiry (also discovery per current docs)."`
	CacheTTLMax               *float64             `kong:"cache_ttl_max" since:"0.35" doc:"Upper clamp in seconds on every computed TTL."`
	CacheTTLMin               *float64             `kong:"cache_ttl_min" since:"0.35" doc:"Lower clamp in seconds on every computed TTL."`
	CacheTTLNeg               *float64             `kong:"cache_ttl_neg" since:"0.35" doc:"TTL in seconds for negative results."`
	CacheTTLResurrect         *float64             `kong:"cache_ttl_resurrect" since:"0.35" doc:"Seconds a stale entry may be reused when refreshing it fails."`
	CacheUserInfo             bool                 `kong:"cache_user_info" default:"true" since:"<=0.31" doc:"Cache userinfo answers."`
	ClusterCacheItems         []ClusterCacheItem   `kong:"cluster_cache_items,nullable" default:"introspection" since:"3.15" doc:"What the cluster cache holds; tokens are encrypted; [] disables it."`
	ClusterCacheRedis         Redis                `kong:"cluster_cache_redis" since:"3.8" doc:"Redis connection record."`
	ClusterCacheStrategy      ClusterCacheStrategy `kong:"cluster_cache_strategy" default:"off" since:"3.8" doc:"Share cache between nodes: off or redis."`
	TokenCacheKeyIncludeScope bool                 `kong:"token_cache_key_include_scope" default:"false" since:"3.4" doc:"Make requested scopes (client-supplied and config.scopes) part of the token cache key."`
}
