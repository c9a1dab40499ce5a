package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

const (
	typeJSON = "application/json; charset=utf-8"
	typeJWKS = "application/jwk-set+json"
)

// unexpected is what is shown of a fault of this program, as Kong puts it.
const unexpected = "An unexpected error occurred"

// fault is the body of an error as Kong's Admin API writes it.
type fault struct {
	Code    int    `json:"code,omitempty"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
}

// Kong's numbers of errors.
const (
	codeArgument    = 2 // schema violation
	codeOffset      = 7
	codeSize        = 9
	codeUnsupported = 12
)

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever went away misses nothing
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"message":"`+unexpected+`"}`)
	}
	write(w, status, typeJSON, b)
}

func message(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, fault{Message: text})
}

func notFound(w http.ResponseWriter) { message(w, http.StatusNotFound, "Not found") }

// fail answers an error. Its text goes to the log only.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		notFound(w)
		return
	case errors.Is(err, ErrReadOnly):
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		writeJSON(w, http.StatusMethodNotAllowed, fault{codeUnsupported, "operation unsupported", "cannot change keys that are brought in by -keys-file"})
		return
	}
	if r.Context().Err() != nil && errors.Is(err, r.Context().Err()) {
		err = errors.Join(ErrUnavailable, err)
	}
	h.o.Log.Error("openid-connect: admin request failed", "what", what, "error", err)
	if errors.Is(err, ErrUnavailable) {
		message(w, http.StatusServiceUnavailable, "Service unavailable")
		return
	}
	message(w, http.StatusInternalServerError, unexpected)
}
