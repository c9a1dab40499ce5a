package quiet

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRepeatedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}})
		log := New(slog.New(h).With("issuer", "a"), time.Now)
		step := func(name, want string, do func()) {
			t.Helper()
			out.Reset()
			do()
			if got := strings.TrimSpace(out.String()); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		step("the first is written", "msg=away issuer=a n=1", func() { log.Warn("away", "n", 1) })
		step("repetitions are left out", "", func() {
			for n := range 3 {
				log.With("k", "v").Warn("away", "n", n)
			}
		})
		step("another message is written", "msg=other issuer=a", func() { log.Warn("other") })
		step("so is one of another logger", "msg=away issuer=b", func() { New(slog.New(h).With("issuer", "b"), time.Now).Warn("away") })
		time.Sleep(Every)
		step("the next one tells how many there were", "msg=away issuer=a n=9 repeated=3", func() { log.Warn("away", "n", 9) })
		time.Sleep(Every)
		step("nothing was left out since", "msg=away issuer=a n=10", func() { log.Warn("away", "n", 10) })
	})
}

func TestManyMessagesAreWrittenAsTheyCome(t *testing.T) {
	var out bytes.Buffer
	log := New(slog.New(slog.NewTextHandler(&out, nil)), time.Now)
	for range 2 {
		for n := range maxLines + 1 {
			log.Info(fmt.Sprintf("message %d", n))
		}
	}
	if got, want := strings.Count(out.String(), "\n"), maxLines+2; got != want {
		t.Errorf("%d lines, want %d: what is not remembered is never left out", got, want)
	}
}
