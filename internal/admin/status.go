package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

// Status is what the page at the root of the endpoints shows. It has no place
// for what a client or a provider sent.
type Status struct {
	Version string
	Up      string // how long the process runs
	Now     string
	Store   string
	Ready   bool
	Tables  []Table
}

// Table is one part of the page.
type Table struct {
	Title string
	Head  []string
	Rows  [][]string
}

//go:embed status.html
var statusHTML string

//go:embed status.css
var statusCSS string

var (
	statusPage = template.Must(template.New("status").Parse(statusHTML))
	// The page may use its own style, and nothing else.
	statusPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" + styleHash() + "'"
)

func styleHash() string {
	sum := sha256.Sum256([]byte(statusCSS))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// status answers with the page.
func (h *Handler) status(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		message(w, http.StatusMethodNotAllowed, "Method not allowed")
		return
	}
	var page bytes.Buffer
	err := statusPage.Execute(&page, struct {
		Style  template.CSS
		Status Status
	}{template.CSS(statusCSS), h.o.Status(r.Context())})
	if err != nil {
		h.fail(w, r, "make the status page", err)
		return
	}
	w.Header().Set("Content-Security-Policy", statusPolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	write(w, http.StatusOK, "text/html; charset=utf-8", page.Bytes())
}
