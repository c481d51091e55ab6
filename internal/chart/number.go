package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// FormatBytes returns a size in decimal units with three digits, the way disks and charts count them:
// "0 B", "640 B", "81.9 MB", "1.23 GB". A size that is no number is "-".
func FormatBytes(bytes float64) string {
	if math.IsNaN(bytes) || math.IsInf(bytes, 0) {
		return "-"
	}
	sign := ""
	if bytes < 0 {
		sign, bytes = "-", -bytes
	}
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	unit := 0
	// 999.5 of a unit would print as 1000: it belongs to the next.
	for bytes >= 999.5 && unit < len(units)-1 {
		bytes, unit = bytes/1000, unit+1
	}
	digits := 0
	switch {
	case unit == 0: // there is no half byte
	case bytes < 9.995:
		digits = 2
	case bytes < 99.95:
		digits = 1
	}
	return sign + strconv.FormatFloat(bytes, 'f', digits, 64) + " " + units[unit]
}

// FormatDuration returns seconds as a person would say them: "0 s", "3 ms", "38.2 s", "4m 54s", "2h 05m",
// "3d 04h". A duration that is no number is "-".
func FormatDuration(seconds float64) string {
	switch {
	case math.IsNaN(seconds) || math.IsInf(seconds, 0):
		return "-"
	case seconds < 0:
		return "-" + FormatDuration(-seconds)
	case seconds < 0.0005:
		return "0 s"
	case seconds < 0.9995:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	case seconds < 59.95:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 3599.5:
		s := int(math.Round(seconds))
		return fmt.Sprintf("%dm %02ds", s/60, s%60)
	case seconds < 86400-30:
		m := int(math.Round(seconds / 60))
		return fmt.Sprintf("%dh %02dm", m/60, m%60)
	case seconds > 86400*1e6:
		return fmt.Sprintf("%.3gd", seconds/86400)
	}
	h := int(math.Round(seconds / 3600))
	return fmt.Sprintf("%dd %02dh", h/24, h%24)
}

// formatLoss returns a loss with as many digits as anyone compares.
func formatLoss(loss float64) string {
	if size := math.Abs(loss); size >= 1000 || size < 0.001 && size > 0 {
		return strconv.FormatFloat(loss, 'g', 4, 64)
	}
	return strconv.FormatFloat(loss, 'f', 3, 64)
}

// formatTick returns v with the digits that ticks so far apart need, thousands grouped: "0.25", "1,500".
func formatTick(v, apart float64) string {
	if math.Abs(v) < 1e-6*apart { // what is left of zero after rounding
		return "0"
	}
	if math.Abs(v) >= 1e9 || apart < 1e-5 {
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	digits := max(0, -int(math.Floor(math.Log10(apart)+1e-9)))
	return groupThousands(strconv.FormatFloat(v, 'f', digits, 64))
}

// formatCount returns a whole number with its thousands grouped.
func formatCount(n int) string { return groupThousands(strconv.Itoa(n)) }

// groupThousands puts commas into the whole part of a plain decimal number.
func groupThousands(number string) string {
	sign := ""
	if strings.HasPrefix(number, "-") {
		sign, number = "-", number[1:]
	}
	whole, fraction, _ := strings.Cut(number, ".")
	if fraction != "" {
		fraction = "." + fraction
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return sign + whole + fraction
}

// formatDurationTick returns a duration on an axis: the shortest form, without the parts that are zero.
func formatDurationTick(seconds float64) string {
	switch {
	case seconds < 1e-9:
		return "0"
	case seconds < 1:
		return fmt.Sprintf("%g ms", math.Round(seconds*1e6)/1e3)
	case seconds < 60:
		return fmt.Sprintf("%g s", seconds)
	}
	var parts []string
	rest := math.Round(seconds)
	for _, unit := range []struct {
		name    string
		seconds float64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}} {
		if n := math.Floor(rest / unit.seconds); n > 0 {
			parts = append(parts, fmt.Sprintf("%.0f%s", n, unit.name))
			rest -= n * unit.seconds
		}
	}
	return strings.Join(parts, " ")
}

// count is a number of things: "1 trial", "12 trials".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return formatCount(n) + " " + thing + "s"
}

// threeDigits rounds v to three digits.
func threeDigits(v float64) float64 {
	short, _ := strconv.ParseFloat(fmt.Sprintf("%.2e", v), 64)
	return short
}

// formatSetting returns a setting as people write it: 16, 0.05, 1e-4, 25,000. One that is no number is "-".
func formatSetting(v float64) string {
	size := math.Abs(v)
	switch {
	case size == 0: // also a negative one
		return "0"
	case !finite(v):
		return "-"
	}
	if v == math.Trunc(v) && size < 1e7 {
		return groupThousands(fmt.Sprintf("%.0f", v))
	}
	if size >= 0.001 && size < 1e7 {
		return groupThousands(fmt.Sprintf("%.4g", v))
	}
	mantissa, exponent, _ := strings.Cut(fmt.Sprintf("%.3e", v), "e")
	mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	sign := strings.TrimLeft(exponent[:1], "+")
	return mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0")
}
