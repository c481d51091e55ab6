package runstore

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const docsPath = "../../docs/runs-db.md"

// fill writes runs of every kind and ending over the three days before now.
func fill(t *testing.T, s *Store, now time.Time) {
	t.Helper()
	for i, f := range []struct {
		id, name, method, device string
		rank                     int
		status                   Status
		validation               []Real // after every tenth step, from step 0
	}{
		{"early", "bluey", "lora", "cpu", 8, Done, []Real{5, 4, 3.5, 3.25}},
		{"overfit", "original", "full", "mps", 0, Done, []Real{5, 3, 3.5, 4}},
		{"failed", "bluey", "lora", "cuda", 16, Failed, []Real{5}},
		{"diverged", "bluey", "lora", "mps", 16, Diverged, []Real{5, Real(math.NaN())}},
		{"interrupted", "bluey", "lora", "mps", 16, Interrupted, []Real{5, 4}},
		{"queued", "bluey", "lora", "mps", 16, Queued, nil},
		{"last", "bluey", "lora", "mps", 16, Done, []Real{5, 4, 3, 3.01}}, // up again, but by less than one percent
	} {
		created := now.Add(time.Duration(i-7) * 10 * time.Hour)
		clock := created
		s.now = func() time.Time { return clock }
		ctx, r := t.Context(), fullRun(f.id)
		r.Name, r.Method, r.Device, r.LoRARank, r.TotalSteps = f.name, f.method, f.device, f.rank, 30
		r.LoRAAlpha = Real(2 * f.rank)
		must(t, s.CreateRun(ctx, r))
		if f.status == Queued {
			continue
		}
		must(t, s.StartRun(ctx, f.id))
		for k, loss := range f.validation {
			step := int64(10 * k)
			must(t, s.RecordEvaluation(ctx, f.id, Evaluation{Step: step, Loss: loss, TargetTokens: 500, Seconds: 1}),
				s.RecordSample(ctx, f.id, Sample{Step: step, Prompt: "Why?", Reply: fmt.Sprint("Reply ", step)}))
			if k == 0 {
				continue
			}
			for n := step - 9; n <= step; n++ {
				clock = clock.Add(time.Second)
				x := Step{Step: n, Loss: 5 - Real(n)/10, LearningRate: 1e-4, GradNorm: 1, TargetTokens: 200, Tokens: 400,
					Seconds: 1, MemoryBytes: 1 << 30, PeakMemoryBytes: 2 << 30}
				if f.device != "cpu" {
					x.DeviceMemoryBytes, x.DevicePeakMemoryBytes = 3<<30, 4<<30
				}
				if n == step && !loss.Finite() {
					x.Loss = loss
				}
				must(t, s.RecordStep(ctx, f.id, x))
			}
		}
		must(t, s.RecordEvent(ctx, f.id,
			Event{Step: 3, Level: LevelWarning, Kind: "fallback", Message: "aten::x on the CPU"}),
			s.RecordArtifact(ctx, f.id, Artifact{Kind: "adapter", Path: "runs/" + f.id}))
		end := Finish{Status: f.status, WallSeconds: 40, LoadSeconds: 3, TrainSeconds: 30, EvaluateSeconds: 4, SaveSeconds: 1}
		if f.status == Failed || f.status == Diverged {
			end.Error = "what went wrong"
		}
		must(t, s.FinishRun(ctx, f.id, end))
	}
	// Twice on one machine, so that only the later one counts, and once with an adapter.
	for i, perSecond := range []Real{20, 30, 25} {
		b := fullBenchmark()
		b.CreatedAt, b.RunID, b.Adapter = now.Add(time.Duration(i)*time.Minute), "", ""
		if i == 2 {
			b.RunID, b.Adapter, b.ModelPath = "last", "runs/last/adapter", "models/other"
		}
		b.DecodeTokensPerSecond.Median = perSecond
		_, err := s.RecordBenchmark(t.Context(), b)
		must(t, err)
	}
}

// wantRows is what the query under a heading gives for the runs of fill, where that is not obvious: the values
// of its first column. Every query must give some row.
var wantRows = map[string][]string{
	"Best validation loss of each run":                 {"overfit", "last", "early", "interrupted", "failed", "diverged"},
	"Peak memory of each run":                          {"early", "overfit", "diverged", "interrupted", "last"},
	"Overfitted runs":                                  {"overfit"},
	"What the last two runs of a name did differently": {"lora_rank", "lora_alpha"},
	"Runs that did not end well":                       {"interrupted", "diverged", "failed"},
	"Tokens a second through the last run":             {"1", "11", "21"},
	"Learning rate and rank against the result":        {"0.0002", "0.0002"},
	"Predicted and measured":                           {"last", "overfit", "early"},
	"Speed of each model on each machine":              {"models/other", "models/pocket"},
}

