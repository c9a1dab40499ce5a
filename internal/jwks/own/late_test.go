package own

import (
	"context"
	"testing"
)

// lateShelf answers its first question when it is let go, with what was true before.
type lateShelf struct {
	*shelf
	asked, answer chan struct{}
}

func (s *lateShelf) OwnKeys(ctx context.Context) ([]Key, error) {
	keys, err := s.shelf.OwnKeys(ctx)
	select {
	case s.asked <- struct{}{}:
		<-s.answer
	default:
	}
	return keys, err
}

// TestALateReadBringsNoDeletedKeyBack: a read that began before a key was deleted
// ends after the one that was made for the deletion.
func TestALateReadBringsNoDeletedKeyBack(t *testing.T) {
	k, err := Generate("ES256", New(Options{}).now())
	if err != nil {
		t.Fatal(err)
	}
	store := &lateShelf{&shelf{keys: []Key{k}}, make(chan struct{}), make(chan struct{})}
	s := New(Options{Store: store})
	store.told = append(store.told, s)
	late := make(chan error)
	go func() {
		_, err := s.current(context.Background())
		late <- err
	}()
	<-store.asked
	if err := s.DeleteKey(t.Context(), k.KID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.current(t.Context()); err != nil || len(s.Pairs()) != 0 {
		t.Fatalf("%d keys after the deletion, %v", len(s.Pairs()), err)
	}
	close(store.answer)
	if err := <-late; err != nil {
		t.Fatal(err)
	}
	if _, err := s.current(t.Context()); err != nil || len(s.Pairs()) != 0 {
		t.Fatal("a key that was deleted is back")
	}
}
