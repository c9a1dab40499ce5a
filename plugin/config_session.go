package plugin

import "kong-openid-connect/internal/param"

// SessionParams shape the session and its cookies.
type SessionParams struct {
	DisableSession                 []Method         `kong:"disable_session" since:"2.2.1.1 / 2.3.3.0" doc:"Grants that must not create a session cookie."`
	SessionAbsoluteTimeout         float64          `kong:"session_absolute_timeout" default:"86400" since:"3.2" doc:"Upper bound in seconds on renewing a session; then re-authentication; 0 = off."`
	SessionAudience                string           `kong:"session_audience" default:"default" since:"3.2" doc:"Name of this application inside a shared session cookie."`
	SessionBind                    []SessionBinding `kong:"session_bind" since:"3.12" doc:"Request properties the session key is bound to; a mismatch invalidates the session."`
	SessionCookieDomain            string           `kong:"session_cookie_domain" since:"0.34" doc:"Domain attribute of the session cookie."`
	SessionCookieHTTPOnly          bool             `kong:"session_cookie_http_only" default:"true" since:"0.34 (renamed 3.2)" doc:"HttpOnly attribute of the session cookie."`
	SessionCookieName              string           `kong:"session_cookie_name" default:"session" since:"<=0.31" doc:"Session cookie name."`
	SessionCookiePath              string           `kong:"session_cookie_path" default:"/" since:"0.34" doc:"Path attribute of the session cookie."`
	SessionCookieSameSite          SameSite         `kong:"session_cookie_same_site" default:"Lax" since:"0.34 (renamed 3.2)" doc:"SameSite attribute of the session cookie; Default = attribute omitted."`
	SessionCookieSecure            *bool            `kong:"session_cookie_secure" since:"0.34" doc:"Secure attribute of the session cookie; unset: set when the client scheme is https."`
	SessionEnforceSameSubject      bool             `kong:"session_enforce_same_subject" default:"false" since:"3.2" doc:"All audiences in one cookie must have the same subject."`
	SessionHashStorageKey          bool             `kong:"session_hash_storage_key" default:"false" since:"3.2" doc:"Hash the session id before using it as storage key."`
	SessionHashSubject             bool             `kong:"session_hash_subject" default:"false" since:"3.2" doc:"Hash the subject in stored metadata (needs session_store_metadata)."`
	SessionIdlingTimeout           float64          `kong:"session_idling_timeout" default:"900" since:"0.34 as *_idletime (renamed 3.2)" doc:"Seconds without use after which the session is invalid; 0 = off (also no touching)."`
	SessionRemember                bool             `kong:"session_remember" default:"false" since:"3.2" doc:"Issue persistent sessions (second, non-session cookie)."`
	SessionRememberAbsoluteTimeout float64          `kong:"session_remember_absolute_timeout" default:"2592000" since:"3.2" doc:"Absolute lifetime in seconds of the persistent session."`
	SessionRememberCookieName      string           `kong:"session_remember_cookie_name" default:"remember" since:"3.2" doc:"Name of the persistent-session cookie."`
	SessionRememberRollingTimeout  float64          `kong:"session_remember_rolling_timeout" default:"604800" since:"3.2" doc:"Rolling lifetime in seconds of the persistent session."`
	SessionRequestHeaders          []SessionHeader  `kong:"session_request_headers" since:"3.2" doc:"Session-* headers sent upstream."`
	SessionResponseHeaders         []SessionHeader  `kong:"session_response_headers" since:"3.2" doc:"Session-* headers sent to the client."`
	SessionRollingTimeout          float64          `kong:"session_rolling_timeout" default:"3600" since:"0.34 as *_lifetime (renamed 3.2)" doc:"Seconds before the session must be renewed with a new id; 0 = off."`
	SessionSecret                  param.Secret     `kong:"session_secret" since:"0.35" doc:"Key material for session (and authorization) cookies; unset: generated and stored with the discovery object, or per worker in DB-less."`
	SessionStoreMetadata           bool             `kong:"session_store_metadata" default:"false" since:"3.2" doc:"Keep a per audience+subject index of active sessions in the storage."`
}

// SessionStorageParams say where session data lives.
type SessionStorageParams struct {
	Redis                     SessionRedis   `kong:"redis" since:"3.8" doc:"Redis connection record."`
	SessionMemcachedHost      string         `kong:"session_memcached_host" default:"127.0.0.1" since:"3.2 (was session_memcache_host)" doc:"Memcached host."`
	SessionMemcachedPort      param.Port     `kong:"session_memcached_port" default:"11211" since:"3.2 (was session_memcache_port)" doc:"Memcached port."`
	SessionMemcachedPrefix    string         `kong:"session_memcached_prefix" since:"3.2 (was session_memcache_prefix)" doc:"Key prefix in memcached."`
	SessionMemcachedSocket    string         `kong:"session_memcached_socket" since:"3.2 (was session_memcache_socket)" doc:"Memcached unix socket, used instead of host/port."`
	SessionMemcachedSSL       *bool          `kong:"session_memcached_ssl" since:"3.13" doc:"TLS to memcached."`
	SessionMemcachedSSLVerify bool           `kong:"session_memcached_ssl_verify" default:"true" since:"3.13 (default true since 3.14)" doc:"Verify the memcached server certificate."`
	SessionStorage            SessionStorage `kong:"session_storage" default:"cookie" since:"0.32" doc:"Where session data lives: client cookie, memcached (memcache is an alias) or redis."`
}
