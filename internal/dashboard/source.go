package dashboard

import (
	"errors"
	"os"
	"sync"

	"tune/internal/runstore"
)

// source is the database, which may not be there yet, or be replaced by another one.
type source struct {
	path string

	mu    sync.Mutex
	store *runstore.Store // nil before there is one
	file  os.FileInfo     // what store was opened on
}

// get returns the database, open for reading. Errors: [runstore.ErrNoDatabase] while there is none, and those of
// [runstore.OpenReadOnly].
func (s *source) get() (*runstore.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := os.Stat(s.path)
	if err == nil && s.store != nil && os.SameFile(file, s.file) {
		return s.store, nil
	}
	if err := s.drop(); err != nil {
		return nil, err
	}
	store, err := runstore.OpenReadOnly(s.path)
	if err != nil {
		return nil, err
	}
	// Anew: opening may have brought an older schema up to date.
	if file, err = os.Stat(s.path); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.store, s.file = store, file
	return store, nil
}

// drop closes the database; queries that run are finished first.
func (s *source) drop() error {
	store := s.store
	s.store, s.file = nil, nil
	if store == nil {
		return nil
	}
	return store.Close()
}

func (s *source) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop()
}
