package trainer

import (
	"fmt"

	"tune/datasets"
	"tune/internal/model"
	"tune/internal/torch"
)

// Evaluate returns the loss of a model on data, with its weights as they are.
func Evaluate(s *torch.Scope, m *model.Model, batches []datasets.Batch) (Loss, error) {
	var total Loss
	for i, b := range batches {
		err := s.Nest(func(s *torch.Scope) error {
			p, err := m.NewPass(s, input(b), nil)
			if err != nil {
				return err
			}
			sum, err := m.Loss(s, m.Hidden(s, p), b.Targets, false)
			if err != nil {
				return err
			}
			total.Sum += float64(s.ReadFloat32(sum))
			total.Tokens += b.TargetTokens
			return s.Err()
		})
		if err != nil {
			return total, fmt.Errorf("validation batch %d: %w", i+1, err)
		}
	}
	return total, nil
}
