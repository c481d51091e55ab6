package runstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// storedTables are the tables with what orders their rows.
var storedTables = map[string]string{"runs": "id", "steps": "run_id, step", "evaluations": "run_id, step",
	"samples": "run_id, step", "artifacts": "run_id, path", "events": "id", "benchmarks": "id", "sweeps": "id"}

// story is a database to damage: its bytes and its rows as text, by table.
type story struct {
	file []byte
	rows map[string][]string
}

// newStory has runs of every ending, texts that fill many pages, and tables of many levels.
func newStory(t *testing.T) *story {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "runs.db"))
	must(t, err)
	fill(t, s, time.Now())
	s.now = func() time.Time { return noon }
	ctx := t.Context()
	r := fullRun("20261121-120000-long-abc")
	r.Config, r.TotalSteps = strings.Repeat("a long config\n", 1000), 400
	must(t, s.CreateRun(ctx, r), s.StartRun(ctx, r.ID))
	for step := range int64(400) {
		must(t, s.RecordStep(ctx, r.ID, Step{Step: step + 1, Loss: Real(step), Epoch: 1, Seconds: 0.5, Tokens: 10, GradNorm: 2}))
	}
	for step := range int64(30) {
		must(t, s.RecordSample(ctx, r.ID, Sample{Step: 10 * step, Prompt: "Why?", Reply: strings.Repeat("Because. ", int(20*step))}),
			s.RecordEvent(ctx, r.ID, Event{Step: step, Kind: "note", Message: strings.Repeat("x", 200)}))
	}
	must(t, s.CreateSweep(ctx, Sweep{ID: "20261121-120000-rates-abc", Trials: 3, Name: "rates", Goal: "loss", Config: strings.Repeat("a: b\n", 1000)}))
	must(t, s.FinishRun(ctx, r.ID, Finish{Status: Done, WallSeconds: 9}), s.Close())
	b, err := os.ReadFile(s.Path())
	must(t, err)
	return &story{b, readRows(t, s.Path())}
}

// readRows returns the rows of each table as text.
func readRows(t *testing.T, path string) map[string][]string {
	t.Helper()
	s, err := OpenReadOnly(path)
	must(t, err)
	defer s.Close()
	out := map[string][]string{}
	for table, order := range storedTables {
		rows, err := s.db.Query("SELECT * FROM " + table + " ORDER BY " + order)
		if table == "runs" { // its sums are over the steps that are there
			rows, err = s.db.Query("SELECT " + strings.Join(names(append(new(Run).description(), new(Run).life()...)), ", ") + " FROM runs ORDER BY id")
		}
		must(t, err)
		defer rows.Close()
		columns, err := rows.Columns()
		must(t, err)
		row, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			pointers[i] = &row[i]
		}
		for rows.Next() {
			must(t, rows.Scan(pointers...))
			out[table] = append(out[table], fmt.Sprint(row...))
		}
		must(t, rows.Err())
	}
	return out
}

// salvaged damages a database, salvages it, and returns what was saved; nil when that was nothing. The damaged file
// must stay as it is, and the new one be sound.
func salvaged(t *testing.T, file, wal []byte) (*Salvaged, map[string][]string) {
	t.Helper()
	dir := t.TempDir()
	path, out := filepath.Join(dir, "runs.db"), filepath.Join(dir, "new.db")
	must(t, os.WriteFile(path, file, 0o644))
	if wal != nil {
		must(t, os.WriteFile(path+"-wal", wal, 0o644))
	}
	got, err := Salvage(t.Context(), path, out)
	if now, _ := os.ReadFile(path); !bytes.Equal(now, file) {
		t.Fatal("the damaged file was changed")
	}
	if now, _ := os.ReadFile(path + "-wal"); !bytes.Equal(now, wal) {
		t.Fatal("its log was changed")
	}
	entries, rerr := os.ReadDir(dir)
	must(t, rerr)
	left := 1
	if wal != nil {
		left++
	}
	if errors.Is(err, ErrDamaged) {
		if len(entries) != left {
			t.Fatalf("nothing was saved, and the folder holds %v", entries)
		}
		return nil, nil
	}
	must(t, err)
	if len(entries) != left+1 {
		t.Fatalf("the folder holds %v, want the new database beside the damaged one", entries)
	}
	if problems, err := Check(t.Context(), out); err != nil || len(problems) > 0 {
		t.Fatalf("the new database is not sound: %v, %v", problems, err)
	}
	return got, readRows(t, out)
}

// missing compares rows with those that there were: how many are lost, and which are none of them.
func (s *story) missing(rows map[string][]string) (lost int, strange []string) {
	for table, all := range s.rows {
		lost += len(all)
		for _, row := range rows[table] {
			if slices.Contains(all, row) {
				lost--
			} else {
				strange = append(strange, row)
			}
		}
	}
	return lost, strange
}

