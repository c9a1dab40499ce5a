package memory

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/seal"
	"kong-openid-connect/internal/store/storetest"
)

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func (c *clock) eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 11 {
		if f() {
			return
		}
		c.Advance(100 * time.Millisecond)
	}
	t.Fatalf("within a second: %s", what)
}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func sealer(t *testing.T, keys ...string) *seal.Sealer {
	t.Helper()
	var material [][]byte
	for _, k := range keys {
		material = append(material, []byte(strings.Repeat(k, 40)))
	}
	s, err := seal.New(material...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Nodes {
		c := newClock()
		s := open(t, Options{Now: c.Now})
		return storetest.Nodes{A: s, B: s, Eventually: c.eventually}
	})
}

// Locks hold within a process only, and so do discovery objects; what the
// suite shows of two processes on one directory is shown below.
func TestDirectory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Nodes {
		c := newClock()
		s := open(t, Options{Now: c.Now, Dir: filepath.Join(t.TempDir(), "state"), Sealer: sealer(t, "a")})
		return storetest.Nodes{A: s, B: s, Eventually: c.eventually}
	})
}

var issuer = store.Key{Issuer: "https://idp.test"}

func TestReload(t *testing.T) {
	c := newClock()
	dir := filepath.Join(t.TempDir(), "state")
	ctx := t.Context()
	old := open(t, Options{Dir: dir, Now: c.Now})
	secret, err := old.SessionSecret(ctx, issuer, issuer.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	d, err := old.Object(ctx, issuer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.AddOwnKey(ctx, store.OwnKey{KID: "k", Algorithm: "ES256", Private: store.NewSecret([]byte("private"))}); err != nil {
		t.Fatal(err)
	}
	far := c.Now().Add(time.Hour)
	if err := old.Revoke(ctx, "gone", c.Now(), far); err != nil {
		t.Fatal(err)
	}

	next := open(t, Options{Dir: dir, Now: c.Now}) // while the old one still runs
	got, err := next.SessionSecret(ctx, issuer, issuer.Issuer)
	if err != nil || !got.Equal(secret) {
		t.Fatalf("the secret changed over a reload: %v", err)
	}
	if err := next.PutObject(ctx, store.Discovery{Key: issuer, Configured: issuer.Issuer}); err != nil {
		t.Fatal(err)
	}
	if e, err := next.Object(ctx, issuer); err != nil || e.ID != d.ID {
		t.Errorf("the object's id changed over a reload: %v", err)
	}
	keys, err := next.OwnKeys(ctx)
	if err != nil || len(keys) != 1 || string(keys[0].Private.Reveal()) != "private" {
		t.Errorf("own keys: %d, %v", len(keys), err)
	}
	if ok, err := next.Revoked(ctx, "gone"); err != nil || !ok {
		t.Errorf("the revocation was lost: %v", err)
	}
	// Both run for some seconds: what one does the other sees.
	if err := old.Revoke(ctx, "late", c.Now(), far); err != nil {
		t.Fatal(err)
	}
	c.eventually(t, "the new process sees a late revocation", func() bool {
		ok, err := next.Revoked(ctx, "late")
		return err == nil && ok
	})
	if err := next.DeleteObjects(ctx); err != nil {
		t.Fatal(err)
	}
	fresh, err := next.SessionSecret(ctx, issuer, issuer.Issuer)
	if err != nil || fresh.Equal(secret) {
		t.Fatalf("the secret was not forgotten: %v", err)
	}
	c.eventually(t, "the old process sees the new secret", func() bool {
		got, err := old.SessionSecret(ctx, issuer, issuer.Issuer)
		return err == nil && got.Equal(fresh)
	})
}

func TestSecretIsMadeOnceByManyProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var stores []*Store
	for range 8 {
		stores = append(stores, open(t, Options{Dir: dir}))
	}
	got := make([]store.Secret, len(stores))
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			var err error
			if got[i], err = s.SessionSecret(context.Background(), issuer, issuer.Issuer); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range got {
		if !got[i].Equal(got[0]) {
			t.Fatal("processes made different secrets")
		}
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, Options{Dir: dir})
	secret, err := s.SessionSecret(t.Context(), issuer, issuer.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), "x", time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("%d files, want state, lock and revocations: leftovers of writing?", len(entries))
	}
	_ = secret
}

func TestSealedAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	get := func(s *seal.Sealer) (store.Secret, error) {
		st, err := Open(Options{Dir: dir, Sealer: s})
		if err != nil {
			return store.Secret{}, err
		}
		defer st.Close()
		return st.SessionSecret(t.Context(), issuer, issuer.Issuer)
	}
	first, err := get(sealer(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	var st state
	if err := json.Unmarshal(b, &st); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(st.Secrets[0].Sealed), string(first.Reveal())) {
		t.Error("the secret is in clear")
	}
	if v, err := get(sealer(t, "b", "a")); err != nil || !v.Equal(first) {
		t.Errorf("with the key as an older one: %v", err)
	}
	var unreadable *store.Unreadable
	if _, err := get(sealer(t, "b")); !errors.As(err, &unreadable) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := get(nil); !errors.As(err, &unreadable) {
		t.Errorf("without a key: %v", err)
	}
}

