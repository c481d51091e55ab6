package trainer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tune/datasets"
	"tune/internal/files"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

// State is what a run needs besides its config, its numbers and its files to go on as if it had never stopped.
type State struct {
	Step     int               `json:"step"` // the last one that was made
	Position datasets.Position `json:"position"`
	Updates  int64             `json:"updates"` // of the optimizer
	// Pending is the evaluation that was due behind Step and is not finished; nil when nothing is due.
	Pending *PartialEvaluation `json:"pending,omitempty"`
	Best    *Evaluation        `json:"best,omitempty"` // with the lowest validation loss; nil without one
	Worse   int                `json:"worse"`          // evaluations since Best
	Recent  []float64          `json:"recent"`         // losses of the last steps, oldest first
	Summary Summary            `json:"summary"`
}

// PartialEvaluation is how far an evaluation had come.
type PartialEvaluation struct {
	Batches      int     `json:"batches"` // that are done
	Sum          float64 `json:"sum"`     // of their losses, nats
	TargetTokens int     `json:"target_tokens"`
}

// Identity is what a checkpoint is of: hashes by name, such as that of the training rows. A run goes on only with all of
// them as they were.
type Identity map[string]string

// Checkpoints is the folder of a run's checkpoints, one folder each, named by their steps.
type Checkpoints struct {
	Dir  string
	Keep int // how many of the newest stay, besides the best
	Of   Identity
}

// The files of a checkpoint. The adapter's own files, in PEFT's format, are beside them: a checkpoint can be used like any
// adapter.
const (
	stateFile    = "state.json"
	trainingFile = "training.safetensors" // parameters, exp_avg, exp_avg_sq: flat float32; generator: bytes
	sumsFile     = "SHA256SUMS"           // of all others, as sha256sum writes it: written last
	folderPrefix = "checkpoint-"
)

// saved is state.json.
type saved struct {
	Format   int      `json:"format"`
	SavedAt  string   `json:"saved_at"`
	Identity Identity `json:"identity"`
	State    State    `json:"state"`
}

const format = 1 // of state.json and training.safetensors

// ErrNoCheckpoint is what Newest returns where there is none to go on from.
var ErrNoCheckpoint = errors.New("no checkpoint")

// A Damaged checkpoint is one that was left out, and why.
type Damaged struct {
	Path string
	Err  error
}

// Checkpoint is one that was read and found whole.
type Checkpoint struct {
	Path     string
	State    State
	Identity Identity
}

// Path is where the checkpoint behind a step is.
func (c *Checkpoints) Path(step int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("%s%06d", folderPrefix, step))
}

// Steps lists the steps that have a checkpoint, whole or not, lowest first.
func (c *Checkpoints) Steps() ([]int, error) {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var steps []int
	for _, e := range entries {
		if digits, ok := strings.CutPrefix(e.Name(), folderPrefix); ok && e.IsDir() {
			if step, err := strconv.Atoi(digits); err == nil && step >= 0 {
				steps = append(steps, step)
			}
		}
	}
	slices.Sort(steps)
	return steps, err
}

// Newest returns the last checkpoint that is whole and behind no later step than most; damaged are those that were passed
// over. Errors: [ErrNoCheckpoint].
func (c *Checkpoints) Newest(most int) (_ *Checkpoint, damaged []Damaged, err error) {
	steps, err := c.Steps()
	if err != nil {
		return nil, nil, err
	}
	for _, step := range slices.Backward(steps) {
		if step > most {
			continue
		}
		found, err := readCheckpoint(c.Path(step))
		if err == nil && found.State.Step != step {
			err = fmt.Errorf("it is of step %d", found.State.Step)
		}
		if err == nil {
			return found, damaged, nil
		}
		damaged = append(damaged, Damaged{c.Path(step), err})
	}
	return nil, damaged, fmt.Errorf("%s: %w", c.Dir, ErrNoCheckpoint)
}

// readCheckpoint reads a checkpoint's state after all of its files have been compared with their hashes.
func readCheckpoint(dir string) (*Checkpoint, error) {
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(sums)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || name != filepath.Base(name) || !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("%s: a line is no hash and name: %.80q", sumsFile, line)
		}
		got, _, err := files.SHA256(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if got != sum {
			return nil, fmt.Errorf("%s: its SHA-256 is %.12s..., was %.12s... when it was saved", name, got, sum)
		}
		listed[name] = true
	}
	if !listed[stateFile] || !listed[trainingFile] {
		return nil, fmt.Errorf("%s: lists no %s or no %s", sumsFile, stateFile, trainingFile)
	}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", stateFile, err)
	}
	if s.Format != format {
		return nil, fmt.Errorf("%s: has format %d, this tune reads %d", stateFile, s.Format, format)
	}
	return &Checkpoint{Path: dir, State: s.State, Identity: s.Identity}, nil
}

// Differences compares what something was made from with what there is now, a line for each hash that differs.
func (was Identity) Differences(now Identity) []string {
	var lines []string
	for _, name := range slices.Sorted(keysOf(was, now)) {
		if was[name] != now[name] {
			lines = append(lines, fmt.Sprintf("%s: its SHA-256 is %s, was %s", name, short(now[name]), short(was[name])))
		}
	}
	return lines
}

