package runstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Status is how far a run has come: queued, running, and then one of the four endings.
type Status string

// The life of a run. A run that is running in the file may have died: see [RunSummary.Stale].
const (
	Queued      Status = "queued"      // the row exists, training has not begun; its process was alive at heartbeat_at
	Running     Status = "running"     // the same, and training
	Done        Status = "done"        // all steps made, results saved
	Failed      Status = "failed"      // ended by an error
	Diverged    Status = "diverged"    // ended by a loss that is not finite
	Interrupted Status = "interrupted" // ended by the user, or by the death of its process
)

// Ended reports whether a run with this status is over.
func (s Status) Ended() bool { return s == Done || s == Failed || s == Diverged || s == Interrupted }

// Run is the row of one run. What is unknown is left zero: an empty string, or a number that is then NULL.
type Run struct {
	ID   string `json:"id"` // from NewID
	Name string `json:"name"`

	Method               string `json:"method"`     // lora or full
	ModelPath            string `json:"model_path"` // the base model
	ModelSHA256          string `json:"model_sha256"`
	ModelRevision        string `json:"model_revision"` // commit of a model of the Hub; empty for a folder
	DataTrain            string `json:"data_train"`     // path of the training rows
	DataTrainSHA256      string `json:"data_train_sha256"`
	DataValidation       string `json:"data_validation"` // path of the validation rows; empty when there are none
	DataValidationSHA256 string `json:"data_validation_sha256"`
	Config               string `json:"config,omitempty"` // the resolved config, YAML
	ConfigSHA256         string `json:"config_sha256"`
	Seed                 int64  `json:"seed"`

	Device     string `json:"device"`      // mps, cuda or cpu: resolved, never auto
	DeviceName string `json:"device_name"` // as the maker calls it
	DType      string `json:"dtype"`       // of the base weights: resolved, never auto
	Threads    int    `json:"threads"`     // libtorch's CPU threads

	// The settings that runs are most often compared by; all of them are in Config.
	LearningRate              Real `json:"learning_rate"` // at the peak
	BatchSize                 int  `json:"batch_size"`    // rows a forward pass
	GradientAccumulationSteps int  `json:"gradient_accumulation_steps"`
	NumTrainEpochs            int  `json:"num_train_epochs"`
	MaxLength                 int  `json:"max_length"` // tokens a row
	LoRARank                  int  `json:"lora_rank"`  // 0 when Method is full
	LoRAAlpha                 Real `json:"lora_alpha"`

	TotalSteps          int64 `json:"total_steps"` // planned
	TrainableParameters int64 `json:"trainable_parameters"`
	TotalParameters     int64 `json:"total_parameters"`
	TrainRows           int64 `json:"train_rows"`
	ValidationRows      int64 `json:"validation_rows"`

	// What was expected before work began, to hold against what came.
	PredictedPeakMemoryBytes int64 `json:"predicted_peak_memory_bytes"`
	PredictedSeconds         Real  `json:"predicted_seconds"` // wall clock

	TuneVersion     string `json:"tune_version"`
	LibtorchVersion string `json:"libtorch_version"`
	GoVersion       string `json:"go_version"`
	GitCommit       string `json:"git_commit"` // of the working directory; empty outside a repository
	GitDirty        bool   `json:"git_dirty"`  // with changes that are not in the commit

	Chip             string `json:"chip"`
	MachineModel     string `json:"machine_model"`
	OS               string `json:"os"`
	Arch             string `json:"arch"`
	Cores            int    `json:"cores"` // physical
	PerformanceCores int    `json:"performance_cores"`
	MemoryBytes      int64  `json:"memory_bytes"` // of the machine

	// Written by CreateRun, StartRun, Heartbeat, FinishRun and the methods named Note; UpdateRun leaves them alone.
	Status          Status    `json:"status"`
	Error           string    `json:"error"` // why the run failed
	PID             int       `json:"pid"`
	Host            string    `json:"host"`                // where that process ran
	Process         string    `json:"process"`             // tells it from a later one with its PID; empty when unknown
	CreatedAt       time.Time `json:"created_at,omitzero"` // CreateRun takes now when zero
	StartedAt       time.Time `json:"started_at,omitzero"`
	HeartbeatAt     time.Time `json:"heartbeat_at,omitzero"`
	EndedAt         time.Time `json:"ended_at,omitzero"`
	WallSeconds     Real      `json:"wall_seconds"` // NaN until the run has ended, and so on
	LoadSeconds     Real      `json:"load_seconds"`
	TrainSeconds    Real      `json:"train_seconds"`
	EvaluateSeconds Real      `json:"evaluate_seconds"`
	SaveSeconds     Real      `json:"save_seconds"`

	Attempts           int    `json:"attempts"`             // processes that have trained it; 0 when unknown
	ResumedFromStep    int64  `json:"resumed_from_step"`    // of the last resume; 0 when never resumed
	BestStep           int64  `json:"best_step"`            // the step that BestValidationLoss was noted at
	BestValidationLoss Real   `json:"best_validation_loss"` // as the trainer noted it; NaN when it has not
	Checkpoint         string `json:"checkpoint"`           // folder of the newest checkpoint; empty when none

	Note string   `json:"note"` // the user's, from SetNote
	Tags []string `json:"tags"` // the user's, from Tag; sorted

	SweepID       string `json:"sweep_id,omitempty"`       // the sweep that it is a trial of
	SweepTrial    int    `json:"sweep_trial,omitempty"`    // from 1
	SweepSettings string `json:"sweep_settings,omitempty"` // the values that this trial tries: a JSON object, keys as in the config

	// The state of the machine, from NoteConditions, and what the run used, from NoteUsage.
	ThermalBefore     string `json:"thermal_before"`    // nominal, moderate, heavy, trapping or sleeping; empty where the system does not tell
	ThermalAfter      string `json:"thermal_after"`     //
	SwapBeforeBytes   int64  `json:"swap_before_bytes"` // of the whole machine; -1 where the system does not tell
	SwapAfterBytes    int64  `json:"swap_after_bytes"`
	LoadAverageBefore Real   `json:"load_average_before"` // threads that want a core, over the last minute; NaN where the system does not tell
	LoadAverageAfter  Real   `json:"load_average_after"`
	OtherCoresBusy    Real   `json:"other_cores_busy"` // that other programs kept busy on average while it ran; NaN when unknown
	EnergyJoules      Real   `json:"energy_joules"`    // NaN when nothing measured it
	EnergySource      string `json:"energy_source"`    // what measured it
}

