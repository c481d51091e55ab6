package datasets_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tune/datasets"
)

const none = datasets.NoLoss

// three rows: one learned whole, one in parts, one of a single target.
var three = []datasets.Sample{
	{InputIDs: []int64{2, 10, 11, 12}, Labels: []int64{none, 10, 11, 12}, Line: 1},
	{InputIDs: []int64{2, 20, 21, 22, 23}, Labels: []int64{none, 20, none, none, 23}, Line: 2},
	{InputIDs: []int64{2, 30}, Labels: []int64{none, 30}, Line: 4},
}

func TestNewBatch(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rows  []int
		padTo int
		want  datasets.Batch
	}{
		{"flat", []int{1, 0}, 0, datasets.Batch{
			InputIDs:  []int64{2, 20, 21, 22, 23, 2, 10, 11, 12},
			Positions: []int64{0, 1, 2, 3, 4, 0, 1, 2, 3},
			Targets:   []int64{20, none, none, 23, none, 10, 11, 12, none},
			Starts:    []int{0, 5, 9}, Rows: []int{1, 0}, Tokens: 9, TargetTokens: 5,
		}},
		{"padded", []int{2, 0}, 4, datasets.Batch{
			InputIDs:  []int64{2, 30, 0, 0, 2, 10, 11, 12},
			Positions: []int64{0, 1, 2, 3, 0, 1, 2, 3},
			Targets:   []int64{30, none, none, none, 10, 11, 12, none},
			Starts:    []int{0, 4, 8}, Rows: []int{2, 0}, Tokens: 6, TargetTokens: 4,
		}},
		{"longer than the padding", []int{1}, 4, datasets.Batch{
			InputIDs:  []int64{2, 20, 21, 22, 23},
			Positions: []int64{0, 1, 2, 3, 4},
			Targets:   []int64{20, none, none, 23, none},
			Starts:    []int{0, 5}, Rows: []int{1}, Tokens: 5, TargetTokens: 2,
		}},
		{"no rows", nil, 4, datasets.Batch{
			InputIDs: []int64{}, Positions: []int64{}, Targets: []int64{}, Starts: []int{0}, Rows: []int{},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, datasets.NewBatch(three, tc.rows, tc.padTo)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestShuffleIsPinned: the order of the rows is part of what makes a run repeatable, on every platform and with
// every version of Go. If this fails, runs that were stopped can no longer be resumed.
func TestShuffleIsPinned(t *testing.T) {
	samples := make([]datasets.Sample, 10)
	for i := range samples {
		samples[i] = three[2]
	}
	b := datasets.NewBatcher(&datasets.Dataset{Samples: samples},
		datasets.BatchOptions{BatchSize: 10, Shuffle: true, Seed: 42})
	var got [][]int
	for range 3 {
		got = append(got, b.Next().Rows)
	}
	want := [][]int{
		{6, 2, 5, 3, 4, 7, 0, 1, 9, 8},
		{2, 3, 9, 6, 0, 8, 7, 4, 5, 1},
		{2, 9, 5, 4, 3, 7, 6, 0, 8, 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("epochs 0 to 2 of seed 42 (-want +got):\n%s", diff)
	}
}

// TestShuffleIsEven: over many seeds every row comes first about equally often.
func TestShuffleIsEven(t *testing.T) {
	const rows, seeds = 5, 5000
	samples := slices.Repeat(three[:1], rows)
	first := make([]int, rows)
	for seed := range int64(seeds) {
		b := datasets.NewBatcher(&datasets.Dataset{Samples: samples},
			datasets.BatchOptions{BatchSize: 1, Shuffle: true, Seed: seed})
		first[b.Next().Rows[0]]++
	}
	for row, n := range first {
		if n < 850 || n > 1150 { // 1000 wanted, standard deviation 28
			t.Errorf("row %d came first %d times of %d, want about %d", row, n, seeds, seeds/rows)
		}
	}
}

func TestSeekErrors(t *testing.T) {
	b := datasets.NewBatcher(&datasets.Dataset{Samples: three}, datasets.BatchOptions{BatchSize: 2})
	for _, p := range []datasets.Position{{Epoch: -1}, {Batch: -1}, {Batch: 2}, {Epoch: 1, Batch: 5}} {
		if err := b.Seek(p); err == nil {
			t.Errorf("seek to %+v: want an error, got none", p)
		}
	}
	if got := b.Position(); got != (datasets.Position{}) {
		t.Errorf("a seek that fails must not move, got %+v", got)
	}
}

// TestEpochIsExact: an epoch has every row once, in batches that hold the row's own tokens and targets, whatever
// the sizes.
func TestEpochIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, opt := drawDataset(t), drawOptions(t)
		b := datasets.NewBatcher(d, opt)
		for epoch := range 3 {
			var rows []int
			for i := range b.BatchesPerEpoch() {
				if got, want := b.Position(), (datasets.Position{Epoch: epoch, Batch: i}); got != want {
					t.Fatalf("position: want %+v, got %+v", want, got)
				}
				batch := b.Next()
				if batch.Epoch != epoch {
					t.Fatalf("batch of epoch %d in epoch %d", batch.Epoch, epoch)
				}
				last := i == b.BatchesPerEpoch()-1
				if n := len(batch.Rows); n > opt.BatchSize || (n < opt.BatchSize && !last) || n == 0 {
					t.Fatalf("batch %d of %d has %d rows, want %d", i, b.BatchesPerEpoch(), n, opt.BatchSize)
				}
				checkBatch(t, d.Samples, batch, opt.PadTo)
				rows = append(rows, batch.Rows...)
			}
			if !opt.Shuffle && !slices.IsSorted(rows) {
				t.Fatalf("not shuffled, but out of order: %v", rows)
			}
			slices.Sort(rows)
			for i, row := range rows {
				if i != row {
					t.Fatalf("epoch %d: rows %v, want each of %d once", epoch, rows, len(d.Samples))
				}
			}
			if len(rows) != len(d.Samples) {
				t.Fatalf("epoch %d has %d rows of %d", epoch, len(rows), len(d.Samples))
			}
		}
	})
}

// TestSeekIsReplay: a Batcher that was put where another one stands gives the same batches from there on.
func TestSeekIsReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, opt := drawDataset(t), drawOptions(t)
		b := datasets.NewBatcher(d, opt)
		for range rapid.IntRange(0, 30).Draw(t, "batches before") {
			b.Next()
		}
		resumed := datasets.NewBatcher(d, opt)
		for range rapid.IntRange(0, 5).Draw(t, "batches of the other") {
			resumed.Next()
		}
		if err := resumed.Seek(b.Position()); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if diff := cmp.Diff(b.Next(), resumed.Next()); diff != "" {
				t.Fatalf("(-replayed +resumed):\n%s", diff)
			}
		}
	})
}