func TestEveryQueryOfTheDocumentationGivesRows(t *testing.T) {
	doc := readDocs(t)
	s := newStore(t)
	fill(t, s, time.Now())
	// The last two runs of bluey are one that never began and one that is done; let a setting differ.
	queued, err := s.Run(t.Context(), "queued")
	must(t, err)
	queued.LoRARank, queued.LoRAAlpha = 4, 8
	must(t, s.UpdateRun(t.Context(), queued.Run))

	blocks := regexp.MustCompile("(?ms)^### ([^\n]+)\n(?:[^#`]|`[^`])*?^```sql\n(.*?)^```$").FindAllStringSubmatch(doc, -1)
	if n := strings.Count(doc, "```sql"); len(blocks) != n || n < 10 {
		t.Fatalf("%d queries found under headings, %d in the file, want the same and at least 10", len(blocks), n)
	}
	seen := map[string]bool{}
	for _, block := range blocks {
		heading, query := block[1], block[2]
		seen[heading] = true
		t.Run(heading, func(t *testing.T) {
			first, columns, empty := runQuery(t, s, query)
			if len(first) == 0 {
				t.Fatal("no rows")
			}
			for i, name := range columns {
				if empty[i] {
					t.Errorf("column %s is NULL in every row", name)
				}
			}
			if want := wantRows[heading]; want != nil && !slices.Equal(first, want) {
				t.Errorf("first column is %q, want %q", first, want)
			}
		})
	}
	for heading := range wantRows {
		if !seen[heading] {
			t.Errorf("%s: no query under this heading", heading)
		}
	}
}

// runQuery returns the first column as text, the names of all, and which of them are NULL in each row.
func runQuery(t *testing.T, s *Store, query string) (first, columns []string, empty []bool) {
	t.Helper()
	rows, err := s.db.Query(query)
	must(t, err)
	defer rows.Close()
	columns, err = rows.Columns()
	must(t, err)
	empty = slices.Repeat([]bool{true}, len(columns))
	for rows.Next() {
		row, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			pointers[i] = &row[i]
		}
		must(t, rows.Scan(pointers...))
		first = append(first, fmt.Sprint(row[0]))
		for i, v := range row {
			empty[i] = empty[i] && v == nil
		}
	}
	must(t, rows.Err())
	return first, columns, empty
}

func TestTheDocumentationNamesEveryColumn(t *testing.T) {
	doc := readDocs(t)
	schema := readSchema(t, newStore(t))
	_, tables, _ := strings.Cut(doc, "\n## Tables\n")
	tables, _, ok := strings.Cut(tables, "\n## ")
	if !ok {
		t.Fatal("no section Tables that another follows")
	}
	line := regexp.MustCompile("^\\| `(\\w+)` \\| (\\w+) \\| (\\S.*) \\|$")
	for _, section := range strings.Split("\n"+tables, "\n### ")[1:] {
		table, body, _ := strings.Cut(section, "\n")
		columns, ok := schema[table]
		if !ok {
			t.Errorf("table %s is documented and does not exist", table)
			continue
		}
		delete(schema, table)
		for _, text := range strings.Split(body, "\n") {
			if !strings.HasPrefix(text, "| `") {
				continue
			}
			m := line.FindStringSubmatch(text)
			if m == nil {
				t.Errorf("%s: %s: want | `column` | TYPE | meaning |", table, text)
				continue
			}
			if kind, ok := columns[m[1]]; !ok || kind != m[2] {
				t.Errorf("%s.%s is documented as %s; in the schema it is %q", table, m[1], m[2], kind)
			}
			delete(columns, m[1])
		}
		for name := range columns {
			t.Errorf("%s.%s is not documented", table, name)
		}
	}
	for table := range schema {
		t.Errorf("table %s is not documented", table)
	}
	if want := fmt.Sprintf("is the version of this schema, %d.", len(migrations)); !strings.Contains(doc, want) {
		t.Errorf("the documentation lacks %q", want)
	}
}

func readDocs(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(docsPath)
	must(t, err)
	return string(b)
}
