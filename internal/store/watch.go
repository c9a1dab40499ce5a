package store

import "sync"

// Watchers calls those who watch. The zero value is ready.
type Watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]func(Change)
}

// Watch implements Watcher.
func (w *Watchers) Watch(f func(Change)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int]func(Change){}
	}
	id := w.next
	w.next++
	w.all[id] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, id)
	}
}

// Tell calls everyone who watches, for each change in turn.
func (w *Watchers) Tell(changes ...Change) {
	if len(changes) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range changes {
		for _, f := range w.all {
			f(c)
		}
	}
}