func keysOf(maps ...Identity) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range maps {
			for name := range m {
				if !seen[name] && !yield(name) {
					return
				}
				seen[name] = true
			}
		}
	}
}

func short(sum string) string {
	if sum == "" {
		return "none"
	}
	return fmt.Sprintf("%.12s...", sum)
}

// save writes the checkpoint of a state: under another name first, synced, then renamed.
func (c *Checkpoints) save(s *torch.Scope, l *Learner, state State, base string, at time.Time) (path string, err error) {
	path = c.Path(state.Step)
	err = files.ReplaceDir(path, func(dir string) error {
		if l.adapter != nil {
			if err := l.adapter.Save(s, filepath.Join(dir, "adapter"), base); err != nil {
				return err
			}
			if err := lift(filepath.Join(dir, "adapter"), dir); err != nil {
				return err
			}
		}
		if err := l.saveNumbers(s, filepath.Join(dir, trainingFile)); err != nil {
			return err
		}
		b, err := json.MarshalIndent(saved{format, at.UTC().Format(time.RFC3339Nano), c.Of, state}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, stateFile), append(b, '\n'), 0o644); err != nil {
			return err
		}
		return writeSums(dir)
	})
	if err != nil {
		return "", fmt.Errorf("save %s: %w", path, err)
	}
	return path, nil
}

// lift moves the files of a folder into the one around it.
func lift(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(from)
}

func writeSums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, e := range entries {
		sum, _, err := files.SHA256(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, e.Name())
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(sums.String()), 0o644)
}

// prune removes what is older than the newest Keep checkpoints, but not the best, and what a process that died while it
// saved has left.
func (c *Checkpoints) prune(best int) error {
	steps, err := c.Steps()
	if err != nil {
		return err
	}
	for _, step := range steps[:max(0, len(steps)-c.Keep)] {
		if step != best {
			if err := os.RemoveAll(c.Path(step)); err != nil {
				return fmt.Errorf("remove an old checkpoint: %w", err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(c.Dir, "."+folderPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// numbers are the tensors of training.safetensors that have one number for each that is trained.
func (l *Learner) numbers(s *torch.Scope) map[string]torch.Tensor {
	m, v := l.flat.Moments(s)
	return map[string]torch.Tensor{"parameters": l.flat.Data, "exp_avg": m, "exp_avg_sq": v}
}

// piece is how many numbers are copied between device and file at a time.
const piece = 4 << 20

func (l *Learner) saveNumbers(s *torch.Scope, path string) error {
	var tensors []safetensors.Tensor
	for name, t := range l.numbers(s) {
		tensors = append(tensors, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: t.Shape(), Data: func(w io.Writer) error {
			for at := int64(0); at < t.Len(); at += piece {
				err := s.Nest(func(s *torch.Scope) error {
					b := s.ReadBytes(s.Narrow(t, 0, at, min(piece, t.Len()-at)))
					if err := s.Err(); err != nil {
						return err
					}
					_, err := w.Write(b)
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		}})
	}
	err := s.Nest(func(s *torch.Scope) error {
		generator := s.ReadBytes(s.GeneratorState(l.model.Device))
		if err := s.Err(); err != nil {
			return err
		}
		tensors = append(tensors, safetensors.Tensor{Name: "generator", DType: safetensors.U8, Shape: []int64{int64(len(generator))},
			Data: safetensors.FromBytes(generator)})
		return nil
	})
	if err != nil {
		return err
	}
	return safetensors.Write(path, tensors, nil)
}

// restore puts a checkpoint's numbers where they were.
func (l *Learner) restore(s *torch.Scope, c *Checkpoint) error {
	path := filepath.Join(c.Path, trainingFile)
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for name, t := range l.numbers(s) {
		info, ok := f.Info(name)
		if !ok || info.DType != safetensors.F32 || !slices.Equal(info.Shape, t.Shape()) {
			return fmt.Errorf("%s: %s has shape %v, want %s numbers %v: is it of another adapter?", path, name, info.Shape, safetensors.F32, t.Shape())
		}
		b, _ := f.Bytes(name)
		for at := int64(0); at < t.Len(); at += piece {
			n := min(piece, t.Len()-at)
			err := s.Nest(func(s *torch.Scope) error {
				s.Copy(s.Narrow(t, 0, at, n), s.Bytes(b[4*at:4*(at+n)], torch.Float32, []int64{n}, torch.Float32, l.model.Device, safetensors.Release))
				return s.Err()
			})
			if err != nil {
				return err
			}
		}
	}
	generator, ok := f.Bytes("generator")
	if !ok {
		return fmt.Errorf("%s: has no state of the random generator", path)
	}
	l.flat.SetSteps(c.State.Updates)
	return s.Nest(func(s *torch.Scope) error {
		s.SetGeneratorState(l.model.Device, s.UInt8s(generator))
		return s.Err()
	})
}
