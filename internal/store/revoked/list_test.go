package revoked

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
)

func TestListIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	l := NewList(func() time.Time { return now }, 10)
	span := Span{From: now, Latest: now, Until: now.Add(time.Minute)}
	for i := range 10 {
		if _, err := l.Add(fmt.Sprint(i), span); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Add("one more", span); !errors.Is(err, store.ErrFull) {
		t.Fatalf("full list: %v", err)
	}
	if _, err := l.Add("3", Span{From: now, Latest: now, Until: now.Add(time.Hour)}); err != nil {
		t.Errorf("known key of a full list: %v", err)
	}
	for i := range 10 {
		if !l.Revoked(fmt.Sprint(i)) {
			t.Errorf("%d was dropped", i)
		}
	}
	now = now.Add(time.Minute)
	if l.Revoked("1") || !l.Revoked("3") {
		t.Error("spans do not end in their time")
	}
	span.Until = now.Add(time.Minute)
	if _, err := l.Add("one more", span); err != nil || !l.Revoked("one more") {
		t.Errorf("expired ones do not make room: %v", err)
	}
	if l.Len() != 2 {
		t.Errorf("%d left", l.Len())
	}
}

// TestSingleSessionsLeaveRoom: renewals must not keep logouts from being listed.
func TestSingleSessionsLeaveRoom(t *testing.T) {
	now := time.Unix(1000, 0)
	l := NewList(func() time.Time { return now }, 16)
	span := Span{From: now, Latest: now, Until: now.Add(time.Hour)}
	for i := range 14 {
		if _, err := l.Add(fmt.Sprint(store.SingleSession, i), span); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Add(store.SingleSession+"one more", span); !errors.Is(err, store.ErrFull) {
		t.Errorf("a session beyond the room of sessions: %v", err)
	}
	if err := l.Learn(store.SingleSession+"of another node", span); err != nil || l.Len() != 14 {
		t.Errorf("a session that another node listed: %v, %d listed", err, l.Len())
	}
	for _, key := range []string{"chain:a", "subject:b"} {
		if err := l.Learn(key, span); err != nil || !l.Revoked(key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := l.Learn("chain:c", span); !errors.Is(err, store.ErrFull) {
		t.Errorf("a login beyond all room: %v", err)
	}
	now = now.Add(time.Hour)
	if _, err := l.Add(store.SingleSession+"later", Span{From: now, Latest: now, Until: now.Add(time.Hour)}); err != nil || l.Len() != 1 {
		t.Errorf("after all ended: %v, %d listed", err, l.Len())
	}
}

func BenchmarkRevokedOfAMillion(b *testing.B) {
	now := time.Unix(1000, 0)
	l := NewList(func() time.Time { return now }, 0)
	for i := range 1_000_000 {
		if _, err := l.Add(fmt.Sprint("session-", i), Span{From: now, Latest: now, Until: now.Add(time.Hour)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Revoked("none", "session-77777")
	}
}