// description lists the columns that say what a run is.
func (r *Run) description() []column {
	return []column{
		{"id", text[string]{&r.ID}},
		{"name", text[string]{&r.Name}},
		{"method", text[string]{&r.Method}},
		{"model_path", text[string]{&r.ModelPath}},
		{"model_sha256", text[string]{&r.ModelSHA256}},
		{"model_revision", text[string]{&r.ModelRevision}},
		{"data_train", text[string]{&r.DataTrain}},
		{"data_train_sha256", text[string]{&r.DataTrainSHA256}},
		{"data_validation", text[string]{&r.DataValidation}},
		{"data_validation_sha256", text[string]{&r.DataValidationSHA256}},
		{"config", text[string]{&r.Config}},
		{"config_sha256", text[string]{&r.ConfigSHA256}},
		{"seed", &r.Seed},
		{"device", text[string]{&r.Device}},
		{"device_name", text[string]{&r.DeviceName}},
		{"dtype", text[string]{&r.DType}},
		{"threads", maybe[int]{&r.Threads}},
		{"learning_rate", positive{&r.LearningRate}},
		{"batch_size", maybe[int]{&r.BatchSize}},
		{"gradient_accumulation_steps", maybe[int]{&r.GradientAccumulationSteps}},
		{"num_train_epochs", maybe[int]{&r.NumTrainEpochs}},
		{"max_length", maybe[int]{&r.MaxLength}},
		{"lora_rank", maybe[int]{&r.LoRARank}},
		{"lora_alpha", positive{&r.LoRAAlpha}},
		{"total_steps", maybe[int64]{&r.TotalSteps}},
		{"trainable_parameters", maybe[int64]{&r.TrainableParameters}},
		{"total_parameters", maybe[int64]{&r.TotalParameters}},
		{"train_rows", maybe[int64]{&r.TrainRows}},
		{"validation_rows", maybe[int64]{&r.ValidationRows}},
		{"predicted_peak_memory_bytes", maybe[int64]{&r.PredictedPeakMemoryBytes}},
		{"predicted_seconds", positive{&r.PredictedSeconds}},
		{"tune_version", text[string]{&r.TuneVersion}},
		{"libtorch_version", text[string]{&r.LibtorchVersion}},
		{"go_version", text[string]{&r.GoVersion}},
		{"git_commit", text[string]{&r.GitCommit}},
		{"git_dirty", &r.GitDirty},
		{"chip", text[string]{&r.Chip}},
		{"machine_model", text[string]{&r.MachineModel}},
		{"os", text[string]{&r.OS}},
		{"arch", text[string]{&r.Arch}},
		{"cores", maybe[int]{&r.Cores}},
		{"performance_cores", maybe[int]{&r.PerformanceCores}},
		{"memory_bytes", maybe[int64]{&r.MemoryBytes}},
		{"sweep_id", text[string]{&r.SweepID}},
		{"sweep_trial", maybe[int]{&r.SweepTrial}},
		{"sweep_settings", text[string]{&r.SweepSettings}},
	}
}