func TestBrokenStateIsNotReplaced(t *testing.T) {
	for name, text := range map[string]string{
		"half a file":        `{"version":1,"secrets":[{"iss`,
		"a later version":    `{"version":2}`,
		"an empty file":      ``,
		"a secret too short": `{"version":1,"secrets":[{"issuer":"https://idp.test","secret":"AAECAw=="}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, stateFile)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(Options{Dir: dir})
			if err == nil {
				_ = s.Close()
				t.Error("opened")
			}
			if b, _ := os.ReadFile(path); string(b) != text {
				t.Errorf("the file became %q", b)
			}
		})
	}
}

func TestStateDirectoryThatCannotBeUsed(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, link, filepath.Join(base, "no", "parent")} {
		if s, err := Open(Options{Dir: dir}); err == nil {
			_ = s.Close()
			t.Errorf("%s was opened", filepath.Base(dir))
		}
	}
}

func TestWaitersOfAnExpiredLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		stuck := make(chan struct{})
		go func() {
			_, _ = s.Once(context.Background(), "k", 10*time.Second, time.Second, func(context.Context) ([]byte, error) {
				<-stuck
				return nil, errors.New("too late")
			})
		}()
		synctest.Wait()
		start := time.Now()
		_, err = s.Once(context.Background(), "k", 10*time.Second, time.Second, func(context.Context) ([]byte, error) {
			t.Error("a waiter ran")
			return nil, nil
		})
		if !errors.Is(err, store.ErrLost) || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		v, err := s.Once(context.Background(), "k", 10*time.Second, time.Second, func(context.Context) ([]byte, error) { return []byte("v"), nil })
		if err != nil || string(v) != "v" {
			t.Errorf("after the lease: %q, %v", v, err)
		}
		close(stuck)
		synctest.Wait()
		// The late end of the first does not take the second's result away.
		v, err = s.Once(context.Background(), "k", 10*time.Second, time.Second, func(context.Context) ([]byte, error) { return []byte("w"), nil })
		if err != nil || string(v) != "v" {
			t.Errorf("after the late one: %q, %v", v, err)
		}
	})
}

func TestCompaction(t *testing.T) {
	c := newClock()
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, Options{Dir: dir, Now: c.Now})
	if err := s.Revoke(t.Context(), "keep", c.Now(), c.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	line := `{"k":"old","f":1,"u":2}` + "\n"
	if err := s.dir.appendRevoked([]byte(strings.Repeat(line, compactAbove/len(line)+1))); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		fi, err := os.Stat(filepath.Join(dir, revokedFile))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	before := size()
	beside := open(t, Options{Dir: dir, Now: c.Now})
	if size() != before {
		t.Error("the file was replaced while another process has it")
	}
	_ = beside.Close()
	_ = s.Close()
	next := open(t, Options{Dir: dir, Now: c.Now})
	if size() > 1000 {
		t.Errorf("%d bytes are left", size())
	}
	if ok, err := next.Revoked(t.Context(), "keep"); err != nil || !ok {
		t.Errorf("the live revocation was lost: %v", err)
	}
	if err := next.Revoke(t.Context(), "more", c.Now(), c.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	third := open(t, Options{Dir: dir, Now: c.Now})
	if ok, err := third.Revoked(t.Context(), "more"); err != nil || !ok {
		t.Errorf("a revocation after compaction was lost: %v", err)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version":1,"secrets":[{"issuer":"x","secret":"AAAA"}],"keys":[{"kid":"a","alg":"RS256","private":"AA=="}]}`))
	d := &directory{path: "x"}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := d.parse(b)
		if err != nil {
			return
		}
		for _, k := range s.Secrets {
			if len(k.secret.Reveal()) < store.SecretSize {
				t.Error("a short secret was taken")
			}
		}
	})
}

func FuzzRevocation(f *testing.F) {
	f.Add([]byte(`{"k":"a","f":1,"u":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, ok := parseRevocation(b); ok && (v.Key == "" || v.Until <= v.From) {
			t.Errorf("%+v", v)
		}
	})
}

// A disk that is full for a while loses no revocation: what could not be
// written is written later, and half a line spoils no other one.
func TestRevocationsOutliveAFullDisk(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	knows := func(key string) bool {
		t.Helper()
		ok, err := open(t, Options{Dir: dir, Now: c.Now}).Revoked(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	revoke := func(s *Store, key string) error {
		return s.Revoke(t.Context(), key, c.Now(), c.Now().Add(time.Hour))
	}
	s := open(t, Options{Dir: dir, Now: c.Now})
	good := s.dir.revoked
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	s.dir.revoked = full
	var u *store.Unavailable
	if err := revoke(s, "while it was full"); !errors.As(err, &u) {
		t.Errorf("revoke: %v", err)
	}
	s.dir.revoked = good
	c.Advance(lookEvery)
	if ok, err := s.Revoked(t.Context(), "while it was full"); !ok || err != nil {
		t.Errorf("this node does not honour it: %v", err)
	}
	if !knows("while it was full") {
		t.Error("it was never written")
	}
	// A process that ran out of space in the middle of a line, and its successor.
	if _, err := good.WriteString(`{"k":"half`); err != nil {
		t.Fatal(err)
	}
	next := open(t, Options{Dir: dir, Now: c.Now})
	if err := revoke(next, "after half a line"); err != nil {
		t.Fatal(err)
	}
	if !knows("after half a line") {
		t.Error("half a line swallowed the next one")
	}
}
