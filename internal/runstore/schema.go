package runstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
)

// applicationID marks the file as ours in SQLite's header: "tune" in ASCII.
const applicationID = 0x74756e65

// migrations bring the schema from version i to i+1. Entries are only ever added: a file of any earlier tune
// opens in this one. Each column is explained in docs/runs-db.md, which a test holds against the schema.
//
// STRICT tables refuse a value of the wrong type. The tables keyed by (run_id, step) are stored in that order
// (WITHOUT ROWID), so the rows of one run lie together and need no index of their own.
var migrations = []string{
	`CREATE TABLE runs(
	  id                          TEXT    PRIMARY KEY NOT NULL,
	  name                        TEXT    NOT NULL,
	  status                      TEXT    NOT NULL CHECK (status IN
	    ('queued', 'running', 'done', 'failed', 'diverged', 'interrupted')),
	  error                       TEXT    NOT NULL DEFAULT '',
	  method                      TEXT    NOT NULL,
	  model_path                  TEXT    NOT NULL,
	  model_sha256                TEXT    NOT NULL DEFAULT '',
	  data_train                  TEXT    NOT NULL DEFAULT '',
	  data_train_sha256           TEXT    NOT NULL DEFAULT '',
	  data_validation             TEXT    NOT NULL DEFAULT '',
	  data_validation_sha256      TEXT    NOT NULL DEFAULT '',
	  config                      TEXT    NOT NULL DEFAULT '',
	  config_sha256               TEXT    NOT NULL DEFAULT '',
	  seed                        INTEGER NOT NULL DEFAULT 0,
	  device                      TEXT    NOT NULL DEFAULT '',
	  device_name                 TEXT    NOT NULL DEFAULT '',
	  dtype                       TEXT    NOT NULL DEFAULT '',
	  threads                     INTEGER,
	  learning_rate               REAL,
	  batch_size                  INTEGER,
	  gradient_accumulation_steps INTEGER,
	  num_train_epochs            INTEGER,
	  max_length                  INTEGER,
	  lora_rank                   INTEGER,
	  lora_alpha                  REAL,
	  total_steps                 INTEGER,
	  trainable_parameters        INTEGER,
	  total_parameters            INTEGER,
	  train_rows                  INTEGER,
	  validation_rows             INTEGER,
	  tune_version                TEXT    NOT NULL DEFAULT '',
	  libtorch_version            TEXT    NOT NULL DEFAULT '',
	  go_version                  TEXT    NOT NULL DEFAULT '',
	  git_commit                  TEXT    NOT NULL DEFAULT '',
	  git_dirty                   INTEGER NOT NULL DEFAULT 0 CHECK (git_dirty IN (0, 1)),
	  chip                        TEXT    NOT NULL DEFAULT '',
	  machine_model               TEXT    NOT NULL DEFAULT '',
	  os                          TEXT    NOT NULL DEFAULT '',
	  arch                        TEXT    NOT NULL DEFAULT '',
	  cores                       INTEGER,
	  performance_cores           INTEGER,
	  memory_bytes                INTEGER,
	  pid                         INTEGER,
	  created_at                  TEXT    NOT NULL,
	  started_at                  TEXT,
	  heartbeat_at                TEXT,
	  ended_at                    TEXT,
	  wall_seconds                REAL,
	  load_seconds                REAL,
	  train_seconds               REAL,
	  evaluate_seconds            REAL,
	  save_seconds                REAL
	) STRICT;
	CREATE INDEX runs_by_created_at ON runs(created_at);
	CREATE INDEX runs_by_name ON runs(name, created_at);

	CREATE TABLE steps(
	  run_id                      TEXT    NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
	  step                        INTEGER NOT NULL CHECK (step > 0),
	  epoch                       REAL,
	  loss                        REAL,
	  loss_note                   TEXT    NOT NULL DEFAULT '',
	  learning_rate               REAL,
	  grad_norm                   REAL,
	  target_tokens               INTEGER NOT NULL,
	  tokens                      INTEGER NOT NULL,
	  seconds                     REAL,
	  tokens_per_second           REAL    GENERATED ALWAYS AS (tokens / seconds) VIRTUAL,
	  memory_bytes                INTEGER,
	  peak_memory_bytes           INTEGER,
	  device_memory_bytes         INTEGER,
	  device_peak_memory_bytes    INTEGER,
	  at                          TEXT    NOT NULL,
	  PRIMARY KEY (run_id, step),
	  CHECK (loss IS NOT NULL OR loss_note <> '')
	) STRICT, WITHOUT ROWID;

	CREATE TABLE evaluations(
	  run_id                      TEXT    NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
	  step                        INTEGER NOT NULL CHECK (step >= 0),
	  split                       TEXT    NOT NULL,
	  loss                        REAL,
	  loss_note                   TEXT    NOT NULL DEFAULT '',
	  perplexity                  REAL,
	  target_tokens               INTEGER NOT NULL,
	  seconds                     REAL,
	  at                          TEXT    NOT NULL,
	  PRIMARY KEY (run_id, step, split),
	  CHECK (loss IS NOT NULL OR loss_note <> '')
	) STRICT, WITHOUT ROWID;

	CREATE TABLE samples(
	  run_id                      TEXT    NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
	  step                        INTEGER NOT NULL CHECK (step >= 0),
	  prompt_index                INTEGER NOT NULL CHECK (prompt_index >= 0),
	  prompt                      TEXT    NOT NULL,
	  reply                       TEXT    NOT NULL,
	  tokens                      INTEGER NOT NULL,
	  seconds                     REAL,
	  stop_reason                 TEXT    NOT NULL DEFAULT '',
	  at                          TEXT    NOT NULL,
	  PRIMARY KEY (run_id, step, prompt_index)
	) STRICT, WITHOUT ROWID;

	CREATE TABLE artifacts(
	  run_id                      TEXT    NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
	  kind                        TEXT    NOT NULL,
	  path                        TEXT    NOT NULL,
	  bytes                       INTEGER NOT NULL,
	  sha256                      TEXT    NOT NULL DEFAULT '',
	  at                          TEXT    NOT NULL,
	  PRIMARY KEY (run_id, kind, path)
	) STRICT, WITHOUT ROWID;

	CREATE TABLE events(
	  id                          INTEGER PRIMARY KEY,
	  run_id                      TEXT    NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
	  step                        INTEGER,
	  level                       TEXT    NOT NULL CHECK (level IN ('info', 'warning', 'error')),
	  kind                        TEXT    NOT NULL,
	  message                     TEXT    NOT NULL,
	  at                          TEXT    NOT NULL
	) STRICT;
	CREATE INDEX events_by_run ON events(run_id, id);`,

	// Version 2: what was predicted of a run, and benchmarks. Runs of version 1 kept the commit of a model of the
	// Hub as an event.
	`ALTER TABLE runs ADD COLUMN model_revision TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN predicted_peak_memory_bytes INTEGER;
	ALTER TABLE runs ADD COLUMN predicted_seconds REAL;
	UPDATE runs SET model_revision = coalesce((SELECT e.message FROM events e
	  WHERE e.run_id = runs.id AND e.kind = 'model_revision' ORDER BY e.id LIMIT 1), '');

	CREATE TABLE benchmarks(
	  id                              INTEGER PRIMARY KEY,
	  created_at                      TEXT    NOT NULL,
	  kind                            TEXT    NOT NULL CHECK (kind IN ('generate', 'train')),
	  run_id                          TEXT    REFERENCES runs(id) ON DELETE SET NULL,
	  model_path                      TEXT    NOT NULL,
	  model_sha256                    TEXT    NOT NULL DEFAULT '',
	  model_revision                  TEXT    NOT NULL DEFAULT '',
	  adapter                         TEXT    NOT NULL DEFAULT '',
	  total_parameters                INTEGER,
	  device                          TEXT    NOT NULL,
	  device_name                     TEXT    NOT NULL DEFAULT '',
	  dtype                           TEXT    NOT NULL,
	  threads                         INTEGER,
	  prefill_tokens                  INTEGER,
	  decode_tokens                   INTEGER,
	  repetitions                     INTEGER NOT NULL CHECK (repetitions > 0),
	  time_to_first_token_seconds     REAL,
	  time_to_first_token_seconds_min REAL,
	  time_to_first_token_seconds_max REAL,
	  prefill_tokens_per_second       REAL,
	  prefill_tokens_per_second_min   REAL,
	  prefill_tokens_per_second_max   REAL,
	  decode_tokens_per_second        REAL,
	  decode_tokens_per_second_min    REAL,
	  decode_tokens_per_second_max    REAL,
	  peak_memory_bytes               INTEGER,
	  device_peak_memory_bytes        INTEGER,
	  tune_version                    TEXT    NOT NULL DEFAULT '',
	  libtorch_version                TEXT    NOT NULL DEFAULT '',
	  go_version                      TEXT    NOT NULL DEFAULT '',
	  git_commit                      TEXT    NOT NULL DEFAULT '',
	  git_dirty                       INTEGER NOT NULL DEFAULT 0 CHECK (git_dirty IN (0, 1)),
	  chip                            TEXT    NOT NULL DEFAULT '',
	  machine_model                   TEXT    NOT NULL DEFAULT '',
	  os                              TEXT    NOT NULL DEFAULT '',
	  arch                            TEXT    NOT NULL DEFAULT '',
	  cores                           INTEGER,
	  performance_cores               INTEGER,
	  memory_bytes                    INTEGER
	) STRICT;
	CREATE INDEX benchmarks_by_time ON benchmarks(created_at);
	CREATE INDEX benchmarks_by_run ON benchmarks(run_id);`,

	// Version 3: which process of which machine a run belongs to, and what is needed to take it up again.
	`ALTER TABLE runs ADD COLUMN host TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN process TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN attempts INTEGER;
	ALTER TABLE runs ADD COLUMN resumed_from_step INTEGER;
	ALTER TABLE runs ADD COLUMN best_step INTEGER;
	ALTER TABLE runs ADD COLUMN best_validation_loss REAL;
	ALTER TABLE runs ADD COLUMN checkpoint TEXT NOT NULL DEFAULT '';`,

	// Version 4: what people say of a run, the state of its machine, what it used, and sweeps. The sums over the steps of a
	// run that has ended stay in its row: a list of a hundred runs must not read a million steps.
	`ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
	ALTER TABLE runs ADD COLUMN sweep_id TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN sweep_trial INTEGER;
	ALTER TABLE runs ADD COLUMN sweep_settings TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN thermal_before TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN thermal_after TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN swap_before_bytes INTEGER;
	ALTER TABLE runs ADD COLUMN swap_after_bytes INTEGER;
	ALTER TABLE runs ADD COLUMN load_average_before REAL;
	ALTER TABLE runs ADD COLUMN load_average_after REAL;
	ALTER TABLE runs ADD COLUMN other_cores_busy REAL;
	ALTER TABLE runs ADD COLUMN energy_joules REAL;
	ALTER TABLE runs ADD COLUMN energy_source TEXT NOT NULL DEFAULT '';
	ALTER TABLE runs ADD COLUMN steps_done INTEGER;
	ALTER TABLE runs ADD COLUMN tokens INTEGER;
	ALTER TABLE runs ADD COLUMN step_seconds REAL;
	ALTER TABLE runs ADD COLUMN peak_memory_bytes INTEGER;
	ALTER TABLE runs ADD COLUMN device_peak_memory_bytes INTEGER;
	CREATE INDEX runs_by_sweep ON runs(sweep_id, sweep_trial) WHERE sweep_id <> '';
	UPDATE runs SET (steps_done, tokens, step_seconds, peak_memory_bytes, device_peak_memory_bytes) =
	  (SELECT count(*), sum(tokens), sum(seconds), max(peak_memory_bytes), max(device_peak_memory_bytes)
	   FROM steps WHERE run_id = runs.id)
	  WHERE status IN ('done', 'failed', 'diverged', 'interrupted');

	CREATE TABLE sweeps(
	  id                          TEXT    PRIMARY KEY NOT NULL,
	  trials                      INTEGER NOT NULL,
	  name                        TEXT    NOT NULL,
	  status                      TEXT    NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted')),
	  error                       TEXT    NOT NULL DEFAULT '',
	  goal                        TEXT    NOT NULL,
	  config                      TEXT    NOT NULL,
	  config_sha256               TEXT    NOT NULL,
	  host                        TEXT    NOT NULL DEFAULT '',
	  process                     TEXT    NOT NULL DEFAULT '',
	  pid                         INTEGER,
	  created_at                  TEXT    NOT NULL,
	  heartbeat_at                TEXT    NOT NULL,
	  ended_at                    TEXT
	) STRICT;

	ALTER TABLE benchmarks ADD COLUMN batch_size INTEGER;
	ALTER TABLE benchmarks ADD COLUMN lora_rank INTEGER;
	ALTER TABLE benchmarks ADD COLUMN gradient_checkpointing INTEGER;
	ALTER TABLE benchmarks ADD COLUMN train_tokens_per_second REAL;
	ALTER TABLE benchmarks ADD COLUMN train_tokens_per_second_min REAL;
	ALTER TABLE benchmarks ADD COLUMN train_tokens_per_second_max REAL;
	ALTER TABLE benchmarks ADD COLUMN step_seconds REAL;
	ALTER TABLE benchmarks ADD COLUMN step_seconds_min REAL;
	ALTER TABLE benchmarks ADD COLUMN step_seconds_max REAL;`,
}

