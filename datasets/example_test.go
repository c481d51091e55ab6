package datasets_test

import (
	"fmt"

	"tune/datasets"
	"tune/internal/tokenizer"
)

func ExampleOpen() {
	tok, err := tokenizer.Open("../testdata/tokenizers/small-gemma3")
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := datasets.Open("bluey/train.jsonl", tok, datasets.Options{MaxLength: 512, LossOn: datasets.LossOnReplies})
	if err != nil {
		fmt.Println(err)
		return
	}
	b := datasets.NewBatcher(d, datasets.BatchOptions{BatchSize: 4, Shuffle: true, Seed: 42})
	batch := b.Next()
	fmt.Println(len(d.Samples), "rows in", b.BatchesPerEpoch(), "batches, the first of", len(batch.Rows))
	// Output: 111 rows in 28 batches, the first of 4
}