// life lists the columns that change while a run lives.
func (r *Run) life() []column {
	return []column{
		{"status", text[Status]{&r.Status}},
		{"error", text[string]{&r.Error}},
		{"pid", maybe[int]{&r.PID}},
		{"host", text[string]{&r.Host}},
		{"process", text[string]{&r.Process}},
		{"created_at", utc{&r.CreatedAt}},
		{"started_at", utc{&r.StartedAt}},
		{"heartbeat_at", utc{&r.HeartbeatAt}},
		{"ended_at", utc{&r.EndedAt}},
		{"wall_seconds", &r.WallSeconds},
		{"load_seconds", &r.LoadSeconds},
		{"train_seconds", &r.TrainSeconds},
		{"evaluate_seconds", &r.EvaluateSeconds},
		{"save_seconds", &r.SaveSeconds},
		{"attempts", maybe[int]{&r.Attempts}},
		{"resumed_from_step", maybe[int64]{&r.ResumedFromStep}},
		{"best_step", maybe[int64]{&r.BestStep}},
		{"best_validation_loss", &r.BestValidationLoss},
		{"checkpoint", text[string]{&r.Checkpoint}},
		{"note", text[string]{&r.Note}},
		{"tags", jsonList[string]{&r.Tags}},
		{"thermal_before", text[string]{&r.ThermalBefore}},
		{"thermal_after", text[string]{&r.ThermalAfter}},
		{"swap_before_bytes", orUnknown{&r.SwapBeforeBytes}},
		{"swap_after_bytes", orUnknown{&r.SwapAfterBytes}},
		{"load_average_before", &r.LoadAverageBefore},
		{"load_average_after", &r.LoadAverageAfter},
		{"other_cores_busy", &r.OtherCoresBusy},
		{"energy_joules", &r.EnergyJoules},
		{"energy_source", text[string]{&r.EnergySource}},
	}
}

// NewID makes the id of a run: when (UTC), what, and three random characters against two runs of one second,
// such as 20261121-061500-bluey-k3f. Ids sort by time and are safe as names of folders.
func NewID(name string, at time.Time) string {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789" // without i, l, o, 0 and 1, which are taken for each other
	tail := make([]byte, 3)
	for i := range tail {
		tail[i] = letters[rand.IntN(len(letters))]
	}
	return at.UTC().Format("20060102-150405") + "-" + slug(name) + "-" + string(tail)
}

// slug keeps the letters a to z and digits of a name, with a dash for each stretch of anything else.
func slug(name string) string {
	const maxLength = 32
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	s := strings.Join(words, "-")
	if len(s) > maxLength {
		s = strings.TrimRight(s[:maxLength], "-")
	}
	if s == "" {
		return "run"
	}
	return s
}

// CreateRun writes the row of a run, queued by this process. Fields that are not known yet come later, by [Store.UpdateRun].
// Errors: an id that is empty or taken.
func (s *Store) CreateRun(ctx context.Context, r Run) error {
	doing := "create run " + r.ID
	if r.ID == "" {
		return s.explain("create run", errors.New("no id given (NewID makes one)"))
	}
	r.Status = Queued
	if r.CreatedAt.IsZero() {
		r.CreatedAt = s.now()
	}
	r.PID, r.Host, r.Process, r.HeartbeatAt = os.Getpid(), s.host, s.ownMark(), r.CreatedAt
	columns := append(r.description(), column{"status", text[Status]{&r.Status}}, column{"created_at", utc{&r.CreatedAt}},
		column{"pid", maybe[int]{&r.PID}}, column{"host", text[string]{&r.Host}}, column{"process", text[string]{&r.Process}},
		column{"heartbeat_at", utc{&r.HeartbeatAt}})
	_, err := s.exec(ctx, doing, insert("runs", names(columns)), values(columns)...)
	if e, ok := errors.AsType[sqlite3.Error](err); ok && e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey {
		return s.explain(doing, errors.New("a run with this id exists"))
	}
	return err
}

// UpdateRun writes again everything that describes the run r.ID: what is learned only once model and data are
// loaded. Status, times and endings stay as they are in the file. Errors: [ErrNotFound].
func (s *Store) UpdateRun(ctx context.Context, r Run) error {
	columns := r.description()
	set := strings.Join(names(columns)[1:], "=?, ") + "=?" // all but the id
	args := append(values(columns)[1:], r.ID)
	return s.change(ctx, "update run "+r.ID, "UPDATE runs SET "+set+" WHERE id=?", args...)
}

