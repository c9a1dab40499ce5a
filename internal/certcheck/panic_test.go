package certcheck

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"kong-openid-connect/internal/fault"
)

// brokenLog panics at every line.
type brokenLog struct{ slog.Handler }

func (brokenLog) Enabled(context.Context, slog.Level) bool  { return true }
func (brokenLog) Handle(context.Context, slog.Record) error { panic("secret") }

// Case 65: a fault while the authority is asked ends that check alone, and the
// certificate is not taken for good, as it is where the authority fails.
func TestCase65PanicWhileRevocationIsChecked(t *testing.T) {
	w := newWorld(t, true)
	w.answer("/ocsp", []byte("junk"))
	w.answer("/crl", []byte("junk"))
	for _, c := range []struct {
		name string
		log  *slog.Logger
		want error
	}{
		{"the authority fails", nil, nil},
		{"the program fails", slog.New(brokenLog{slog.DiscardHandler}), fault.ErrPanicked},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := w.checker(t, func(o *Options) { o.Mode, o.Log = IgnoreCAError, c.log })
			if err := ch.Check(t.Context(), w.presented()); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}
