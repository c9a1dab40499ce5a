package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
)

// The states of a lock's row.
const (
	lockHeld   int16 = 0 // until is the end of the lease
	lockResult int16 = 1 // until is when the result may be forgotten
	lockFailed int16 = 2 // until has passed: the next caller may try
)

// How often a waiter looks for the result.
const (
	firstLook = 10 * time.Millisecond
	longLook  = 150 * time.Millisecond
)

type lockRow struct {
	attempt string
	state   int16
	over    bool // until has passed
	result  []byte
}

// Once implements store.Locks by a row with a lease. All times are the
// database's. Session-level advisory locks would not pass a pooler, and hold a
// connection for as long as the work takes.
func (s *Store) Once(ctx context.Context, key string, lease, keep time.Duration, do func(context.Context) ([]byte, error)) ([]byte, error) {
	if err := store.CheckName(key); err != nil {
		return nil, err
	}
	mine := uuid.NewString()
	// The context of the work ends before the lease, which begins when the database has it.
	work, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	row, err := s.takeLock(ctx, key, mine, lockHeld, lease)
	if err != nil {
		return nil, err
	}
	if row.attempt != mine {
		return s.awaitLock(ctx, key, row)
	}
	finished := false
	defer func() {
		if !finished { // do panicked
			s.finishLock(ctx, key, mine, lockFailed, 0, nil)
		}
	}()
	result, err := do(work)
	if err == nil && len(result) > store.MaxResult {
		err = fmt.Errorf("result of %d bytes: %w", len(result), store.ErrTooLarge)
	}
	finished = true
	if err != nil {
		s.finishLock(ctx, key, mine, lockFailed, 0, nil)
		return nil, err
	}
	s.finishLock(ctx, key, mine, lockResult, keep, result)
	return result, nil
}

// Claim implements store.Claims: the row of a lock whose work is done.
func (s *Store) Claim(ctx context.Context, key string, keep time.Duration) (bool, error) {
	if err := store.CheckName(key); err != nil {
		return false, err
	}
	mine := uuid.NewString()
	row, err := s.takeLock(ctx, key, mine, lockResult, keep)
	return err == nil && row.attempt == mine, err
}

// takeLock gets the row of a key, or returns the one that somebody else has.
func (s *Store) takeLock(ctx context.Context, key, mine string, state int16, lease time.Duration) (lockRow, error) {
	var row lockRow
	err := s.do(ctx, "take lock", func(ctx context.Context, q pgdb.Querier) error {
		for range 4 { // the row may vanish between the two statements
			err := q.QueryRow(ctx, s.q(`INSERT INTO {s}oidc_locks AS l (key, attempt, state, until, result)
VALUES ($1, $2::uuid, $4, clock_timestamp() + $3::float8 * interval '1 second', NULL)
ON CONFLICT (key) DO UPDATE SET attempt = excluded.attempt, state = excluded.state, until = excluded.until, result = NULL
  WHERE l.until <= clock_timestamp()
RETURNING attempt::text`), key, mine, lease.Seconds(), state).Scan(&row.attempt)
			if err == nil || !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			if row, err = s.readLock(ctx, q, key); !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
		}
		return errors.New("the lock changes hands too often")
	})
	return row, err
}

func (s *Store) readLock(ctx context.Context, q pgdb.Querier, key string) (row lockRow, err error) {
	err = q.QueryRow(ctx, s.q(`SELECT attempt::text, state, until <= clock_timestamp(), result FROM {s}oidc_locks WHERE key = $1`), key).
		Scan(&row.attempt, &row.state, &row.over, &row.result)
	return row, err
}

// awaitLock waits for what the attempt of row comes to.
func (s *Store) awaitLock(ctx context.Context, key string, row lockRow) ([]byte, error) {
	attempt := row.attempt
	pause := firstLook
	for {
		switch {
		case row.attempt != attempt, row.state == lockFailed:
			return nil, store.ErrLost
		case row.state == lockResult:
			return row.result, nil
		case row.over:
			return nil, store.ErrLost
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, &store.Unavailable{Op: "wait for another node's result", Err: ctx.Err()}
		}
		pause = min(pause*3/2, longLook)
		err := s.do(ctx, "wait for another node's result", func(ctx context.Context, q pgdb.Querier) error {
			next, err := s.readLock(ctx, q, key)
			if errors.Is(err, pgx.ErrNoRows) { // cleaned away long after its time
				next, err = lockRow{attempt: attempt, state: lockFailed}, nil
			}
			row = next
			return err
		})
		if err != nil {
			return nil, err
		}
	}
}

// finishLock says what an attempt came to. Should that fail, those who wait
// learn it from the end of the lease; the caller has its result all the same.
func (s *Store) finishLock(ctx context.Context, key, mine string, state int16, keep time.Duration, result []byte) {
	ctx = context.WithoutCancel(ctx)
	for range 2 {
		err := s.do(ctx, "release lock", func(ctx context.Context, q pgdb.Querier) error {
			_, err := q.Exec(ctx, s.q(`UPDATE {s}oidc_locks SET state = $3, result = $4, until = clock_timestamp() + $5::float8 * interval '1 second'
WHERE key = $1 AND attempt = $2::uuid`), key, mine, state, result, keep.Seconds())
			return err
		})
		if err == nil {
			return
		}
		s.log.Warn("openid-connect: the result of a lock could not be kept; waiting nodes give up when its lease ends", "error", err)
	}
}