func TestSalvageOfASoundDatabaseIsACopy(t *testing.T) {
	s := newStory(t)
	got, rows := salvaged(t, s.file, nil)
	if lost, strange := s.missing(rows); lost > 0 || strange != nil {
		t.Errorf("%d rows lost, and these appeared: %q", lost, strange)
	}
	if got.Losses != nil {
		t.Errorf("losses %v, want none", got.Losses)
	}
	for _, x := range got.Tables {
		if x.Rows != len(s.rows[x.Table]) {
			t.Errorf("%d rows of %s, want %d", x.Rows, x.Table, len(s.rows[x.Table]))
		}
	}
}

func TestOneDamagedPageCostsNoMoreThanItsRows(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	const size, most = 4096, 70 // rows of steps, the shortest, in a page
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	for at := 0; at < len(s.file); at += size {
		for name, bad := range map[string][]byte{"zeros": make([]byte, size), "noise": noise} {
			if name == "noise" && at/size%4 != 0 { // zeros go everywhere
				continue
			}
			file := slices.Clone(s.file)
			copy(file[at:], bad)
			got, rows := salvaged(t, file, nil)
			if got == nil {
				t.Fatalf("page %d of %s: nothing was saved", at/size+1, name)
			}
			lost, strange := s.missing(rows)
			stubs := 0
			for _, loss := range got.Losses {
				if strings.HasPrefix(loss.Missing[0], "its settings") {
					stubs++
				}
			}
			if lost > most || len(strange) > stubs {
				t.Errorf("page %d of %s: %d rows lost; %d runs in part; these are new: %q", at/size+1, name, lost, stubs, strange)
			}
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	s := newStory(t)
	file := slices.Clone(s.file)
	const size = 4096
	for at := size; at < len(file); at += size { // a page of the middle of the long run's steps
		page := file[at : at+size]
		if page[0] == 10 && bytes.Count(page, []byte("20261121-120000-long-abc")) > 35 {
			clear(page)
			break
		}
	}
	got, _ := salvaged(t, file, nil)
	var text []string
	for _, loss := range got.Losses {
		text = append(text, loss.RunID+": "+strings.Join(loss.Missing, ", "))
	}
	if len(text) != 1 || !strings.HasPrefix(text[0], "20261121-120000-long-abc: steps ") {
		t.Errorf("losses %q, want steps of the long run", text)
	}
}

func TestSalvageOfAFileThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	before := len(s.file) * 1000 // more rows than there are
	for _, part := range []int{100, 99, 90, 75, 50, 25, 10, 5} {
		length := len(s.file) * part / 100
		got, rows := salvaged(t, s.file[:length], nil)
		if got == nil {
			if part > 25 {
				t.Errorf("%d percent: nothing was saved", part)
			}
			continue
		}
		lost, _ := s.missing(rows)
		saved := 0
		for _, all := range rows {
			saved += len(all)
		}
		if saved > before {
			t.Errorf("%d percent: %d rows, more than of a longer file", part, saved)
		}
		if before = saved; part == 100 && lost > 0 || part >= 50 && saved < 100 {
			t.Errorf("%d percent: %d rows saved, %d lost", part, saved, lost)
		}
	}
	for _, length := range []int{0, 1, 15, 16, 99, 100, 4096} {
		if got, _ := salvaged(t, s.file[:length], nil); got != nil {
			t.Errorf("%d bytes: %v, want nothing", length, got)
		}
	}
}

func TestADamagedHeaderLosesNothing(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	for name, damage := range map[string]func(b []byte){
		"magic":         func(b []byte) { copy(b, "garbage") },
		"all zeros":     func(b []byte) { clear(b[:100]) },
		"all ones":      func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, 100)) },
		"page size":     func(b []byte) { b[16], b[17] = 3, 3 },
		"page count":    func(b []byte) { copy(b[28:], []byte{0, 0, 0, 1}) },
		"the free list": func(b []byte) { copy(b[32:], []byte{0, 0, 0, 3, 0, 0, 0, 9}) },
		"other program": func(b []byte) { copy(b[68:], "cats") },
		"the schema":    func(b []byte) { clear(b[100:4096]) },
	} {
		file := slices.Clone(s.file)
		damage(file)
		_, rows := salvaged(t, file, nil)
		if lost, strange := s.missing(rows); name != "the free list" && (lost > 0 || strange != nil) {
			t.Errorf("%s: %d rows lost, and these appeared: %q", name, lost, strange)
		}
	}
}

func TestSalvageAnywhereNeverFails(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	random := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		file := slices.Clone(s.file)
		for range 1 + random.IntN(20) { // stretches of noise
			at := random.IntN(len(file))
			for i := range min(random.IntN(300), len(file)-at) {
				file[at+i] = byte(random.Uint32())
			}
		}
		if got, _ := salvaged(t, file, nil); got == nil {
			t.Error("nothing was saved")
		}
	}
}

func TestSalvageReadsTheLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "runs.db")
	cmd, out := started(t, "write", path)
	for range 150 {
		if !out.Scan() {
			t.Fatal("the writer ended by itself")
		}
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	file, err := os.ReadFile(path)
	must(t, err)
	wal, err := os.ReadFile(path + "-wal")
	must(t, err)

	_, rows := salvaged(t, file, wal)
	all := readRows(t, path) // as SQLite reads it
	want := &story{rows: all}
	if lost, strange := want.missing(rows); lost > 0 || strange != nil {
		t.Fatalf("%d rows lost, and these appeared: %q", lost, strange)
	}

	for name, damage := range map[string]func(wal []byte) []byte{
		"missing":    func([]byte) []byte { return nil },
		"empty":      func([]byte) []byte { return []byte{} },
		"cut off":    func(wal []byte) []byte { return wal[:len(wal)/2+77] },
		"no header":  func(wal []byte) []byte { clear(wal[:32]); return wal },
		"a bad byte": func(wal []byte) []byte { wal[len(wal)/2] ^= 0xff; return wal },
		"a hole":     func(wal []byte) []byte { clear(wal[len(wal)/3 : len(wal)/2]); return wal },
		"noise": func(wal []byte) []byte {
			for i := range wal {
				wal[i] = byte(i * i >> 3)
			}
			return wal
		},
	} {
		got, rows := salvaged(t, file, damage(slices.Clone(wal)))
		steps := len(rows["steps"])
		for _, row := range rows["steps"] {
			if !slices.Contains(all["steps"], row) {
				t.Errorf("%s: a step that nobody wrote: %s", name, row)
			}
		}
		// A page is written anew with each row, so one frame of many is rarely missed.
		switch name {
		case "no header", "a bad byte", "a hole":
			if got == nil || steps < len(all["steps"])-2 {
				t.Errorf("%s: %d steps, want nearly all %d", name, steps, len(all["steps"]))
			}
		case "cut off":
			if got == nil || steps < 50 {
				t.Errorf("%s: %d steps, want the earlier ones", name, steps)
			}
		}
	}
}

func TestSalvageOverwritesNothing(t *testing.T) {
	s := newStory(t)
	dir := t.TempDir()
	path, out := filepath.Join(dir, "runs.db"), filepath.Join(dir, "new.db")
	must(t, os.WriteFile(path, s.file, 0o644))
	for _, name := range []string{out, out + "-wal", path} {
		must(t, os.WriteFile(name, []byte("mine"), 0o644))
		target := out
		if name == path {
			target = path
		}
		if _, err := Salvage(t.Context(), path, target); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v, want ErrExist", name, err)
		}
		if b, _ := os.ReadFile(name); string(b) != "mine" {
			t.Errorf("%s was overwritten", name)
		}
		must(t, os.Remove(name))
	}
}

func TestCheckFindsDamage(t *testing.T) {
	s := newStory(t)
	path := filepath.Join(t.TempDir(), "runs.db")
	check := func(file []byte) []string {
		t.Helper()
		must(t, os.WriteFile(path, file, 0o644))
		problems, err := Check(t.Context(), path)
		must(t, err)
		return problems
	}
	if problems := check(s.file); problems != nil {
		t.Errorf("a sound file: %q", problems)
	}
	for _, length := range []int{0, 50, 4096, len(s.file) / 2, len(s.file) - 4096} {
		if problems := check(s.file[:length]); len(problems) == 0 {
			t.Errorf("cut off at %d: no problem", length)
		}
	}
	found := 0
	for at := 0; at < len(s.file); at += 4096 {
		file := slices.Clone(s.file)
		clear(file[at : at+4096])
		if problems := check(file); len(problems) > 0 {
			found++
		}
	}
	// A page of a text that goes on in it may hold anything.
	if pages := len(s.file) / 4096; found < pages/2 {
		t.Errorf("%d of %d damaged pages were noticed", found, pages)
	}

	db, err := Open(path + "2")
	must(t, err)
	must(t, db.CreateRun(t.Context(), Run{ID: "a"}), db.RecordStep(t.Context(), "a", Step{Step: 1}))
	_, err = db.db.Exec("PRAGMA foreign_keys=off; DELETE FROM runs")
	must(t, err, db.Close())
	if problems, err := Check(t.Context(), path+"2"); err != nil || fmt.Sprint(problems) != "[steps: row of a run that is not there]" {
		t.Errorf("a step without its run: %q, %v", problems, err)
	}
	if _, err := Check(t.Context(), path+"3"); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("no file: %v, want ErrNoDatabase", err)
	}
}
