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

func (b *Batch) append(id, position, target int64) {
	b.InputIDs = append(b.InputIDs, id)
	b.Positions = append(b.Positions, position)
	b.Targets = append(b.Targets, target)
	if target != NoLoss {
		b.TargetTokens++
	}
}
