package provider

import (
	"encoding/json"
	"net/http"
)

// oauthError is an error answer (RFC 6749 section 5.2).
type oauthError struct {
	status      int
	code        string
	description string
}

func (e oauthError) Error() string { return e.code + ": " + e.description }

func refuse(code, description string) oauthError {
	return oauthError{http.StatusBadRequest, code, description}
}

func writeError(w http.ResponseWriter, e oauthError) {
	writeJSON(w, e.status, map[string]any{"error": e.code, "error_description": e.description})
}

// writeJSON answers with a JSON value that no cache keeps.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "provider: encoding the answer failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// bearerError is a refusal of a protected resource (RFC 6750 section 3).
func bearerError(w http.ResponseWriter, status int, code string) {
	challenge := `Bearer realm="userinfo"`
	if code != "" {
		challenge += `, error="` + code + `"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}
