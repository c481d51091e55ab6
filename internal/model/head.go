package model

import (
	"fmt"

	"tune/internal/torch"
)

// NoLoss is the target of a position that is not learned: PyTorch's ignore_index.
const NoLoss = -100

// chunkBytes bounds one float32 block of logits where the loss is composed of libtorch's operators: 256 rows of Gemma 3's
// vocabulary of 262,144. Fewer rows repack the head's weight too often, more only cost memory.
const chunkBytes = 256 * 262144 * 4

// fusedRows bounds the rows of one pass over the head where a kernel keeps no logits.
const fusedRows = 4096

// chunkRows returns how many target rows the head takes at a time.
func chunkRows(vocabulary int64, device torch.Device) int64 {
	if device == torch.CPU {
		return fusedRows
	}
	return max(1, chunkBytes/torch.Float32.Size()/vocabulary)
}

// Logits returns the logits of every row of x (M, D), as float32 (M, V). x is a layer's output; the final
// norm is applied here.
func (m *Model) Logits(s *torch.Scope, x torch.Tensor) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		return m.logits(s, m.norm(s, x, m.Norm), m.head(s))
	})
}

// logits is the LM head on what the final norm returned: float32 (M, V), capped where the family caps.
func (m *Model) logits(s *torch.Scope, h, head torch.Tensor) torch.Tensor {
	return s.Local(func(s *torch.Scope) torch.Tensor {
		return m.capped(s, linear(s, h, head))
	})
}

// head returns the LM head (V, D) in the activations' dtype, or in bfloat16 where it is kept so beside float32.
func (m *Model) head(s *torch.Scope) torch.Tensor {
	if m.EmbedTokens.DType() == torch.BFloat16 {
		return m.EmbedTokens
	}
	return s.Cast(m.EmbedTokens, m.DType)
}

// capped returns logits as float32, capped where the family caps.
func (m *Model) capped(s *torch.Scope, logits torch.Tensor) torch.Tensor {
	z := s.Cast(logits, torch.Float32)
	if c := m.Config.FinalLogitSoftcapping; c > 0 {
		z = s.SoftCap(z, c)
	}
	return z
}

// Loss returns the cross entropy summed over the target tokens, in nats, as a float32 tensor of one element;
// with backward it also runs the backward pass of that sum from x on.
//
// Shapes: x (N, D), the output of the last layer; targets (N), the id that follows each token or NoLoss.
//
// The vocabulary is met by target rows only, a chunk at a time, and the gradient is taken by hand: softmax minus
// one-hot. So neither the logits of the whole batch nor autograd's copies of them ever exist.
func (m *Model) Loss(s *torch.Scope, x torch.Tensor, targets []int64, backward bool) (torch.Tensor, error) {
	var rows, labels []int64
	for i, id := range targets {
		if id == NoLoss {
			continue
		}
		if id < 0 || id >= m.Config.VocabSize {
			return torch.Tensor{}, fmt.Errorf("model: target id %d, the vocabulary has %d", id, m.Config.VocabSize)
		}
		rows, labels = append(rows, int64(i)), append(labels, id)
	}
	if len(rows) == 0 {
		return s.Zeros(torch.Float32, m.Device, 1), s.Err()
	}
	// Rows that fill the bucket repeat the first one and weigh nothing.
	real, padded := int64(len(rows)), up(int64(len(rows)), m.Bucket)
	for int64(len(rows)) < padded {
		rows, labels = append(rows, rows[0]), append(labels, labels[0])
	}

	picked := s.Rows(x, s.To(s.Int64s(rows), torch.Int64, m.Device))
	h := m.norm(s, picked, m.Norm) // (M, D)
	target := s.To(s.Int64s(labels, padded, 1), torch.Int64, m.Device)

	sum := s.Zeros(torch.Float32, m.Device, 1)
	var gradients []torch.Tensor
	s.Grad(false, func() {
		head := m.head(s)
		// Chunks of equal size: the weight is repacked for each, however few rows it has.
		chunks := (padded + m.chunkRows - 1) / m.chunkRows
		step := (padded + chunks - 1) / chunks
		for at := int64(0); at < padded; at += step {
			size := min(step, padded-at)
			hidden, label := s.Narrow(h, 0, at, size), s.Narrow(target, 0, at, size)
			gradient := s.Local(func(s *torch.Scope) torch.Tensor {
				return m.chunk(s, hidden, label, min(size, max(0, real-at)), head, sum, backward)
			})
			if backward {
				gradients = append(gradients, gradient)
			}
		}
	})
	if backward {
		s.Backward(h, s.Cat(0, gradients...))
	}
	return sum, s.Err()
}

