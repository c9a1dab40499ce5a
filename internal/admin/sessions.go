package admin

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
)

// Bounds of what names sessions, in bytes.
const (
	maxIssuer = 2048
	maxName   = 4096
)

type shownSession struct {
	ID       string `json:"id"`
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
	Storage  string `json:"storage"`
}

// argument returns a query argument that stands there once.
func argument(q url.Values, name string, limit int) (string, *fault) {
	v := q[name]
	switch {
	case len(v) == 0:
		return "", nil
	case len(v) > 1 || v[0] == "" || len(v[0]) > limit:
		return "", &fault{codeArgument, "invalid argument", name + " must stand once, with 1 to " + strconv.Itoa(limit) + " bytes"}
	}
	return v[0], nil
}

func (h *Handler) listSessions(w http.ResponseWriter, r *http.Request, t target) {
	q := r.URL.Query()
	subject, bad := argument(q, "subject", maxName)
	if bad == nil && subject == "" {
		bad = &fault{codeArgument, "invalid argument", "subject is required: sessions are listed by the subject of their tokens"}
	}
	size := 0
	if bad == nil {
		size, bad = pageSize(q)
	}
	after := ""
	if bad == nil {
		after, bad = pageOffset(q, isSessionID)
	}
	if bad != nil {
		writeJSON(w, http.StatusBadRequest, bad)
		return
	}
	all, err := h.o.Sessions.List(r.Context(), subject, after, size+1) // one more tells whether there is a next page
	if err != nil {
		h.failSessions(w, r, "list sessions", err)
		return
	}
	writePage(w, q, t.base+"?subject="+url.QueryEscape(subject)+"&", all, size, func(s Session) string { return s.ID }, func(s Session) shownSession {
		return shownSession{s.ID, subject, s.Audience, s.Storage}
	})
}

func (h *Handler) endSessions(w http.ResponseWriter, r *http.Request, _ target) {
	q := r.URL.Query()
	issuer, bad := argument(q, "issuer", maxIssuer)
	subject, sid := "", ""
	if bad == nil {
		subject, bad = argument(q, "subject", maxName)
	}
	if bad == nil {
		sid, bad = argument(q, "sid", maxName)
	}
	if bad == nil && (issuer == "" || (subject == "") == (sid == "")) {
		bad = &fault{codeArgument, "invalid argument", "issuer is required, as iss in the tokens, and one of subject and sid"}
	}
	if bad != nil {
		writeJSON(w, http.StatusBadRequest, bad)
		return
	}
	var err error
	if sid != "" {
		err = h.o.Sessions.EndLogin(r.Context(), issuer, sid)
	} else {
		err = h.o.Sessions.EndSubject(r.Context(), issuer, subject)
	}
	if err != nil {
		h.failSessions(w, r, "end sessions", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) endSession(w http.ResponseWriter, r *http.Request, t target) {
	if !isSessionID(t.ref) {
		notFound(w)
		return
	}
	if err := h.o.Sessions.End(r.Context(), t.ref); err != nil {
		h.failSessions(w, r, "end a session", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) failSessions(w http.ResponseWriter, r *http.Request, what string, err error) {
	if errors.Is(err, ErrNoMetadata) {
		message(w, http.StatusNotImplemented, "No configuration of this node keeps sessions that can be listed: set session_storage to redis and session_store_metadata to true")
		return
	}
	h.fail(w, r, what, err)
}

// isSessionID reports whether s is 32 bytes in base64url, as ids and their hashes are.
func isSessionID(s string) bool {
	if len(s) != 43 {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
