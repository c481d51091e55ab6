package trainer

import (
	"context"
	"fmt"

	"tune/datasets"
	"tune/internal/model"
	"tune/internal/torch"
)

// Evaluate returns the loss of a model on data, with its weights as they are. It goes on from what done says, and ends
// between two batches, with how far it came, when ctx is cancelled.
func Evaluate(ctx context.Context, s *torch.Scope, m *model.Model, batches []datasets.Batch, done PartialEvaluation) (PartialEvaluation, error) {
	for done.Batches < len(batches) {
		if ctx.Err() != nil {
			return done, ErrInterrupted
		}
		b := batches[done.Batches]
		err := s.Nest(func(s *torch.Scope) error {
			p, err := m.NewPass(s, input(b), nil)
			if err != nil {
				return err
			}
			sum, err := m.Loss(s, m.Hidden(s, p), b.Targets, false)
			if err != nil {
				return err
			}
			done.Sum += float64(s.ReadFloat32(sum))
			return s.Err()
		})
		if err != nil {
			return done, fmt.Errorf("validation batch %d: %w", done.Batches+1, err)
		}
		done.TargetTokens += b.TargetTokens
		done.Batches++
	}
	return done, nil
}
