package runstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"tune/internal/machine"
)

// busyTimeout is how long a statement waits for the lock of another process. A writer holds it for microseconds.
const busyTimeout = 5 * time.Second

// Store is an open runs.db. It may be used from many goroutines.
type Store struct {
	db       *sql.DB
	path     string
	readOnly bool
	step     *sql.Stmt // the insert of RecordStep; nil when read-only
	host     string    // the name of this machine

	// Replaced in tests.
	now     func() time.Time
	process func(pid int) (mark string, alive bool)
}

// Open opens the database at path for writing; it creates the file, but not its folder, and brings an older
// schema up to date. Prompts and replies are nobody else's business: a new file is for its owner alone (mode 0600),
// and SQLite gives the files beside it the same mode.
//
// Errors: [ErrNewer], [ErrForeign], [ErrDamaged], [ErrLocked] and [ErrReadOnly], and those of the file system.
func Open(path string) (*Store, error) { return open(path, migrations, busyTimeout) }

func open(path string, migrations []string, wait time.Duration) (_ *Store, err error) {
	if err := create(path); err != nil {
		return nil, err
	}
	// _txlock=immediate: BEGIN takes the write lock, so the wait for it happens there and never in mid-transaction.
	s, err := connect(path, "mode=rwc&_foreign_keys=on&_synchronous=NORMAL&_txlock=immediate", wait)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.db.SetMaxOpenConns(1) // one writer, one connection: our own writes queue in Go instead of meeting in SQLite
	ctx := context.Background()

	// Look before touching: a database of another program must stay as it is.
	version, err := schemaVersion(ctx, s.db, len(migrations))
	if err != nil {
		return nil, s.explain("open", err)
	}
	if err := s.useWAL(ctx, wait); err != nil {
		return nil, err
	}
	if version < len(migrations) {
		if err := migrate(ctx, s.db, migrations); err != nil {
			return nil, s.explain("open", err)
		}
	}
	if s.step, err = s.db.PrepareContext(ctx, insertStep); err != nil {
		return nil, s.explain("open", err)
	}
	return s, nil
}

// creating is held while a file is made: to close a descriptor of a file that SQLite has open in this process would
// drop SQLite's locks on it.
var creating sync.Mutex

// create makes an empty file at path unless there is one.
func create(path string) error {
	creating.Lock()
	defer creating.Unlock()
	switch info, err := os.Stat(path); {
	case path == "":
		return errors.New("database: no path given")
	case errors.Is(err, fs.ErrNotExist):
		folder := filepath.Dir(path)
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return fmt.Errorf("%s: folder %s does not exist (it is not created)", path, folder)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("%s: open: %w", path, errors.Unwrap(err))
		}
		return f.Close()
	case err != nil:
		return fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	case info.IsDir():
		return fmt.Errorf("%s: is a folder, want a file", path)
	}
	return nil
}

// OpenReadOnly opens the database at path for reading, also while another process writes to it, and also in a
// folder or from a disk that cannot be written. Methods that write return [ErrReadOnly].
//
// A file with an older schema is brought up to date first, which needs leave to write.
//
// Errors: [ErrNoDatabase] when there is none, [ErrNewer], [ErrForeign], [ErrDamaged], [ErrLocked].
func OpenReadOnly(path string) (*Store, error) { return openReadOnly(path, migrations, busyTimeout) }

func openReadOnly(path string, migrations []string, wait time.Duration) (*Store, error) {
	s, version, err := openReader(path, len(migrations), wait)
	if err != nil {
		return nil, err
	}
	if version == len(migrations) {
		return s, nil
	}

	if err := s.Close(); err != nil {
		return nil, err
	}
	w, err := open(path, migrations, wait)
	if err != nil {
		return nil, fmt.Errorf("update schema version %d to %d: %w", version, len(migrations), err)
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	s, _, err = reader(path, readOptions, len(migrations), wait)
	return s, err
}

// openReader opens a database of any version that is known, for reading, and returns the version.
func openReader(path string, known int, wait time.Duration) (*Store, int, error) {
	// Stat, not Open: closing any descriptor of the file would drop the locks that a writer in this same
	// process holds on it (POSIX locks belong to the process, not to the descriptor).
	creating.Lock()
	info, err := os.Stat(path)
	creating.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, fmt.Errorf("%s: %w", path, ErrNoDatabase)
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	case info.IsDir():
		return nil, 0, fmt.Errorf("%s: is a folder, want a file", path)
	}
	s, version, err := reader(path, readOptions, known, wait)
	if cannotShare(err) && !hasPendingWAL(path) {
		// A WAL database needs its -shm file beside it, which a read-only folder will not take. No log is
		// pending, so the file alone is the whole truth and may be read as one that nobody changes.
		s, version, err = reader(path, "mode=ro&immutable=1", known, wait)
	}
	switch {
	case cannotShare(err) && hasPendingWAL(path):
		return nil, 0, fmt.Errorf("%w; its log %s-wal can only be read in a folder that can be written: copy both to one",
			err, path)
	case cannotShare(err):
		return nil, 0, fmt.Errorf("%w; check that the file and its folder may be read", err)
	}
	return s, version, err
}

