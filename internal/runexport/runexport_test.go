package runexport

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"tune/internal/runstore"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 250e6, time.UTC)

// newStore has two runs, one with a loss that broke and texts that files of other programs must survive.
func newStore(t *testing.T) *runstore.Store {
	t.Helper()
	s, err := runstore.Open(filepath.Join(t.TempDir(), "runs.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx := t.Context()
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, id := range []string{"a", "b"} {
		must(s.CreateRun(ctx, runstore.Run{ID: id, Name: "say, \"hi\"\nto " + id, CreatedAt: noon, LoRARank: 8 * i, LearningRate: 0.5}), s.StartRun(ctx, id),
			s.RecordEvaluation(ctx, id, runstore.Evaluation{Step: 0, Loss: 5, At: noon}),
			s.RecordStep(ctx, id, runstore.Step{Step: 1, Loss: 4.25, LearningRate: 0.25, GradNorm: 1.5, Tokens: 100, Seconds: 2, MemoryBytes: 7, At: noon.Add(time.Second)}),
			s.RecordStep(ctx, id, runstore.Step{Step: 2, Loss: runstore.Real(math.NaN()), Tokens: 100, Seconds: 2, At: noon.Add(2 * time.Second)}),
			s.RecordEvaluation(ctx, id, runstore.Evaluation{Step: 2, Loss: 3, At: noon.Add(3 * time.Second)}),
			s.RecordSample(ctx, id, runstore.Sample{Step: 2, PromptIndex: 1, Prompt: "Why?", Reply: "Ünder 🐶 <b>", At: noon}))
	}
	return s
}

func TestCSV(t *testing.T) {
	s := newStore(t)
	for _, table := range runstore.RunTables {
		columns, err := s.TableColumns(t.Context(), table)
		if err != nil || len(columns) < 5 {
			t.Fatalf("%s: %d columns, %v", table, len(columns), err)
		}
		var out bytes.Buffer
		n, err := CSV(t.Context(), &out, s, table, columns, []string{"b", "a"})
		rows, rerr := csv.NewReader(&out).ReadAll()
		if err != nil || rerr != nil || len(rows) != n+1 || rows[0][0] != columns[0].Name {
			t.Fatalf("%s: %d rows read of %d, %v, %v", table, len(rows), n, err, rerr)
		}
		if table == "runs" && (n != 2 || rows[1][0] != "b" || rows[2][1] != "say, \"hi\"\nto a") {
			t.Errorf("runs: %q", rows)
		}
		if table == "steps" {
			at := func(row int, name string) string {
				for i, c := range columns {
					if c.Name == name {
						return rows[row][i]
					}
				}
				return "none"
			}
			if got := strings.Join([]string{at(1, "loss"), at(1, "tokens_per_second"), at(2, "loss"), at(2, "loss_note"), at(1, "at")}, " "); got != "4.25 50  NaN 2026-11-21T12:00:01.250Z" {
				t.Errorf("steps: %s", got)
			}
		}
	}
}

// TestParquet reads back what was written with the library's own reader.
func TestParquet(t *testing.T) {
	s := newStore(t)
	for _, table := range runstore.RunTables {
		columns, err := s.TableColumns(t.Context(), table)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		n, err := Parquet(t.Context(), &out, s, table, columns, []string{"a", "b"})
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil || f.NumRows() != int64(n) || len(f.Schema().Columns()) != len(columns) {
			t.Fatalf("%s: %v, %d rows, want %d", table, err, f.NumRows(), n)
		}
		want := []map[string]string{}
		if err := s.Dump(t.Context(), table, []string{"a", "b"}, func(columns []runstore.TableColumn, row []any) error {
			cells := map[string]string{}
			for i, c := range columns {
				cells[c.Name] = fmt.Sprint(row[i])
				if text, ok := row[i].(string); ok && isTime(c) {
					at, err := time.Parse(time.RFC3339, text)
					if err != nil {
						return err
					}
					cells[c.Name] = fmt.Sprint(at.UnixMilli())
				}
			}
			want = append(want, cells)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		got := []map[string]string{}
		for _, group := range f.RowGroups() {
			rows, buffer := group.Rows(), make([]parquet.Row, 100)
			for {
				k, err := rows.ReadRows(buffer)
				for _, row := range buffer[:k] {
					cells := map[string]string{}
					for _, v := range row {
						cells[f.Schema().Columns()[v.Column()][0]] = strings.Replace(v.String(), "<null>", "<nil>", 1)
					}
					got = append(got, cells)
				}
				if err != nil {
					break
				}
			}
			rows.Close()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-database +file):\n%s", table, diff)
		}
	}
}

// TestEvents reads the file back by the formats' own documents, not with what wrote it.
func TestEvents(t *testing.T) {
	s := newStore(t)
	steps, _ := s.Steps(t.Context(), "a")
	evaluations, _ := s.Evaluations(t.Context(), "a")
	samples, _ := s.Samples(t.Context(), "a")
	var out bytes.Buffer
	if err := Events(&out, steps, evaluations, samples, noon); err != nil {
		t.Fatal(err)
	}
	var got []string
	for b := out.Bytes(); len(b) > 0; {
		length := binary.LittleEndian.Uint64(b)
		data := b[12 : 12+length]
		for name, pair := range map[string][2]uint32{
			"length": {binary.LittleEndian.Uint32(b[8:]), unmasked(b[:8])},
			"data":   {binary.LittleEndian.Uint32(b[12+length:]), unmasked(data)},
		} {
			if pair[0] != pair[1] {
				t.Fatalf("checksum of the %s: %#x, want %#x", name, pair[0], pair[1])
			}
		}
		got = append(got, describe(t, data))
		b = b[16+length:]
	}
	want := []string{
		`12:00:00.250 step 0 version "brain.Event:2"`,
		`12:00:00.250 step 0 loss/validation 5`,
		`12:00:01.250 step 1 loss/train 4.25`,
		`12:00:01.250 step 1 learning_rate 0.25`,
		`12:00:01.250 step 1 grad_norm 1.5`,
		`12:00:01.250 step 1 tokens_per_second 50`,
		`12:00:01.250 step 1 memory_bytes 7`,
		`12:00:02.250 step 2 learning_rate 0`,
		`12:00:02.250 step 2 grad_norm 0`,
		`12:00:02.250 step 2 tokens_per_second 50`,
		`12:00:03.250 step 2 loss/validation 3`,
		`12:00:00.250 step 2 sample/01 text "**Why?**\n\nÜnder 🐶 <b>"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// unmasked is the checksum that the frame of a record has.
func unmasked(b []byte) uint32 {
	crc := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return ((crc >> 15) | (crc << 17)) + 0xa282ead8
}

// parsed is a protocol buffer by field: each value as its bytes, and numbers as themselves.
type parsed map[int][]any

func parse(t *testing.T, b []byte) parsed {
	t.Helper()
	out := parsed{}
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		b = b[n:]
		field := int(key >> 3)
		switch key & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			out[field], b = append(out[field], v), b[n:]
		case 1:
			out[field], b = append(out[field], math.Float64frombits(binary.LittleEndian.Uint64(b))), b[8:]
		case 2:
			size, n := binary.Uvarint(b)
			out[field], b = append(out[field], b[n:n+int(size)]), b[n+int(size):]
		case 5:
			out[field], b = append(out[field], math.Float32frombits(binary.LittleEndian.Uint32(b))), b[4:]
		default:
			t.Fatalf("wire type %d", key&7)
		}
	}
	return out
}

// describe writes an Event as text.
func describe(t *testing.T, b []byte) string {
	event := parse(t, b)
	seconds := event[1][0].(float64)
	step := uint64(0)
	if event[2] != nil {
		step = event[2][0].(uint64)
	}
	text := fmt.Sprintf("%s step %d", time.UnixMilli(int64(math.Round(seconds*1000))).UTC().Format("15:04:05.000"), step)
	if event[3] != nil {
		return fmt.Sprintf("%s version %q", text, event[3][0])
	}
	value := parse(t, parse(t, event[5][0].([]byte))[1][0].([]byte))
	text += " " + string(value[1][0].([]byte))
	if value[2] != nil {
		return fmt.Sprintf("%s %g", text, value[2][0])
	}
	plugin := parse(t, parse(t, value[9][0].([]byte))[1][0].([]byte))
	tensor := parse(t, value[8][0].([]byte))
	if tensor[1][0].(uint64) != 7 {
		t.Errorf("dtype %v, want DT_STRING", tensor[1][0])
	}
	return fmt.Sprintf("%s %s %q", text, plugin[1][0], tensor[8][0])
}