// StartRun marks the run as running in this process. A run that had ended is taken up again: its earlier ending
// is cleared and started_at kept; [Store.NoteResume] counts it. Of processes that start one run at the same moment one
// does. Errors: [ErrNotFound]; [ErrRunning], also where the run's process is dead and [Store.EndDeadRun] has not said so.
func (s *Store) StartRun(ctx context.Context, id string) error {
	now, mark, doing := s.now(), s.ownMark(), "start run "+id
	n, err := s.exec(ctx, doing, `UPDATE runs SET status='running', pid=?2, heartbeat_at=?3,
		started_at=coalesce(started_at, ?3), ended_at=NULL, error='', host=?4, process=?5, attempts=coalesce(attempts, 1),
		wall_seconds=NULL, load_seconds=NULL, train_seconds=NULL, evaluate_seconds=NULL, save_seconds=NULL, steps_done=NULL
		WHERE id=?1 AND status<>'running'`, id, os.Getpid(), utc{&now}, s.host, mark)
	if err != nil || n > 0 {
		return err
	}
	return s.refused(ctx, doing, id)
}

// Heartbeat says that the run is alive. Call it every few seconds while nothing else is recorded; a step counts
// as a sign of life by itself. A run that [Store.EndDeadRuns] took for dead, after its machine had slept for one, is
// running again. Errors: [ErrNotFound].
func (s *Store) Heartbeat(ctx context.Context, id string) error {
	now := s.now()
	doing := "heartbeat of run " + id
	if err := s.change(ctx, doing, "UPDATE runs SET heartbeat_at=?2 WHERE id=?1", id, utc{&now}); err != nil {
		return err
	}
	_, err := s.exec(ctx, doing, `UPDATE runs SET status='running', error='', ended_at=NULL, steps_done=NULL
		WHERE id=? AND status='interrupted' AND substr(error, 1, length(?2))=?2 AND pid=? AND host=? AND process=?`,
		id, withoutAWord, os.Getpid(), s.host, s.ownMark())
	return err
}

// NoteCheckpoint says where the newest checkpoint of the run lies. Errors: [ErrNotFound].
func (s *Store) NoteCheckpoint(ctx context.Context, id, path string) error {
	return s.change(ctx, "note checkpoint of run "+id, "UPDATE runs SET checkpoint=?2 WHERE id=?1",
		id, text[string]{&path})
}

// NoteBest says which step has the best validation loss so far. Errors: [ErrNotFound].
func (s *Store) NoteBest(ctx context.Context, id string, step int64, loss Real) error {
	return s.change(ctx, "note best step of run "+id,
		"UPDATE runs SET best_step=?2, best_validation_loss=?3 WHERE id=?1", id, step, loss)
}

// NoteResume says that one more process trains the run, going on from a checkpoint made after fromStep. Steps after
// it are replaced as they are made again. Errors: [ErrNotFound].
func (s *Store) NoteResume(ctx context.Context, id string, fromStep int64) error {
	return s.change(ctx, "note resume of run "+id,
		"UPDATE runs SET attempts=coalesce(attempts, 1)+1, resumed_from_step=?2 WHERE id=?1", id, fromStep)
}

// totals sets the columns that hold the sums over a run's steps once it has ended, in an UPDATE of runs.
const totals = `(steps_done, tokens, step_seconds, peak_memory_bytes, device_peak_memory_bytes) =
	(SELECT count(*), sum(tokens), sum(seconds), max(peak_memory_bytes), max(device_peak_memory_bytes)
	FROM steps WHERE run_id=runs.id)`

// Conditions is the state of the machine at one moment. What the system does not tell is empty, -1 or NaN.
type Conditions struct {
	Thermal     string // nominal, moderate, heavy, trapping or sleeping
	SwapBytes   int64  // in use, of the whole machine
	LoadAverage Real   // threads that want a core, over the last minute
}

// NoteConditionsBefore records the state of the machine before a run. Errors: [ErrNotFound].
func (s *Store) NoteConditionsBefore(ctx context.Context, id string, c Conditions) error {
	return s.change(ctx, "note conditions before run "+id, `UPDATE runs SET thermal_before=?2, swap_before_bytes=?3,
		load_average_before=?4 WHERE id=?1`, id, text[string]{&c.Thermal}, orUnknown{&c.SwapBytes}, c.LoadAverage)
}