// readOptions leave the file open for writing where that is allowed, to SQLite but not to statements
// (query_only): so the last reader to close can clear away the files that it made beside the database, and
// finish the log of a writer that was killed.
const readOptions = "mode=rw"

// reader connects for statements that only read and returns the version of the schema as well.
func reader(path, options string, known int, wait time.Duration) (*Store, int, error) {
	s, err := connect(path, options+"&_query_only=on", wait)
	if err != nil {
		return nil, 0, err
	}
	s.readOnly = true
	version, err := schemaVersion(context.Background(), s.db, known)
	if err != nil {
		return nil, 0, errors.Join(s.explain("open", err), s.Close())
	}
	return s, version, nil
}

// cannotShare reports whether SQLite could not make or reach the files that it keeps beside a WAL database.
func cannotShare(err error) bool {
	return isCode(err, sqlite3.ErrCantOpen, sqlite3.ErrReadonly, sqlite3.ErrPerm)
}

// hasPendingWAL reports whether a log beside the file holds writes that the file itself lacks.
func hasPendingWAL(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

func connect(path, options string, wait time.Duration) (*Store, error) {
	name, err := dsn(path, options, wait)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", name)
	if err != nil {
		return nil, fmt.Errorf("%s: open: %w", path, err)
	}
	host, _ := os.Hostname() // without a name, every run without one is taken for ours
	return &Store{db: db, path: path, host: host, now: time.Now, process: machine.Process}, nil
}

// dsn names the file to the driver as a URI. Each byte that means something in one is escaped, for a folder may
// be called "50% done?"; and the path is absolute, because connections are made late and the working directory
// may have changed.
func dsn(path, options string, wait time.Duration) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs // C:/runs.db is file:///C:/runs.db
	}
	var b strings.Builder
	b.WriteString("file://")
	for i := range len(abs) {
		switch c := abs[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/-._~:", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String() + "?" + options + "&_busy_timeout=" + strconv.FormatInt(wait.Milliseconds(), 10), nil
}

// useWAL switches the file to the write-ahead log, which it then stays in.
func (s *Store) useWAL(ctx context.Context, wait time.Duration) error {
	var mode string
	// SQLite does not wait for every lock that the switch needs, so two processes that create the file at the
	// same moment can meet; the loser tries again.
	for deadline := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		err := s.db.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode)
		if err == nil {
			break
		}
		if !isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked) || time.Now().After(deadline) {
			return s.explain("open", err)
		}
	}
	if mode != "wal" {
		return fmt.Errorf("%s: open: this file system has no shared memory for SQLite's WAL mode (journal mode %q); "+
			"put the database on a local disk", s.path, mode)
	}
	return nil
}

// Path returns the path that the Store was opened with.
func (s *Store) Path() string { return s.path }

// Close ends all use of the Store. The last one to close merges the log into the file.
func (s *Store) Close() error {
	var err error
	if s.step != nil {
		err = s.step.Close()
	}
	return s.explain("close", errors.Join(err, s.db.Close()))
}

// exec runs a statement that writes and returns how many rows it changed.
func (s *Store) exec(ctx context.Context, doing, query string, args ...any) (int64, error) {
	if s.readOnly {
		return 0, s.explain(doing, ErrReadOnly)
	}
	result, err := s.db.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, s.explain(doing, err)
	}
	n, err := result.RowsAffected()
	return n, s.explain(doing, err)
}

// change is exec on the row of one run, which must exist.
func (s *Store) change(ctx context.Context, doing, query string, args ...any) error {
	n, err := s.exec(ctx, doing, query, args...)
	if err == nil && n == 0 {
		err = s.explain(doing, ErrNotFound)
	}
	return err
}

// Sync returns when everything written so far would outlive a power cut.
func (s *Store) Sync(ctx context.Context) error {
	var busy, log, moved int
	err := s.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &moved)
	return s.explain("sync", err)
}

// checkpoint moves the log into the file, synced, and empties it. Readers may be in the way: the log then stays,
// which is no loss.
func (s *Store) checkpoint(ctx context.Context) error {
	var busy, log, moved int
	err := s.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved)
	if isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked) {
		return nil
	}
	return s.explain("checkpoint", err)
}