// querier is what reading a pragma needs: a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// schemaVersion returns how many migrations the file has had, 0 for an empty one. Errors: [ErrForeign] when
// another program made it, [ErrNewer] when it has had more than this build knows.
func schemaVersion(ctx context.Context, q querier, known int) (int, error) {
	var version, app, tables int
	// One statement sees one state of the file, also while another process creates it.
	err := q.QueryRowContext(ctx, `SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_user_version, pragma_application_id`).Scan(&version, &app, &tables)
	switch {
	case err != nil:
		return 0, err
	case tables == 0 && version == 0:
		return 0, nil
	case app != applicationID:
		return 0, ErrForeign
	case version > known:
		return 0, fmt.Errorf("%w: schema version %d, this tune knows up to %d: use a newer tune",
			ErrNewer, version, known)
	}
	return version, nil
}

// migrate brings the file to the newest version in one transaction: all of it or nothing.
func migrate(ctx context.Context, db *sql.DB, migrations []string) (err error) {
	tx, err := db.BeginTx(ctx, nil) // takes the write lock at once: see dsn
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	// Read again under the lock: another process may have migrated since we looked.
	version, err := schemaVersion(ctx, tx, len(migrations))
	if err != nil {
		return err
	}
	for i := version; i < len(migrations); i++ {
		if _, err := tx.ExecContext(ctx, migrations[i]); err != nil {
			return fmt.Errorf("migration to schema version %d: %w", i+1, err)
		}
	}
	for _, pragma := range []string{
		"PRAGMA user_version=" + strconv.Itoa(len(migrations)),
		"PRAGMA application_id=" + strconv.Itoa(applicationID),
	} {
		if _, err := tx.ExecContext(ctx, pragma); err != nil {
			return err
		}
	}
	return tx.Commit()
}
