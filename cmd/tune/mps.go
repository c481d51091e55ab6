package main

import (
	"fmt"
	"strconv"
)

// The watermark ratios of libtorch's allocator for Apple GPUs, in parts of the memory that macOS recommends for them.
const (
	highWatermark = "PYTORCH_MPS_HIGH_WATERMARK_RATIO" // an allocation above it fails
	lowWatermark  = "PYTORCH_MPS_LOW_WATERMARK_RATIO"  // above it memory that is not in use is given back
)

// keepToBudget sets the two watermark ratios so that libtorch keeps to the memory that macOS recommends, with which a plan
// reckons as well: by itself it takes up to 1.7 times that, and the machine swaps. libtorch reads them when it first needs
// the GPU; the process that trains has them from its very start. Who has set both knows better; with one of them libtorch
// refuses to work where the other does not fit it, so that the other is set too.
func keepToBudget(getenv func(string) string, setenv func(name, value string) error) error {
	const share = 0.9 // low of high
	high, low := getenv(highWatermark), getenv(lowWatermark)
	number := func(name, text string) (float64, error) {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || value < 0 {
			return 0, badInput{fmt.Errorf("%s: want a number, 0 or more, got %q", name, text), "unset it: tune sets it"}
		}
		return value, nil
	}
	switch {
	case high != "" && low != "":
		return nil
	case high != "":
		value, err := number(highWatermark, high)
		if err != nil {
			return err
		}
		return setenv(lowWatermark, strconv.FormatFloat(share*value, 'g', -1, 64))
	case low != "":
		value, err := number(lowWatermark, low)
		if err != nil {
			return err
		}
		return setenv(highWatermark, strconv.FormatFloat(max(1, value), 'g', -1, 64))
	}
	if err := setenv(highWatermark, "1"); err != nil {
		return err
	}
	return setenv(lowWatermark, strconv.FormatFloat(share, 'g', -1, 64))
}