// NoteConditionsAfter records the state of the machine after a run. Errors: [ErrNotFound].
func (s *Store) NoteConditionsAfter(ctx context.Context, id string, c Conditions) error {
	return s.change(ctx, "note conditions after run "+id, `UPDATE runs SET thermal_after=?2, swap_after_bytes=?3,
		load_average_after=?4 WHERE id=?1`, id, text[string]{&c.Thermal}, orUnknown{&c.SwapBytes}, c.LoadAverage)
}

// Usage is what one process has used for a run. What was not measured is NaN.
type Usage struct {
	EnergyJoules   Real
	EnergySource   string // what measured it
	OtherCoresBusy Real   // that other programs kept busy on average
}

// NoteUsage records what a process has used for a run; energy is added to that of the processes before it.
// Errors: [ErrNotFound].
func (s *Store) NoteUsage(ctx context.Context, id string, u Usage) error {
	return s.change(ctx, "note usage of run "+id, `UPDATE runs SET energy_joules=coalesce(energy_joules + ?2, energy_joules, ?2),
		energy_source=CASE WHEN ?3='' THEN energy_source ELSE ?3 END, other_cores_busy=?4 WHERE id=?1`,
		id, u.EnergyJoules, text[string]{&u.EnergySource}, u.OtherCoresBusy)
}

// SetNote writes the user's note of a run; the empty text removes it. Errors: [ErrNotFound].
func (s *Store) SetNote(ctx context.Context, id, note string) error {
	return s.change(ctx, "note of run "+id, "UPDATE runs SET note=?2 WHERE id=?1", id, text[string]{&note})
}

// Tag gives a run tags and takes others away. Errors: [ErrNotFound].
func (s *Store) Tag(ctx context.Context, id string, add, remove []string) error {
	// In one statement, so that two who tag at the same moment both count.
	return s.change(ctx, "tag run "+id, `UPDATE runs SET tags=(SELECT json_group_array(value) FROM (
		SELECT value FROM json_each(runs.tags) UNION SELECT value FROM json_each(?2)
		EXCEPT SELECT value FROM json_each(?3) ORDER BY 1)) WHERE id=?1`, id, jsonList[string]{&add}, jsonList[string]{&remove})
}

// DeleteRun removes a run with all that belongs to it; benchmarks of its adapter stay. Its files are the caller's to remove,
// before or after. Errors: [ErrNotFound]; [ErrRunning] for one that is running or queued.
func (s *Store) DeleteRun(ctx context.Context, id string) error {
	doing := "delete run " + id
	n, err := s.exec(ctx, doing, "DELETE FROM runs WHERE id=? AND status NOT IN ('running', 'queued')", id)
	if err != nil || n > 0 {
		return err
	}
	return s.refused(ctx, doing, id)
}

// refused says why a run that is there could not be changed: it is running.
func (s *Store) refused(ctx context.Context, doing, id string) error {
	if r, err := s.Run(ctx, id); err == nil && r.ID == id {
		return s.explain(doing, fmt.Errorf("%w, as process %d of %s", ErrRunning, r.PID, r.Host))
	}
	return s.explain(doing, ErrNotFound)
}

// Finish is how a run ended and where its time went. Seconds of a phase that never began are 0.
type Finish struct {
	Status          Status // done, failed, diverged or interrupted
	Error           string // for failed and diverged
	WallSeconds     Real   // from the start of the command to its end
	LoadSeconds     Real   // reading model and data
	TrainSeconds    Real   // optimizer steps
	EvaluateSeconds Real   // validation and samples
	SaveSeconds     Real   // writing adapters or weights
}

// FinishRun writes the ending of a run and moves the log into the file, so that it is safe on the disk.
//
// It goes on when ctx is cancelled: an interrupted run deserves its ending too.
// Errors: [ErrNotFound]; a status that is no ending.
func (s *Store) FinishRun(ctx context.Context, id string, f Finish) error {
	ctx = context.WithoutCancel(ctx)
	doing := "finish run " + id
	if !f.Status.Ended() {
		return s.explain(doing, fmt.Errorf("status %q (want done, failed, diverged or interrupted)", f.Status))
	}
	now := s.now()
	err := s.change(ctx, doing, `UPDATE runs SET status=?2, error=?3, ended_at=?4, heartbeat_at=?4,
		wall_seconds=?5, load_seconds=?6, train_seconds=?7, evaluate_seconds=?8, save_seconds=?9, `+totals+` WHERE id=?1`,
		id, string(f.Status), text[string]{&f.Error}, utc{&now},
		f.WallSeconds, f.LoadSeconds, f.TrainSeconds, f.EvaluateSeconds, f.SaveSeconds)
	if err != nil {
		return err
	}
	return s.checkpoint(ctx)
}
