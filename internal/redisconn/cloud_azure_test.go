package redisconn

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

func TestAzure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("federated"), 0o600); err != nil {
		t.Fatal(err)
	}
	token := jwtWith(`{"oid":"object-id"}`)
	secret := Cloud{Provider: Azure, AzureClientID: "client", AzureClientSecret: cloudSecret, AzureTenantID: "te/nant"}
	cases := map[string]struct {
		cloud Cloud
		user  string
		env   map[string]string
		asked string
		form  map[string]string
		want  string
	}{
		"client secret": {cloud: secret, asked: "POST https://login.microsoftonline.com/te/nant/oauth2/v2.0/token", want: "object-id",
			form: map[string]string{"grant_type": "client_credentials", "client_id": "client", "client_secret": cloudSecret, "scope": "https://redis.azure.com/.default"}},
		"configured user": {cloud: secret, user: "me", asked: "POST https://login.microsoftonline.com/te/nant/oauth2/v2.0/token", want: "me"},
		"workload identity": {cloud: Cloud{Provider: Azure}, asked: "POST https://login.test/t/oauth2/v2.0/token", want: "object-id",
			env:  map[string]string{"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_AUTHORITY_HOST": "https://login.test/"},
			form: map[string]string{"client_id": "c", "client_assertion": "federated", "client_secret": ""}},
		"managed identity": {cloud: Cloud{Provider: Azure, AzureClientID: "c"}, asked: "GET http://169.254.169.254/metadata/identity/oauth2/token", want: "object-id",
			form: map[string]string{"resource": "https://redis.azure.com", "client_id": "c"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got url.Values
			f := newCloud(t, func(r *http.Request, form url.Values) (int, string) {
				got = form
				identity := r.Method == "POST" && form.Get("grant_type") == "client_credentials" && form.Get("scope") == "https://redis.azure.com/.default" &&
					(form.Get("client_secret") == cloudSecret) != (form.Get("client_assertion") == "federated" &&
						form.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
				machine := r.Method == "GET" && r.Header.Get("Metadata") == "true" && form.Get("api-version") != ""
				if !identity && !machine {
					return 401, `{"error":"invalid_client"}`
				}
				return 200, fmt.Sprintf(`{"access_token":%q,"expires_in":"3600"}`, token)
			})
			user, have := must(t, provider(t, f, newClock(), tc.cloud, tc.user, tc.env))
			if user != tc.want || have != token || f.asked[0] != tc.asked {
				t.Errorf("%s %s, asked %q", user, have, f.asked)
			}
			for name, want := range tc.form {
				if got.Get(name) != want {
					t.Errorf("%s = %q, want %q", name, got.Get(name), want)
				}
			}
		})
	}
}
