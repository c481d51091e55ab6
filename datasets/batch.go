package datasets

// Batch is B rows laid end to end: N tokens, no padding between them.
type Batch struct {
	// InputIDs (N) are the tokens.
	InputIDs []int64
	// Positions (N) count from 0 in each row.
	Positions []int64
	// Targets (N) are what each position is to predict, the label of the next token of the same row; NoLoss where
	// there is none, as at the end of a row.
	Targets []int64
	// Starts (B+1): row i is InputIDs[Starts[i]:Starts[i+1]].
	Starts []int
	// Rows (B) are the rows' indices in Dataset.Samples.
	Rows []int
	// Epoch the batch belongs to, from 0.
	Epoch int
	// Tokens without padding, and those of Targets that are not NoLoss.
	Tokens, TargetTokens int
}

// padID fills a row; it is Gemma's <pad>, though any id would do: nothing attends to it and nothing is learned.
const padID = 0

// NewBatch lays the given rows of samples end to end. With padTo above 0 each row is filled to that many
// tokens, at its own end, where the causal mask hides the filling from every real token; a longer row stays as
// it is.
func NewBatch(samples []Sample, rows []int, padTo int) Batch {
	n := 0
	for _, row := range rows {
		n += max(len(samples[row].InputIDs), padTo)
	}
	b := Batch{
		InputIDs: make([]int64, 0, n), Positions: make([]int64, 0, n), Targets: make([]int64, 0, n),
		Starts: make([]int, 1, len(rows)+1), Rows: append([]int{}, rows...),
	}
	for _, row := range rows {
		s := samples[row]
		for i, id := range s.InputIDs {
			target := int64(NoLoss)
			if i+1 < len(s.Labels) {
				target = s.Labels[i+1]
			}
			b.append(id, int64(i), target)
		}
		for i := len(s.InputIDs); i < padTo; i++ {
			b.append(padID, int64(i), NoLoss)
		}
		b.Starts = append(b.Starts, len(b.InputIDs))
		b.Tokens += len(s.InputIDs)
	}
	return b
}

// Split returns the batch in parts of at most so many rows, in order: the same tokens and targets. Where there are several,
// the first says the Tokens of all: parts do not tell padding apart.
func (b Batch) Split(rows int) []Batch {
	if rows < 1 || rows >= len(b.Rows) {
		return []Batch{b}
	}
	var parts []Batch
	for first := 0; first < len(b.Rows); first += rows {
		last := min(first+rows, len(b.Rows))
		from, to := b.Starts[first], b.Starts[last]
		part := Batch{InputIDs: b.InputIDs[from:to], Positions: b.Positions[from:to], Targets: b.Targets[from:to], Rows: b.Rows[first:last], Epoch: b.Epoch}
		for _, start := range b.Starts[first : last+1] {
			part.Starts = append(part.Starts, start-from)
		}
		for _, target := range part.Targets {
			if target != NoLoss {
				part.TargetTokens++
			}
		}
		parts = append(parts, part)
	}
	parts[0].Tokens = b.Tokens
	return parts
}

func (b *Batch) append(id, position, target int64) {
	b.InputIDs = append(b.InputIDs, id)
	b.Positions = append(b.Positions, position)
	b.Targets = append(b.Targets, target)
	if target != NoLoss {
		b.TargetTokens++
	}
}
