package own

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"kong-openid-connect/internal/fault"
	"kong-openid-connect/internal/token"
)

// maxAge is how long keys are used without a look into the store, should no
// word of a change have come.
const maxAge = 5 * time.Second

// Options of a Set.
type Options struct {
	Store Store
	// Algorithms for which pairs are made; nil for Algorithms().
	Algorithms []string
	Now        func() time.Time // nil for time.Now
	Log        *slog.Logger     // nil for nowhere
}

// Set is the plugin's own key pairs. It is safe for concurrent use.
type Set struct {
	store      Store
	algorithms []string
	now        func() time.Time
	log        *slog.Logger
	flight     singleflight.Group

	mu       sync.Mutex
	held     *snapshot
	stale    bool // a change was told since held was read
	told     uint64
	prepared bool
}

// snapshot is what the store held. It is immutable but for its signers.
type snapshot struct {
	keys []Key
	read time.Time
	told uint64 // changes that it had been told of when it was read

	mu      sync.Mutex
	signers map[string]*token.Signer // by kid and algorithm
}

// New returns the set of a store. It asks and makes nothing yet; Run does.
func New(o Options) *Set {
	s := &Set{store: o.Store, algorithms: o.Algorithms, now: o.Now, log: o.Log}
	if s.algorithms == nil {
		s.algorithms = Algorithms()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Invalidate makes the next use look into the store; to be called when keys
// changed, on this node or on another.
func (s *Set) Invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
	s.told++
}

// Run makes the pairs that are missing, trying again while the store cannot be
// asked. It returns when all are there or the context ends.
func (s *Set) Run(ctx context.Context) {
	pause := 100 * time.Millisecond
	logged := false
	for ctx.Err() == nil {
		err := s.prepare(ctx)
		if err == nil {
			return
		}
		if !logged && ctx.Err() == nil {
			logged = true
			s.log.Warn("openid-connect: own keys cannot be made yet", "error", err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		pause = min(2*pause, 5*time.Second)
	}
}

// prepare makes the missing pairs, once in the life of the process: a key that
// is deleted later is made again when it is needed.
func (s *Set) prepare(ctx context.Context) error {
	s.mu.Lock()
	done := s.prepared
	s.mu.Unlock()
	if done {
		return nil
	}
	_, err := s.share(ctx, "prepare", func(ctx context.Context) (any, error) {
		keys, err := s.store.OwnKeys(ctx)
		if err != nil {
			return nil, err
		}
		has := map[string]bool{}
		for i := range keys {
			if !keys[i].Previous {
				has[keys[i].Algorithm] = true
			}
		}
		var missing []string
		for _, alg := range s.algorithms {
			if !has[alg] {
				missing = append(missing, alg)
			}
		}
		made, err := s.make(ctx, missing)
		if err != nil {
			return nil, err
		}
		for _, k := range made {
			if _, err := s.store.AddOwnKey(ctx, k); errors.Is(err, ErrReadOnly) {
				break
			} else if err != nil {
				return nil, err
			}
		}
		if len(missing) > 0 {
			s.Invalidate()
		}
		s.mu.Lock()
		s.prepared = true
		s.mu.Unlock()
		return nil, nil
	})
	return err
}

// make generates pairs, two at a time: RSA keys take their time and the
// gateway has work to do.
func (s *Set) make(ctx context.Context, algorithms []string) ([]Key, error) {
	keys := make([]Key, len(algorithms))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, alg := range algorithms {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			k, err := Generate(alg, s.now())
			keys[i] = k
			return err
		})
	}
	return keys, g.Wait()
}

// share runs f once for all who ask at the same time; it goes on when the
// caller who began it gives up.
func (s *Set) share(ctx context.Context, name string, f func(context.Context) (any, error)) (any, error) {
	c := s.flight.DoChan(name, func() (v any, err error) {
		defer fault.Recover(&err)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return f(ctx)
	})
	select {
	case r := <-c:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for own keys: %w", ctx.Err())
	}
}

// current returns the keys. While the store cannot be asked, those that were
// read last serve.
func (s *Set) current(ctx context.Context) (*snapshot, error) {
	s.mu.Lock()
	held, fresh := s.held, s.held != nil && !s.stale && s.now().Sub(s.held.read) < maxAge
	told := s.told
	s.mu.Unlock()
	if fresh {
		return held, nil
	}
	v, err := s.share(ctx, fmt.Sprint("read ", told), func(ctx context.Context) (any, error) {
		now := s.now()
		keys, err := s.store.OwnKeys(ctx)
		if err != nil {
			return nil, err
		}
		next := &snapshot{keys: keys, read: now, told: told, signers: map[string]*token.Signer{}}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held == nil || s.held.told <= told { // a late one brings no deleted key back
			s.held = next
		}
		if s.told == told {
			s.stale = false
		}
		return next, nil
	})
	if err != nil {
		if held != nil && !errors.Is(err, context.Canceled) {
			return held, nil
		}
		return nil, err
	}
	return v.(*snapshot), nil
}

// Public returns the set as a JWKS document (RFC 7517 section 5), public
// members only: current keys first, then those of before the last rotation.
// The pairs are made first if that has not been done yet.
func (s *Set) Public(ctx context.Context) ([]byte, error) {
	all, err := s.public(ctx)
	if err != nil {
		return nil, err
	}
	doc := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, k := range all {
		doc.Keys = append(doc.Keys, k.jwk)
	}
	return json.Marshal(doc)
}

// PublicKey returns one public JWK, or ErrNotFound.
func (s *Set) PublicKey(ctx context.Context, kid string) ([]byte, error) {
	all, err := s.public(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if k.kid == kid {
			return k.jwk, nil
		}
	}
	return nil, ErrNotFound
}

// Pair describes a key pair without its keys.
type Pair struct {
	KID, Algorithm string
	Previous       bool // published only; it signs no more
	Created        time.Time
}

// Pairs returns the pairs that are held, in no order; none where the store was
// never read. It asks nobody.
func (s *Set) Pairs() []Pair {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held == nil {
		return nil
	}
	all := make([]Pair, len(held.keys))
	for i := range held.keys {
		k := &held.keys[i]
		all[i] = Pair{k.KID, k.Algorithm, k.Previous, k.Created}
	}
	return all
}

type published struct {
	kid string
	jwk json.RawMessage
}

func (s *Set) public(ctx context.Context) ([]published, error) {
	if err := s.prepare(ctx); err != nil {
		// What is held serves on while the store is away.
		s.mu.Lock()
		held := s.held
		s.mu.Unlock()
		if held == nil {
			return nil, err
		}
	}
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	var all []published
	for _, previous := range []bool{false, true} {
		for _, alg := range append(s.algorithms[:len(s.algorithms):len(s.algorithms)], "") {
			for i := range snap.keys {
				k := &snap.keys[i]
				if k.Previous != previous || k.Algorithm != alg {
					continue
				}
				jwk, err := k.public()
				if err != nil {
					return nil, err
				}
				all = append(all, published{k.KID, jwk})
			}
		}
	}
	return all, nil
}

// Signer returns the signer of the current key for a JWS algorithm; "" is
// RS256. A pair that is missing is made.
func (s *Set) Signer(ctx context.Context, alg string) (*token.Signer, error) {
	if alg == "" {
		alg = "RS256"
	}
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	if signer, err := snap.signer(alg); signer != nil || err != nil {
		return signer, err
	}
	known := false
	for _, a := range s.algorithms {
		known = known || a == alg
	}
	if !known {
		return nil, fmt.Errorf("own keys sign with %v, not with %.16q", s.algorithms, alg)
	}
	_, err = s.share(ctx, "make "+alg, func(ctx context.Context) (any, error) {
		k, err := Generate(alg, s.now())
		if err != nil {
			return nil, err
		}
		_, err = s.store.AddOwnKey(ctx, k)
		return nil, err
	})
	if errors.Is(err, ErrReadOnly) {
		return nil, fmt.Errorf("no own key for %s: %w", alg, err)
	}
	if err != nil {
		return nil, err
	}
	s.Invalidate()
	if snap, err = s.current(ctx); err != nil {
		return nil, err
	}
	signer, err := snap.signer(alg)
	if signer == nil && err == nil {
		err = fmt.Errorf("own key for %s was made and is gone already", alg)
	}
	return signer, err
}

// signer returns the signer for alg, nil when there is no key for it.
func (s *snapshot) signer(alg string) (*token.Signer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if signer, ok := s.signers[alg]; ok {
		return signer, nil
	}
	for _, want := range []string{alg, ""} {
		for i := range s.keys {
			k := &s.keys[i]
			if k.Previous || k.Algorithm != want {
				continue
			}
			signer, err := token.NewKeySigner([]byte(k.Private.Reveal()), jwsAlgorithm(alg))
			if err != nil {
				if want == "" {
					continue // a key for any algorithm that does not fit this one
				}
				return nil, err
			}
			s.signers[alg] = signer
			return signer, nil
		}
	}
	return nil, nil
}

// Rotate replaces the set: every algorithm gets a new pair, which signs from
// now on; the old ones stay published until the next rotation.
func (s *Set) Rotate(ctx context.Context) error {
	_, err := s.share(ctx, "rotate", func(ctx context.Context) (any, error) {
		if _, ok := s.store.(*File); ok {
			return nil, ErrReadOnly
		}
		// Before the work, for the store may be away.
		if _, err := s.store.OwnKeys(ctx); err != nil {
			return nil, err
		}
		next, err := s.make(ctx, s.algorithms)
		if err != nil {
			return nil, err
		}
		if err := s.store.RotateOwnKeys(ctx, next); err != nil {
			return nil, err
		}
		s.Invalidate()
		s.mu.Lock()
		s.prepared = true
		s.mu.Unlock()
		s.log.Info("openid-connect: own keys were rotated")
		return nil, nil
	})
	return err
}

// DeleteKey forgets one key, or says ErrNotFound. The next signature with its
// algorithm makes a new pair.
func (s *Set) DeleteKey(ctx context.Context, kid string) error {
	err := s.store.DeleteOwnKey(ctx, kid)
	if err == nil {
		s.Invalidate()
		s.log.Info("openid-connect: own key was deleted", "kid", kid)
	}
	return err
}
