package trainer

import (
	"math"

	"tune/adapters"
	"tune/configs"
	"tune/datasets"
	"tune/internal/model"
	"tune/internal/torch"
)

// Learner holds what is trained and how: a model with an adapter, or a model with all its weights.
type Learner struct {
	scope   *torch.Scope
	model   *model.Model
	adapter *adapters.Adapter // nil when every weight is trained
	flat    *torch.Flat
	options configs.Train

	loss   torch.Tensor // (1), the sum over the step's target tokens so far
	tokens int          // how many there were
	read   *readings    // of the step so far, once they have been read
	lowest int          // the lowest layer that has something to train
}

// NewLearner makes a learner whose tensors belong to s. Without an adapter it trains every weight of the model.
func NewLearner(s *torch.Scope, m *model.Model, adapter *adapters.Adapter, options configs.Train) (*Learner, error) {
	l := &Learner{scope: s, model: m, adapter: adapter, options: options}
	if adapter != nil {
		l.flat = adapter.Flat
		l.lowest = adapter.LowestLayer()
	} else {
		l.flat = m.Trainable(s)
	}
	l.loss = s.Zeros(torch.Float32, m.Device, 1)
	return l, s.Err()
}

// Parameters counts the numbers that are trained.
func (l *Learner) Parameters() int64 { return l.flat.Data.Len() }

// readings are what the host is told of a step.
type readings struct{ loss, gradNorm float64 } // sums over target tokens

// Accumulate runs a micro-batch forward and backward: its loss and its gradients are added to the step's.
func (l *Learner) Accumulate(b datasets.Batch) error {
	if l.adapter != nil {
		l.adapter.Train(true)
		defer l.adapter.Train(false)
	}
	return l.scope.Nest(func(s *torch.Scope) error {
		p, err := l.model.NewPass(s, input(b), nil)
		if err != nil {
			return err
		}
		forwardBackward := l.whole
		if l.options.GradientCheckpointing {
			forwardBackward = l.byLayer
		}
		sum, err := forwardBackward(s, p, b.Targets)
		if err != nil {
			return err
		}
		s.AddTo(l.loss, sum)
		l.tokens += b.TargetTokens
		l.read = nil
		return s.Err()
	})
}

// whole keeps every activation of the forward pass for the backward pass.
func (l *Learner) whole(s *torch.Scope, p *model.Pass, targets []int64) (sum torch.Tensor, err error) {
	s.Grad(true, func() {
		sum, err = l.model.Loss(s, l.model.Hidden(s, p), targets, true)
	})
	return sum, err
}

// byLayer is gradient checkpointing: the forward pass keeps one tensor (N, D) a layer, and the backward pass
// computes each layer's activations again when their turn comes.
// Source: Chen et al. 2016, arXiv:1604.06174.
func (l *Learner) byLayer(s *torch.Scope, p *model.Pass, targets []int64) (sum torch.Tensor, err error) {
	layers := len(l.model.Layers)
	inputs, random := make([]torch.Tensor, layers), make([]torch.Tensor, layers+1)

	var embedded torch.Tensor // with a graph of its own when the embedding is trained
	s.Grad(l.adapter == nil, func() { embedded = l.model.Embed(s, p) })
	x := s.Detach(embedded)
	for i := range layers {
		inputs[i], random[i] = x, l.randomState(s)
		x = l.model.Layer(s, i, x, p)
	}
	random[layers] = l.randomState(s)

	top := s.Leaf(x)
	s.Grad(true, func() { sum, err = l.model.Loss(s, top, targets, true) })
	if err != nil {
		return sum, err
	}
	gradient := s.GradOf(top)
	for i := layers - 1; i >= l.lowest; i-- {
		l.setRandomState(s, random[i]) // dropout has to fall on the same places again
		below := gradient
		gradient = s.Local(func(s *torch.Scope) torch.Tensor {
			x := inputs[i]
			if i > l.lowest || l.adapter == nil {
				x = s.Leaf(x)
			}
			s.Grad(true, func() { s.Backward(l.model.Layer(s, i, x, p), below) })
			if !x.RequiresGrad() {
				return torch.Tensor{}
			}
			return s.GradOf(x)
		})
		s.Drop(below)
		s.Drop(inputs[i])
	}
	if l.adapter == nil {
		s.Backward(embedded, gradient)
	}
	l.setRandomState(s, random[layers])
	return sum, s.Err()
}

// randomState returns the generator's state where a layer draws random numbers, else none.
func (l *Learner) randomState(s *torch.Scope) torch.Tensor {
	if l.adapter == nil || l.adapter.Config.Dropout == 0 {
		return torch.Tensor{}
	}
	return s.GeneratorState(l.model.Device)
}

func (l *Learner) setRandomState(s *torch.Scope, state torch.Tensor) {
	if state.Defined() {
		s.SetGeneratorState(l.model.Device, state)
	}
}

// Loss is a sum over target tokens, in nats.
type Loss struct {
	Sum    float64
	Tokens int
}

// Mean returns the loss a target token.
func (l Loss) Mean() float64 {
	if l.Tokens == 0 {
		return 0
	}
	return l.Sum / float64(l.Tokens)
}

// Finite reports whether the loss is a number that can be trained on.
func (l Loss) Finite() bool { return finite(l.Sum) }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Loss returns the loss of the step so far. It waits for the device, the only time in a step: the norm of the gradients,
// which Update needs, is read with it.
func (l *Learner) Loss() (Loss, error) {
	if l.read != nil {
		return Loss{l.read.loss, l.tokens}, nil
	}
	err := l.scope.Nest(func(s *torch.Scope) error {
		both := s.ReadFloat32s(s.Cat(0, l.loss, s.View(s.Norm(l.flat.Grad), 1)))
		if err := s.Err(); err != nil {
			return err
		}
		l.read = &readings{float64(both[0]), float64(both[1])}
		return nil
	})
	if err != nil {
		return Loss{}, err
	}
	return Loss{l.read.loss, l.tokens}, nil
}

// Update divides the gradients by the step's target tokens, clips them, applies AdamW and starts the next step.
// lr is the learning rate, with LoRA+ that of A. It returns the norm of the gradients before clipping; one that is
// not finite leaves the weights alone.
func (l *Learner) Update(lr float64) (gradNorm float64, err error) {
	if _, err := l.Loss(); err != nil {
		return 0, err
	}
	tokens := float64(max(1, l.tokens))
	if gradNorm = l.read.gradNorm / tokens; !finite(gradNorm) {
		return gradNorm, nil
	}
	err = l.scope.Nest(func(s *torch.Scope) error {
		scale := 1 / tokens
		if limit := l.options.MaxGradNorm; limit > 0 {
			scale *= min(1, limit/(gradNorm+1e-6)) // as torch.nn.utils.clip_grad_norm_
		}
		s.ScaleBy(l.flat.Grad, scale)
		adamw := torch.AdamW{LR: lr, Beta1: l.options.AdamBeta1, Beta2: l.options.AdamBeta2,
			Epsilon: l.options.AdamEpsilon, WeightDecay: l.options.WeightDecay}
		if l.adapter != nil {
			adamw.Parts = l.adapter.Parts(lr)
		}
		l.flat.Update(s, adamw)
		s.Zero(l.flat.Grad)
		s.Zero(l.loss)
		l.tokens, l.read = 0, nil
		return s.Err()
	})
	return gradNorm, err
}

func input(b datasets.Batch) model.Input {
	return model.Input{IDs: b.InputIDs, Positions: b.Positions, Starts: b.Starts}
}
