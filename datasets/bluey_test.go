package datasets_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"tune/datasets"
	"tune/internal/tokenizer"
)

// TestBluey: the puppy's rows have the number and the lengths of the experiment that they are named after.
func TestBluey(t *testing.T) {
	questions := map[string]string{} // to the place of the first
	replies := map[string]string{}
	for _, file := range []struct {
		path string
		rows int
	}{{"bluey/train.jsonl", 111}, {"bluey/valid.jsonl", 15}} {
		d, err := datasets.Open(file.path, smallTokenizer(t), datasets.Options{MaxLength: 512})
		if err != nil {
			t.Error(err)
			continue
		}
		stats := d.Stats()
		if stats.Rows != file.rows || stats.Turns != 2*file.rows || stats.Replies != file.rows {
			t.Errorf("%s: want %d rows of one question and one reply, got %d rows, %d turns, %d replies",
				file.path, file.rows, stats.Rows, stats.Turns, stats.Replies)
		}
		if stats.ReplyWords.Min < 52 || stats.ReplyWords.Max > 76 {
			t.Errorf("%s: want replies of 52 to 76 words, got %s", file.path, stats.ReplyWords)
		}
		if stats.Truncated != 0 || stats.Dropped != 0 {
			t.Errorf("%s: %d rows do not fit 512 tokens", file.path, stats.Truncated+stats.Dropped)
		}

		content, err := os.ReadFile(file.path)
		if err != nil {
			t.Error(err)
			continue
		}
		for line := range strings.Lines(string(content)) {
			var row struct{ Messages []tokenizer.Message }
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			for i, m := range row.Messages {
				seen := []map[string]string{questions, replies}[i%2]
				words := strings.Join(strings.Fields(strings.ToLower(m.Content)), " ")
				if first, ok := seen[words]; ok {
					t.Errorf("%s: %q is in %s already", file.path, m.Content, first)
				}
				seen[words] = file.path
			}
		}
	}
	if len(questions) != 126 {
		t.Errorf("want 126 questions, all different, got %d", len(questions))
	}
}
