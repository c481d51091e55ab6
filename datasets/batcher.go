package datasets

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
)

// BatchOptions say how rows are put together.
type BatchOptions struct {
	// BatchSize is how many rows a batch has; the last of an epoch may have fewer.
	BatchSize int
	// Shuffle orders the rows anew each epoch; without it they come in the order of the file.
	Shuffle bool
	// Seed fixes the orders.
	Seed int64
	// PadTo fills every row to this many tokens; 0 fills none.
	PadTo int
}

// Position is a place in the endless stream of batches, for a checkpoint.
type Position struct {
	Epoch int `json:"epoch"` // from 0
	Batch int `json:"batch"` // within the epoch, from 0
}

// Batcher gives the rows of a Dataset as batches, epoch after epoch. Each epoch has every row once, and no
// batch has rows of two epochs.
type Batcher struct {
	samples []Sample
	opt     BatchOptions
	next    Position
	order   []int // of the rows in the epoch of next
}

// NewBatcher starts at the first batch of epoch 0. It panics on a dataset without rows and on a batch size below
// 1: Open and configs.Load refuse both.
func NewBatcher(d *Dataset, opt BatchOptions) *Batcher {
	if len(d.Samples) == 0 || opt.BatchSize < 1 {
		panic(fmt.Sprintf("datasets: NewBatcher with %d rows in batches of %d", len(d.Samples), opt.BatchSize))
	}
	b := &Batcher{samples: d.Samples, opt: opt}
	b.order = b.orderOf(0)
	return b
}

// BatchesPerEpoch is how many batches an epoch has.
func (b *Batcher) BatchesPerEpoch() int {
	return (len(b.samples)-1)/b.opt.BatchSize + 1
}

// Next returns the batch at Position and moves on. There is always a next one.
func (b *Batcher) Next() Batch {
	first := b.next.Batch * b.opt.BatchSize
	// Written without first+BatchSize, which a huge batch size would overflow.
	rows := b.order[first:]
	rows = rows[:min(b.opt.BatchSize, len(rows))]
	batch := NewBatch(b.samples, rows, b.opt.PadTo)
	batch.Epoch = b.next.Epoch

	if b.next.Batch++; b.next.Batch == b.BatchesPerEpoch() {
		b.next = Position{Epoch: b.next.Epoch + 1}
		b.order = b.orderOf(b.next.Epoch)
	}
	return batch
}

// Position is that of the batch that Next will return. After the last batch of an epoch it is the first of the
// next.
func (b *Batcher) Position() Position { return b.next }

// Seek moves to a position that Position returned, of a Batcher with as many rows and the same options.
// Errors: a position that this Batcher does not have.
func (b *Batcher) Seek(p Position) error {
	if p.Epoch < 0 || p.Batch < 0 || p.Batch >= b.BatchesPerEpoch() {
		return fmt.Errorf("seek to epoch %d, batch %d: an epoch has %d batches, counted from 0: "+
			"have the rows or the batch size changed?", p.Epoch, p.Batch, b.BatchesPerEpoch())
	}
	b.next = p
	b.order = b.orderOf(p.Epoch)
	return nil
}

// orderOf lists the rows in the order of an epoch. It depends on the seed, the epoch and the number of rows
// alone, so that one can resume in the middle on another machine and with another version of Go: PCG's stream is
// part of its documentation, and the shuffle on top is ours (Fisher-Yates; Knuth, TAOCP vol. 2, 3.4.2, P).
func (b *Batcher) orderOf(epoch int) []int {
	order := make([]int, len(b.samples))
	for i := range order {
		order[i] = i
	}
	if !b.opt.Shuffle {
		return order
	}
	random := rand.NewPCG(uint64(b.opt.Seed), uint64(epoch))
	for i := len(order) - 1; i > 0; i-- {
		// The upper half of a 128-bit product is a number below i+1, too even for its bias, 2^-64, to matter.
		j, _ := bits.Mul64(random.Uint64(), uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
	return order
}
