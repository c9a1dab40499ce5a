package own

import (
	"context"
	"errors"
	"testing"
	"time"

	"kong-openid-connect/internal/fault"
)

// brokenShelf panics when it is read.
type brokenShelf struct {
	*shelf
	broken bool
}

func (s *brokenShelf) OwnKeys(ctx context.Context) ([]Key, error) {
	if s.broken {
		panic("secret")
	}
	return s.shelf.OwnKeys(ctx)
}

// Case 65: a fault of the store ends what was asked, not the process.
func TestCase65PanicWhileKeysAreRead(t *testing.T) {
	store := &brokenShelf{&shelf{}, true}
	s := New(Options{Store: store, Now: time.Now})
	if _, err := s.Signer(t.Context(), "ES256"); !errors.Is(err, fault.ErrPanicked) {
		t.Fatalf("%v, want %v", err, fault.ErrPanicked)
	}
	store.broken = false
	if _, err := s.Signer(t.Context(), "ES256"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
