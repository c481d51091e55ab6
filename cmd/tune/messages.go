package main

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"tune/internal/files"
	"tune/internal/runstore"
	"tune/internal/torch"
	"tune/trainer"
)

// A run is two processes. The supervisor owns the database, the screen and the signals; the worker loads, trains and saves.
// What kills the worker, Metal giving up or the system short of memory, leaves the supervisor to say so and to go on.
//
//	supervisor -> worker, its standard input: an order, then "stop" and "synced N", a line each; its end is the supervisor's
//	worker -> supervisor, file descriptor 3: messages, in gob, which unlike JSON has numbers that are not finite

// order is what a worker is to do.
type order struct {
	Config     string // resolved, YAML
	Run        runstore.Run
	Force      bool // run what does not fit
	MicroBatch int  // rows of a batch at a time; 0 for all
	Resume     bool // go on from a checkpoint where there is one
	LastStep   int  // the last that is recorded: a checkpoint behind a later one would leave a hole
	StopAfter  int  // end after this step, with a checkpoint; 0 for the whole run
}

// message is one thing that a worker tells; one field is set.
type message struct {
	Run        *runstore.Run // the row as it is known now
	Started    *started
	Step       *trainer.StepMetrics
	Evaluation *trainer.Evaluation
	Sample     *trainer.SampleText
	Event      *trainer.Event
	Checkpoint *trainer.SavedCheckpoint
	Artifact   *runstore.Artifact
	Sync       int64 // wants "synced" with this number when all before is recorded
	End        *ending
}

// started says what is about to be trained.
type started struct {
	Plan *planReport
	From int // the step of the checkpoint that it goes on from; 0 from the beginning
}

// ending is the last message.
type ending struct {
	Failure         *failure // nil when all went well
	Summary         trainer.Summary
	Loading, Saving time.Duration
	Artifact        string // the adapter or model that was saved
}

// failure is an error on its way from one process to another.
type failure struct {
	Text, Hint string
	BadInput   bool
	Kind       failureKind
}

type failureKind string

const (
	failed      failureKind = "failed"
	interrupted failureKind = "interrupted"
	asOrdered   failureKind = "stopped" // after the step that its order named
	diverged    failureKind = "diverged"
	outOfMemory failureKind = "out of memory"
)

// failureOf describes an error; nil gives nil.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error(), Hint: hintOf(err), BadInput: isBadInput(err), Kind: failed}
	if b, ok := errors.AsType[*bug](err); ok {
		f.Text += "\n" + string(b.stack)
	}
	_, spoiled := errors.AsType[*trainer.DivergedError](err)
	switch {
	case spoiled:
		f.Kind = diverged
	case errors.Is(err, trainer.ErrStopped):
		f.Kind = asOrdered
	case errors.Is(err, trainer.ErrInterrupted):
		f.Kind = interrupted
	case errors.Is(err, torch.ErrOutOfMemory):
		f.Kind = outOfMemory
	}
	return f
}

// Error makes a failure an error again, in the process that reports it.
func (f *failure) Error() string { return f.Text }

// explained returns the failure with its hint and its exit code.
func (f *failure) explained() error {
	switch {
	case f == nil:
		return nil
	case f.BadInput:
		return badInput{f, f.Hint}
	case f.Hint != "":
		return hinted{f, f.Hint}
	}
	return f
}

// unrecordedFile holds what a worker could tell nobody: its supervisor was gone.
const unrecordedFile = "unrecorded.gob"

// leaveUnrecorded puts messages into a run's folder for the next supervisor.
func leaveUnrecorded(dir string, messages []message) error {
	var b bytes.Buffer
	encoder := gob.NewEncoder(&b)
	for _, m := range messages {
		if err := encoder.Encode(m); err != nil {
			return err
		}
	}
	return files.ReplaceFile(filepath.Join(dir, unrecordedFile), func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err })
}

// takeUnrecorded hands over what leaveUnrecorded has left, and removes it when all of it is recorded.
func takeUnrecorded(dir string, record func(message) error) error {
	path := filepath.Join(dir, unrecordedFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	decoder := gob.NewDecoder(bytes.NewReader(b))
	for {
		var m message
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return os.Remove(path)
		} else if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := record(m); err != nil {
			return err
		}
	}
}
