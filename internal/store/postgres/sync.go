package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
)

// syncKind says what to compare with the database.
type syncKind uint8

const (
	syncObjects syncKind = 1 << iota
	syncKeys
	syncRevoked
	syncAll = syncObjects | syncKeys | syncRevoked
)

// sync makes memory what the database is. One runs at a time; whoever waits
// runs after it, for it may have begun before the change that is looked for.
func (s *Store) sync(ctx context.Context, what syncKind) error {
	if !s.ready.Load() || !s.db.Up() {
		return s.do(ctx, "read the store", func(context.Context, pgdb.Querier) error { return nil })
	}
	select {
	case s.syncing <- struct{}{}:
		defer func() { <-s.syncing }()
	case <-ctx.Done():
		return &store.Unavailable{Op: "read the store", Err: ctx.Err()}
	}
	if what&syncObjects != 0 {
		if err := s.syncDiscovery(ctx); err != nil {
			return err
		}
	}
	if what&syncKeys != 0 {
		if err := s.syncOwnKeys(ctx); err != nil {
			return err
		}
	}
	if what&syncRevoked != 0 {
		since, err := s.syncRevocations(ctx, s.since)
		if err != nil {
			return err
		}
		s.since = since
	}
	return nil
}

const (
	heartbeat  = 15 * time.Second // between looks while notifications arrive
	cleanEvery = time.Minute      // there is a row for each DPoP proof

	firstRetry  = 50 * time.Millisecond  // after a look that failed
	firstListen = 100 * time.Millisecond // after a connection that ended
	longRetry   = 5 * time.Second        // what both grow to
	steady      = time.Minute            // a connection that lived as long is no failure
	deafRetry   = time.Minute            // after notifications that did not arrive
)

// run makes the tables and keeps memory current: at once when told, and every
// so often in any case.
func (s *Store) run(ctx context.Context) {
	pause := firstRetry
	failed := false
	cleaned := s.now()
	for ctx.Err() == nil {
		if s.db.WaitUp(ctx) != nil {
			return
		}
		if err := s.update(ctx); err != nil {
			s.failure.Store(&err)
			if _, away := errors.AsType[*store.Unavailable](err); (!away || s.db.Up()) && !failed && ctx.Err() == nil {
				failed = true
				s.log.Error("openid-connect: the store cannot be read; what is in memory serves on", "error", err)
			}
			sleep(ctx, pause)
			pause = min(2*pause, longRetry)
			continue
		}
		if failed {
			failed = false
			s.log.Info("openid-connect: the store can be read again")
		}
		pause = firstRetry
		if now := s.now(); now.Sub(cleaned) >= cleanEvery {
			cleaned = now
			s.clean(ctx)
		}
		s.waitForNews(ctx)
	}
}

// update migrates once, reads everything and writes what waited.
func (s *Store) update(ctx context.Context) error {
	if !s.ready.Load() {
		n, err := migrate(ctx, s.db)
		if err != nil {
			return s.typed("migrate", err)
		}
		if n > 0 {
			s.log.Info("openid-connect: tables in Kong's database were made or changed", "steps", n)
		}
		s.ready.Store(true)
	}
	what := syncAll
	if s.loaded.Load() {
		what = syncKind(s.news.Swap(0))
		if what == 0 {
			what = syncAll
		}
	}
	if err := s.sync(ctx, what); err != nil {
		s.news.Or(uint32(what))
		return err
	}
	if !s.loaded.Swap(true) {
		close(s.opened)
	}
	s.flush(ctx)
	return nil
}

// waitForNews returns when something changed, or when it is time to look.
func (s *Store) waitForNews(ctx context.Context) {
	wait := s.poll
	if s.hears.Load() {
		wait = heartbeat
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-s.wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// note asks run to look at once.
func (s *Store) note(what syncKind) {
	s.news.Or(uint32(what))
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// listen keeps a connection that hears of changes.
func (s *Store) listen(ctx context.Context) {
	pause := firstListen
	for ctx.Err() == nil {
		if s.db.WaitUp(ctx) != nil {
			return
		}
		start := s.now()
		err := s.hear(ctx)
		s.hears.Store(false)
		s.note(syncAll) // and from now on by polling
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errDeaf) {
			sleep(ctx, deafRetry)
			continue
		}
		if s.now().Sub(start) > steady {
			pause = firstListen
		}
		sleep(ctx, pause)
		pause = min(2*pause, longRetry)
	}
}

// errDeaf says that notifications do not arrive, as behind a pooler.
var errDeaf = errors.New("notifications do not arrive")

// hear listens until the connection ends. Every heartbeat it sends itself a
// word through the pool: where that does not arrive, nothing does.
func (s *Store) hear(ctx context.Context) error {
	open, cancel := context.WithTimeout(ctx, pgdb.MaxWait)
	defer cancel()
	c, err := s.db.Connect(open)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = c.Close(end)
	}()
	if _, err := c.Exec(open, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		return err
	}
	for ctx.Err() == nil {
		word := "p " + rand.Text()
		err := s.db.Do(ctx, "notify itself", func(ctx context.Context, q pgdb.Querier) error {
			_, err := q.Exec(ctx, `SELECT pg_notify($1, $2)`, s.channel, word)
			return err
		})
		if err != nil {
			return err
		}
		heard, err := s.await(ctx, c, word, pgdb.MaxWait)
		if err != nil {
			return err
		}
		if !heard {
			if !s.deaf {
				s.deaf = true
				s.log.Warn("openid-connect: notifications of the database do not arrive; changes are looked for every " + s.poll.String())
			}
			return errDeaf
		}
		s.deaf = false
		if !s.hears.Swap(true) {
			s.note(syncAll) // what happened before LISTEN
		}
		if _, err := s.await(ctx, c, "", heartbeat); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// await passes notifications on until word arrives or the time is over.
func (s *Store) await(ctx context.Context, c *pgx.Conn, word string, d time.Duration) (heard bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			if ctx.Err() != nil && !c.IsClosed() {
				return false, nil
			}
			s.db.Suspect()
			return false, err
		}
		switch p := n.Payload; {
		case p == "o":
			s.note(syncObjects)
		case p == "k":
			s.note(syncKeys)
		case p == word && word != "":
			return true, nil
		case len(p) > 2 && p[0] == 'r':
			if key, span, ok := parseRevocation(p); ok {
				if err := s.revoked.Learn(key, span); err != nil {
					s.log.Error("openid-connect: a revocation cannot be taken over", "error", err)
				}
			}
		}
	}
}
