package chart

import (
	"math"
	"testing"
	"time"
)

// TestLinesThatLeaveTheGrid: a line to a value far off the axis is drawn as far as it can be seen, and at once.
func TestLinesThatLeaveTheGrid(t *testing.T) {
	const far = int(7e12)
	for name, tc := range map[string]struct {
		x0, y0, x1, y1 int
		want           [][2]int // dots that are set
		none           bool
	}{
		"up":             {5, 10, 5, -far, [][2]int{{5, 0}, {5, 10}}, false},
		"down":           {5, 10, 6, far, [][2]int{{5, 10}, {5, 39}}, false},
		"across":         {-far, 20, far, 20, [][2]int{{0, 20}, {19, 20}}, false},
		"beside":         {50, -far, 50, far, nil, true},
		"past a corner":  {-far, 0, 0, -far, nil, true},
		"as far as ints": {3, 3, math.MaxInt / 4, 3, [][2]int{{3, 3}, {19, 3}}, false},
	} {
		d := newDots(10, 10, true) // 20 by 40 dots
		began := time.Now()
		d.line(tc.x0, tc.y0, tc.x1, tc.y1, rankLine, "", '*', false)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		any := false
		for _, c := range d.cells {
			any = any || c.bits != 0
		}
		if any == tc.none {
			t.Errorf("%s: something drawn %t, want %t", name, any, !tc.none)
		}
		for _, at := range tc.want {
			if c := d.cells[at[1]/4*d.columns+at[0]/2]; c.bits&brailleBits[at[1]%4][at[0]%2] == 0 {
				t.Errorf("%s: no dot at %v", name, at)
			}
		}
	}
}
