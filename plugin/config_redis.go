package plugin

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"kong-openid-connect/internal/param"
)

// Redis is a connection to Redis: one server, a cluster, or sentinels.
type Redis struct {
	CloudAuthentication    CloudAuthentication `kong:"cloud_authentication" since:"3.13" doc:"Cloud-provider IAM login to Redis."`
	ClusterMaxRedirections int                 `kong:"cluster_max_redirections" default:"5" since:"3.8" doc:"Cluster redirect limit."`
	ClusterNodes           []ClusterNode       `kong:"cluster_nodes" min:"1" since:"3.8" doc:"Redis Cluster seed nodes; presence selects cluster mode."`
	ConnectTimeout         int                 `kong:"connect_timeout" between:"0,2147483646" default:"2000" since:"3.8" doc:"Connect timeout in ms."`
	ConnectionIsProxied    bool                `kong:"connection_is_proxied" default:"false" since:"3.8" doc:"Redis is reached through a proxy such as Envoy (host/port are the proxy)."`
	Database               int                 `kong:"database" default:"0" since:"3.8" doc:"Redis database number."`
	Host                   string              `kong:"host,referenceable" default:"127.0.0.1" since:"3.8" doc:"Redis host."`
	KeepaliveBacklog       *int                `kong:"keepalive_backlog" between:"0,2147483646" since:"3.8" doc:"Queue limit of the pool."`
	KeepalivePoolSize      int                 `kong:"keepalive_pool_size" between:"1,2147483646" default:"256" since:"3.8" doc:"Idle connections kept per pool."`
	Password               param.Secret        `kong:"password" since:"3.8" doc:"Password; unset = no AUTH."`
	Port                   param.Port          `kong:"port,referenceable" default:"6379" since:"3.8" doc:"Redis port."`
	ReadTimeout            int                 `kong:"read_timeout" between:"0,2147483646" default:"2000" since:"3.8" doc:"Read timeout in ms."`
	SendTimeout            int                 `kong:"send_timeout" between:"0,2147483646" default:"2000" since:"3.8" doc:"Send timeout in ms."`
	SentinelMaster         string              `kong:"sentinel_master" since:"3.8" doc:"Master name; presence selects sentinel mode."`
	SentinelNodes          []SentinelNode      `kong:"sentinel_nodes" min:"1" since:"3.8" doc:"Sentinel addresses; presence selects sentinel mode."`
	SentinelPassword       param.Secret        `kong:"sentinel_password" since:"3.8" doc:"Password for the sentinels (distinct from username/password)."`
	SentinelRole           SentinelRole        `kong:"sentinel_role" since:"3.8" doc:"Which server role to connect to via sentinel."`
	SentinelUsername       string              `kong:"sentinel_username,referenceable" since:"3.8" doc:"ACL user for the sentinels."`
	ServerName             string              `kong:"server_name,referenceable" since:"3.8" doc:"SNI / name to verify."`
	SSL                    bool                `kong:"ssl" default:"false" since:"3.8" doc:"TLS to Redis."`
	SSLVerify              bool                `kong:"ssl_verify" default:"true" since:"3.8 (default true since 3.14)" doc:"Verify the Redis server certificate."`
	Username               string              `kong:"username,referenceable" since:"3.8" doc:"ACL user (Redis 6+); unset = no user sent."`
	OldRedis               `group:"deprecated"`
}

// OldRedis are old spellings in a connection to Redis, which Kong's Admin API
// and decK's dumps show beside the new ones.
type OldRedis struct {
	ClusterAddresses  []HostPort `kong:"cluster_addresses" since:"3.8" deprecated:"use cluster_nodes instead" doc:"Seed nodes of a Redis cluster, each as host:port."`
	SentinelAddresses []HostPort `kong:"sentinel_addresses" since:"3.8" deprecated:"use sentinel_nodes instead" doc:"Redis sentinels, each as host:port."`
	Timeout           *int       `kong:"timeout" between:"0,2147483646" since:"3.8" deprecated:"use connect_timeout, read_timeout and send_timeout instead" doc:"Milliseconds to connect, to read and to write, where none of the three is given."`
}

// HostPort is the address of a server, its port included.
type HostPort string

// Attribute implements param.Checked.
func (HostPort) Attribute() (string, any) { return "match", "^[^ ]+:[0-9]+$" }

// Check implements param.Checked.
func (h HostPort) Check(text string) error {
	if _, _, err := HostPort(text).split(); err != nil {
		return err
	}
	return nil
}

func (h HostPort) split() (string, param.Port, error) {
	host, text, err := net.SplitHostPort(string(h))
	port, bad := strconv.ParseUint(text, 10, 16)
	if err != nil || bad != nil || host == "" || strings.Contains(host, " ") {
		return "", 0, errors.New("is not host:port")
	}
	return host, param.Port(port), nil
}

// SessionRedis is the connection that keeps sessions.
type SessionRedis struct {
	Redis
	Prefix string `kong:"prefix" since:"3.8" doc:"Key prefix for session records."`
	Socket string `kong:"socket" since:"3.8" doc:"Unix socket path, used instead of host/port."`
}

// CloudAuthentication is a login to Redis by the identity of a cloud.
type CloudAuthentication struct {
	AuthProvider          CloudProvider `kong:"auth_provider,referenceable" since:"3.13" doc:"Cloud provider for IAM login."`
	AWSAccessKeyID        param.Secret  `kong:"aws_access_key_id" since:"3.13" doc:"AWS access key id."`
	AWSAssumeRoleARN      param.Secret  `kong:"aws_assume_role_arn" since:"3.13" doc:"AWS role to assume."`
	AWSCacheName          string        `kong:"aws_cache_name,referenceable" since:"3.13" doc:"ElastiCache name."`
	AWSIsServerless       bool          `kong:"aws_is_serverless" default:"true" since:"3.13" doc:"ElastiCache is serverless."`
	AWSRegion             string        `kong:"aws_region,referenceable" since:"3.13" doc:"ElastiCache region."`
	AWSRoleSessionName    param.Secret  `kong:"aws_role_session_name" since:"3.13" doc:"Session name for the assumed role."`
	AWSSecretAccessKey    param.Secret  `kong:"aws_secret_access_key" since:"3.13" doc:"AWS secret key."`
	AzureClientID         param.Secret  `kong:"azure_client_id" since:"3.13" doc:"Azure client id."`
	AzureClientSecret     param.Secret  `kong:"azure_client_secret" since:"3.13" doc:"Azure client secret."`
	AzureTenantID         param.Secret  `kong:"azure_tenant_id" since:"3.13" doc:"Azure tenant id."`
	GCPServiceAccountJSON param.Secret  `kong:"gcp_service_account_json" since:"3.13" doc:"GCP service account JSON."`
}

// ClusterNode is a seed node of a Redis cluster.
type ClusterNode struct {
	IP   string     `kong:"ip" default:"127.0.0.1" since:"3.8" doc:"Seed node address or name."`
	Port param.Port `kong:"port" default:"6379" since:"3.8" doc:"Seed node port."`
}

// SentinelNode is a Redis sentinel.
type SentinelNode struct {
	Host string     `kong:"host" default:"127.0.0.1" since:"3.8" doc:"Sentinel host."`
	Port param.Port `kong:"port" default:"6379" since:"3.8" doc:"Sentinel port."`
}