// checkBatch compares a batch with the rows it is made of.
func checkBatch(t *rapid.T, samples []datasets.Sample, b datasets.Batch, padTo int) {
	if len(b.Starts) != len(b.Rows)+1 || b.Starts[0] != 0 || b.Starts[len(b.Rows)] != len(b.InputIDs) ||
		len(b.Positions) != len(b.InputIDs) || len(b.Targets) != len(b.InputIDs) {
		t.Fatalf("starts %v for %d rows of %d, %d and %d values", b.Starts, len(b.Rows), len(b.InputIDs),
			len(b.Positions), len(b.Targets))
	}
	tokens, targets := 0, 0
	for i, row := range b.Rows {
		s, start, end := samples[row], b.Starts[i], b.Starts[i+1]
		length := len(s.InputIDs)
		if want := max(length, padTo); end-start != want {
			t.Fatalf("row %d takes %d places, want %d", row, end-start, want)
		}
		if diff := cmp.Diff(s.InputIDs, b.InputIDs[start:start+length]); diff != "" {
			t.Fatalf("row %d, ids (-want +got):\n%s", row, diff)
		}
		// Targets shifted back by one are the labels, the first of which is never learned.
		back := append([]int64{none}, b.Targets[start:start+length-1]...)
		if diff := cmp.Diff(s.Labels, back); diff != "" {
			t.Fatalf("row %d, labels (-want +got):\n%s", row, diff)
		}
		for j := start; j < end; j++ {
			if b.Positions[j] != int64(j-start) {
				t.Fatalf("row %d: position %d at place %d", row, b.Positions[j], j-start)
			}
			if j >= start+length-1 && b.Targets[j] != none {
				t.Fatalf("row %d: place %d of %d tokens has the target %d", row, j-start, length, b.Targets[j])
			}
			if j >= start+length && b.InputIDs[j] != 0 {
				t.Fatalf("row %d is filled with %d", row, b.InputIDs[j])
			}
		}
		tokens += length
		targets += s.TargetTokens()
	}
	if b.Tokens != tokens || b.TargetTokens != targets {
		t.Fatalf("want %d tokens and %d targets, got %d and %d", tokens, targets, b.Tokens, b.TargetTokens)
	}
}

func drawDataset(t *rapid.T) *datasets.Dataset {
	row := rapid.Custom(func(t *rapid.T) datasets.Sample {
		ids := rapid.SliceOfN(rapid.Int64Range(1, 99), 2, 12).Draw(t, "ids")
		labels := slices.Clone(ids)
		labels[0] = none
		for i := range labels {
			if rapid.Bool().Draw(t, "masked") {
				labels[i] = none
			}
		}
		return datasets.Sample{InputIDs: ids, Labels: labels}
	})
	return &datasets.Dataset{Samples: rapid.SliceOfN(row, 1, 12).Draw(t, "samples")}
}

func drawOptions(t *rapid.T) datasets.BatchOptions {
	return datasets.BatchOptions{
		BatchSize: rapid.IntRange(1, 15).Draw(t, "batch size"),
		Shuffle:   rapid.Bool().Draw(t, "shuffle"),
		Seed:      rapid.Int64().Draw(t, "seed"),
		PadTo:     rapid.SampledFrom([]int{0, 1, 8, 20}).Draw(t, "pad to"),
	}
}
