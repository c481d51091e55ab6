package cost

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func near(a, b float64) bool {
	if math.IsNaN(a) || math.IsNaN(b) || math.IsInf(a, 0) || math.IsInf(b, 0) {
		return math.IsNaN(a) == math.IsNaN(b) && math.IsInf(a, 1) == math.IsInf(b, 1)
	}
	return math.Abs(a-b) <= 1e-12*max(math.Abs(a), math.Abs(b), 1) // rounding of a few operations
}

// TestByHand holds each result against one worked out on paper.
func TestByHand(t *testing.T) {
	nan, never := math.NaN(), math.Inf(1)
	mac := Hardware{Price: 2920, Years: 4, HoursPerDay: 4}                   // 4·365·4 = 5840 hours at 0.50
	hourly := Rental{PerHour: 2, BilledSeconds: 3600}                        // whole hours
	minutely := Rental{PerHour: 1.2, BilledSeconds: 60, StartupSeconds: 300} // 0.02 a minute
	secondly := Rental{PerHour: 3.6, BilledSeconds: 1, StartupSeconds: 90}   // 0.001 a second
	for _, tc := range []struct {
		name      string
		got, want float64
	}{
		{"60 W for half an hour", KWh(60, 1800), 0.03},
		{"a kilowatt-hour in joules", KWhOfJoules(3.6e6), 1},
		{"unknown watts", KWh(nan, 1800), nan},
		{"life", mac.LifeHours(), 5840},
		{"hardware by the hour", mac.PerHour(), 0.5},
		{"hardware for 36 s", mac.Share(36), 0.005},
		{"480 runs in four years", mac.Monthly(480), 10},

		{"a second of work, paid by the hour", hourly.Cost(1, 1), 2},
		{"an hour of work is one hour", hourly.Cost(3600, 1), 2},
		{"a second more is two", hourly.Cost(3601, 1), 4},
		{"twice as fast it is one again", hourly.Cost(3601, 2), 2},
		{"90 s of work behind 5 minutes are 7 minutes", minutely.Cost(90, 1), 0.14},
		{"a third of an hour at a speed of 3", minutely.Cost(3600, 3), 0.02 * 25},
		{"by the second nothing is rounded up", secondly.Cost(10, 1), 0.1},
		{"an exact number of units stays one", Rental{PerHour: 1, BilledSeconds: 60}.Seconds(0.1*3*600, 1), 180},

		{"affordable: 10 minutes, 5 of them work", minutely.SpeedupWithin(900, 0.2), 3},
		{"a started minute is paid whole", minutely.SpeedupWithin(900, 0.219), 3},
		{"the start-up alone is above the budget", minutely.SpeedupWithin(900, 0.1), never},
		{"nothing is known of the budget", minutely.SpeedupWithin(900, nan), nan},
		{"that speed is enough", minutely.Cost(900, 3), 0.2},

		{"2920 at 0.02 against 0.75 an hour", BuyingPaysAfter(2920, 0.02, 0.75), 4000},
		{"renting is cheaper than electricity", BuyingPaysAfter(2920, 0.02, 0.01), never},
		{"the same", BuyingPaysAfter(2920, 0.02, 0.02), never},
		{"electricity is unknown", BuyingPaysAfter(2920, nan, 1), nan},

		{"two for 500,000", PerMillion(2, 500_000), 4},
		{"of none", PerMillion(2, 0), nan},
	} {
		if !near(tc.got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

// TestSpeedupIsTheLeast: what SpeedupWithin names is within the budget, and a speed a little lower is not.
func TestSpeedupIsTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rental{
			PerHour:        rapid.Float64Range(0.01, 100).Draw(t, "price"),
			BilledSeconds:  rapid.SampledFrom([]float64{1, 60, 3600}).Draw(t, "unit"),
			StartupSeconds: rapid.Float64Range(0, 1200).Draw(t, "start-up"),
		}
		work := rapid.Float64Range(1, 1e6).Draw(t, "work")
		budget := rapid.Float64Range(0.001, 1000).Draw(t, "budget")
		speed := r.SpeedupWithin(work, budget)
		if math.IsInf(speed, 1) {
			if cost := r.Cost(work, 1e5*work); cost < budget*(1-1e-6) { // 10 µs of work
				t.Fatalf("no speed is enough, but %v is below %v", cost, budget)
			}
			return
		}
		if cost := r.Cost(work, speed); cost > budget*(1+1e-6) {
			t.Fatalf("at %v it costs %v, above %v", speed, cost, budget)
		}
		if cost := r.PerHour * (r.Seconds(work, speed) + r.BilledSeconds) / 3600; cost < budget*(1-1e-6) {
			t.Fatalf("at %v there is room for another unit of time", speed)
		}
	})
}

// TestBreakEvenIsWhereTheLinesMeet: both sides cost the same there.
func TestBreakEvenIsWhereTheLinesMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		price := rapid.Float64Range(1, 1e5).Draw(t, "price")
		own, rent := rapid.Float64Range(0, 5).Draw(t, "own"), rapid.Float64Range(0, 5).Draw(t, "rent")
		n := BuyingPaysAfter(price, own, rent)
		if math.IsInf(n, 1) {
			if rent > own {
				t.Fatalf("%v an hour against %v: never", own, rent)
			}
			return
		}
		bought, rented := price+n*own, n*rent
		if math.Abs(bought-rented) > 1e-6*bought {
			t.Fatalf("after %v hours %v bought and %v rented", n, bought, rented)
		}
	})
}
