package trainer

import (
	"fmt"
	"math"

	"tune/datasets"
	"tune/internal/torch"
)

// leaf is a tensor that is trained, by its name.
type leaf struct {
	name  string
	value torch.Tensor
	// fresh says that the tensor need not move in the first step: A of an adapter whose B is still zero gets no gradient.
	fresh bool
}

// leaves lists what is trained in the order of the forward pass.
func (l *Learner) leaves() []leaf {
	var all []leaf
	if l.adapter == nil {
		for _, p := range l.model.Parameters() {
			all = append(all, leaf{name: p.Name, value: *p.Field})
		}
		return all
	}
	fresh := l.adapter.Config.From == ""
	for _, m := range l.adapter.Modules {
		all = append(all, leaf{m.Base.Name + ".lora_A", m.A, fresh}, leaf{name: m.Base.Name + ".lora_B", value: m.B})
		if m.Magnitude.Defined() {
			all = append(all, leaf{name: m.Base.Name + ".lora_magnitude_vector", value: m.Magnitude})
		}
	}
	return all
}

// spoiled reports whether a tensor has a number that is not finite: times 0 that alone is not 0.
func spoiled(s *torch.Scope, t torch.Tensor) bool {
	var sum float32
	err := s.Nest(func(s *torch.Scope) error {
		sum = s.ReadFloat32(s.View(s.Sum(s.Scale(s.Cast(s.Detach(t), torch.Float32), 0)), 1))
		return s.Err()
	})
	return err == nil && math.IsNaN(float64(sum))
}

// blameLoss names the first tensor of the forward pass that is not finite on the batches of a step; "" where none is found.
func (l *Learner) blameLoss(batches []datasets.Batch) (name string) {
	s := l.scope
	for _, t := range l.leaves() {
		if spoiled(s, t.value) {
			return t.name
		}
	}
	s.Grad(false, func() {
		for _, b := range batches {
			_ = s.Nest(func(s *torch.Scope) error { // an error here leaves the name empty
				p, err := l.model.NewPass(s, input(b), nil)
				if err != nil {
					return err
				}
				x := l.model.Embed(s, p)
				if name = "the embedding of the tokens"; spoiled(s, x) {
					return nil
				}
				for i := range l.model.Layers {
					x = l.model.Layer(s, i, x, p)
					if name = fmt.Sprintf("the output of model.layers.%d", i); spoiled(s, x) {
						return nil
					}
				}
				name = "the logits"
				sum, err := l.model.Loss(s, x, b.Targets, false)
				if err == nil && !spoiled(s, sum) {
					name = ""
				}
				return err
			})
			if name != "" {
				return
			}
		}
	})
	return name
}

// blameGradient names the first tensor whose gradient is not finite.
func (l *Learner) blameGradient() string {
	for _, t := range l.leaves() {
		var bad bool
		err := l.scope.Nest(func(s *torch.Scope) error { bad = spoiled(s, s.GradOf(t.value)); return s.Err() })
		if err == nil && bad {
			return "the gradient of " + t.name
		}
	}
	return ""
}

// unmoved names the tensors that the first update has left as they were, though they should have moved: their average
// gradient is all zeros.
func (l *Learner) unmoved() (names []string, err error) {
	err = l.scope.Nest(func(s *torch.Scope) error {
		moment, _ := l.flat.Moments(s)
		at := int64(0)
		offsets := map[torch.Tensor]int64{}
		for _, t := range l.flat.Leaves {
			offsets[t] = at
			at += t.Len()
		}
		var norms []torch.Tensor
		leaves := l.leaves()
		for _, t := range leaves {
			norms = append(norms, s.View(s.Norm(s.Narrow(moment, 0, offsets[t.value], t.value.Len())), 1))
		}
		for i, norm := range s.ReadFloat32s(s.Cat(0, norms...)) {
			if norm == 0 && !leaves[i].fresh {
				names = append(names, leaves[i].name)
			}
		}
		return s.Err()
	})
	return names, err
}
