// Package cost does the arithmetic of what training costs on a machine that one owns and on one that is rented. It knows no
// prices: whoever calls it has them. Amounts are in one currency, whichever that is; what is not known is NaN, and what can
// never be is infinite.
package cost

import "math"

const (
	secondsPerHour = 3600
	joulesPerKWh   = 3.6e6
	daysPerYear    = 365
)

// KWh returns the energy that a draw of watts uses in so many seconds.
func KWh(watts, seconds float64) float64 { return KWhOfJoules(watts * seconds) }

// KWhOfJoules returns an energy in kilowatt-hours.
func KWhOfJoules(joules float64) float64 { return joules / joulesPerKWh }

// Hardware is a machine that was bought, used for so many hours a day until it is written off.
type Hardware struct {
	Price, Years, HoursPerDay float64
}

// LifeHours returns how long the machine is used in all.
func (h Hardware) LifeHours() float64 { return h.Years * daysPerYear * h.HoursPerDay }

// PerHour returns the share of the price that falls on an hour of use.
func (h Hardware) PerHour() float64 { return h.Price / h.LifeHours() }

// Share returns the share of the price that falls on so many seconds of use.
func (h Hardware) Share(seconds float64) float64 { return h.PerHour() * seconds / secondsPerHour }

// Monthly returns how often a month something must happen that is to happen so many times in the machine's life.
func (h Hardware) Monthly(times float64) float64 { return times / (h.Years * 12) }

// Rental is a machine that is paid by the hour.
type Rental struct {
	PerHour        float64
	BilledSeconds  float64 // a started unit of so many seconds is paid whole
	StartupSeconds float64 // from the beginning of the bill to the beginning of the work
}

// Seconds returns how long the rental lasts for work of so many seconds on the machine that it is compared with, when it is
// speedup times as fast: start-up included, in whole units.
func (r Rental) Seconds(work, speedup float64) float64 {
	const rounding = 1e-9 // of the divisions before: an exact number of units must not become one more
	return math.Ceil((r.StartupSeconds+work/speedup)/r.BilledSeconds-rounding) * r.BilledSeconds
}

// Cost returns the bill for that work.
func (r Rental) Cost(work, speedup float64) float64 {
	return r.PerHour * r.Seconds(work, speedup) / secondsPerHour
}

// SpeedupWithin returns how many times as fast the rental must be to do the work for at most the budget, infinite where no
// speed is enough: what the start-up alone costs is above it.
func (r Rental) SpeedupWithin(work, budget float64) float64 {
	const rounding = 1e-9 // as in Seconds
	affordable := math.Floor(budget*secondsPerHour/r.PerHour/r.BilledSeconds+rounding) * r.BilledSeconds
	switch left := affordable - r.StartupSeconds; {
	case math.IsNaN(left):
		return math.NaN()
	case left <= 0:
		return math.Inf(1)
	default:
		return work / left
	}
}

// BuyingPaysAfter returns how many units of work must be done until a machine at a price, with so much to pay for each unit
// that it does, has cost less than renting one at so much for the same unit: infinite where each unit is cheaper rented.
func BuyingPaysAfter(price, ownPerUnit, rentPerUnit float64) float64 {
	switch saved := rentPerUnit - ownPerUnit; {
	case math.IsNaN(saved):
		return math.NaN()
	case saved <= 0:
		return math.Inf(1)
	default:
		return price / saved
	}
}

// PerMillion returns what a million of something costs of which there were so many in all; NaN where there were none.
func PerMillion(cost float64, many int64) float64 {
	if many == 0 {
		return math.NaN()
	}
	return cost / float64(many) * 1e6
}