// chunk adds the loss of some rows to sum and returns the gradient with respect to hidden (m, D), adding the
// head's own to its gradient where the head is trained.
func (m *Model) chunk(s *torch.Scope, hidden, label torch.Tensor, real int64, head, sum torch.Tensor, backward bool) torch.Tensor {
	var headGrad torch.Tensor
	if backward && m.EmbedTokens.RequiresGrad() {
		headGrad = s.GradOf(m.EmbedTokens)
	}
	if gradient, ok := s.HeadLoss(sum, hidden, head, headGrad, label, real, m.Config.FinalLogitSoftcapping, backward); ok {
		return gradient
	}
	logits := m.crossEntropy(s, s.Linear(hidden, head), label, real, sum, backward) // (m, V)
	if !backward {
		return sum
	}
	if headGrad.Defined() {
		across := s.Transpose(logits, 0, 1) // (V, m)
		if m.DType == torch.Float32 {
			s.AddMM(headGrad, across, hidden)
		} else {
			s.AddTo(headGrad, s.MatMul(across, hidden))
		}
	}
	return s.MatMul(logits, head) // (m, D)
}

// crossEntropy adds the loss of the first rows of logits (m, V) to sum and returns its gradient with respect to them, in
// the model's dtype: what [torch.Scope.HeadLoss] does, composed of libtorch's operators.
func (m *Model) crossEntropy(s *torch.Scope, logits, label torch.Tensor, real int64, sum torch.Tensor, backward bool) torch.Tensor {
	weights := weigh(s, logits.Dim(0), real, m.Device)
	logits = m.capped(s, logits)
	normaliser := s.LogSumExpLast(logits) // (m, 1)
	losses := s.Sub(normaliser, s.GatherLast(logits, label))
	if weights.Defined() {
		losses = s.Mul(losses, weights)
	}
	s.AddTo(sum, s.Sum(losses))
	if !backward {
		return sum
	}

	var slope torch.Tensor // of the cap: 1 - tanh² = 1 - (logits/cap)²
	if c := m.Config.FinalLogitSoftcapping; c > 0 {
		slope = s.AddScalar(s.Scale(s.Square(logits), -1/(c*c)), 1)
	}
	// softmax(logits) - one-hot(label), in the logits' own memory
	one := s.AddScalar(s.Zeros(torch.Float32, m.Device, normaliser.Shape()...), -1) // (m, 1) of -1
	s.SubFrom(logits, normaliser)
	s.ExpTo(logits)
	s.ScatterAddLast(logits, label, one)
	if slope.Defined() {
		logits = s.Mul(logits, slope)
	}
	if weights.Defined() {
		logits = s.Mul(logits, weights)
	}
	return s.Cast(logits, m.DType)
}

// weigh returns 1 for the first rows and 0 behind, as (size, 1); none when all of them count.
func weigh(s *torch.Scope, size, real int64, device torch.Device) torch.Tensor {
	if size <= real {
		return torch.Tensor{}
	}
	w := make([]float32, size)
	for i := range w {
		if int64(i) < real {
			w[i] = 1
		}
	}
	return s.To(s.Float32s(w, size, 1), torch.Float32, device)
}
