// Package runstore keeps the record of every run in one SQLite file, runs.db.
//
// A run is one row of runs. Around it lie its steps (one row an optimizer step), evaluations, samples,
// artifacts and events. The row of the run is written before the first step, so that a run that dies has left
// what it was; the tables and every column are described in docs/runs-db.md.
//
// One process writes a run over one connection. The file is in WAL mode: any number of readers, in this process
// or another, see the last finished write and never hold the writer up. A row whose Record call has returned
// survives the death of the process; the loss of power can take the rows since the last checkpoint of the file,
// which FinishRun makes.
//
// A float that is not a finite number is NULL in the file and NaN in Go (see [Real]); the loss keeps the reason
// in loss_note. Times are UTC with milliseconds.
package runstore
