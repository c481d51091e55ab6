package trainer

import (
	"fmt"
	"math"
)

// Schedule gives the learning rate of each step.
type Schedule interface {
	// At returns the learning rate of a step, counted from 1.
	At(step int) float64
}

// NewSchedule makes the schedule that Hugging Face calls kind: constant, linear or cosine. The rate rises from
// 0 over warmup steps, so the first of them changes nothing; linear and cosine then fall to 0 behind the last
// of total steps.
func NewSchedule(kind string, peak float64, warmup, total int) (Schedule, error) {
	if warmup > total {
		warmup = total
	}
	w := warmUp{peak, warmup}
	switch kind {
	case "constant":
		return constant{w}, nil
	case "linear":
		return linear{w, total}, nil
	case "cosine":
		return cosine{w, total}, nil
	}
	return nil, fmt.Errorf("lr_scheduler_type: unknown %q (want constant, linear or cosine)", kind)
}

type warmUp struct {
	peak  float64
	steps int
}

// at returns the rate during warm-up; done is how many steps came before.
func (w warmUp) at(done int) (float64, bool) {
	if done >= w.steps {
		return 0, false
	}
	return w.peak * float64(done) / float64(w.steps), true
}

type constant struct{ warmUp }

func (c constant) At(step int) float64 {
	if lr, rising := c.at(step - 1); rising {
		return lr
	}
	return c.peak
}

type linear struct {
	warmUp
	total int
}

func (l linear) At(step int) float64 {
	if lr, rising := l.at(step - 1); rising {
		return lr
	}
	return l.peak * (1 - progress(step, l.steps, l.total))
}

type cosine struct {
	warmUp
	total int
}

func (c cosine) At(step int) float64 {
	if lr, rising := c.at(step - 1); rising {
		return lr
	}
	return c.peak / 2 * (1 + math.Cos(math.Pi*progress(step, c.steps, c.total)))
}

// progress is the share of the steps after warm-up that came before step.
func progress(step, warmup, total int) float64 {
	if total <= warmup {
		return 0
	}
	return min(1, float64(step-1-warmup)/float64(total-warmup))
}
