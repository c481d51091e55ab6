package main

import (
	"fmt"
	"math"
	"strings"

	"tune/internal/chart"
	"tune/internal/model"
	"tune/internal/runstore"
	"tune/internal/torch"
	"tune/trainer"
)

// statsLine says in one line how a reply came about; all of it, or what is worth a line after each.
func statsLine(a trainer.Answered, all bool) string {
	var parts []string
	if all {
		parts = append(parts,
			"first token "+chart.FormatDuration(a.FirstToken.Seconds()),
			fmt.Sprintf("prefill %s, %s", tokensText(a.PromptTokens), tokenRate(a.PrefillTokensPerSecond())),
			fmt.Sprintf("decode %s, %s", tokensText(max(0, a.NewTokens-1)), tokenRate(a.DecodeTokensPerSecond())))
		if peak := peakMemory(); peak > 0 {
			parts = append(parts, "peak memory "+chart.FormatBytes(float64(peak)))
		}
	} else {
		parts = append(parts, fmt.Sprintf("%s in %s", tokensText(a.NewTokens), chart.FormatDuration((a.FirstToken+a.Decode).Seconds())),
			tokenRate(a.DecodeTokensPerSecond()))
	}
	if why := endings[a.Stopped]; why != "" {
		parts = append(parts, why)
	}
	return strings.Join(parts, " · ")
}

// endings says why a reply is not whole.
var endings = map[string]string{
	model.StopLength:  "cut off: --max-new-tokens allows more",
	model.StopContext: "cut off: the model's last position is reached",
	model.StopCaller:  "interrupted",
}

func tokensText(n int) string {
	if n == 1 {
		return "1 token"
	}
	return fmt.Sprintf("%d tokens", n)
}

// tokenRate writes a rate that is 0 where there is none.
func tokenRate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "- tokens/s"
	case perSecond < 100:
		return fmt.Sprintf("%.1f tokens/s", perSecond)
	}
	return fmt.Sprintf("%.0f tokens/s", perSecond)
}

// peakMemory returns the highest memory of the process, bytes; 0 where it cannot be told.
func peakMemory() int64 { return known(torch.ProcessMemory().Peak) }

// voiceReport is which model answered, as --json writes it.
type voiceReport struct {
	Model    string `json:"model"`
	Revision string `json:"model_revision"` // commit of a model of the Hub
	Adapter  string `json:"adapter"`
	Device   string `json:"device"`
	DType    string `json:"dtype"`
}

// replyReport is one reply.
type replyReport struct {
	Reply      string      `json:"reply"`
	Tokens     int         `json:"tokens"` // of the reply
	StopReason string      `json:"stop_reason"`
	Stats      statsReport `json:"stats"`
}

// statsReport is how fast it came; a number that was not measured is null.
type statsReport struct {
	TimeToFirstToken       runstore.Real `json:"time_to_first_token_seconds"`
	PrefillTokens          int           `json:"prefill_tokens"`
	PrefillTokensPerSecond runstore.Real `json:"prefill_tokens_per_second"`
	DecodeTokens           int           `json:"decode_tokens"`
	DecodeTokensPerSecond  runstore.Real `json:"decode_tokens_per_second"`
	PeakMemoryBytes        int64         `json:"peak_memory_bytes"`
	DevicePeakMemoryBytes  int64         `json:"device_peak_memory_bytes"` // 0 for a device without memory of its own
}

func (v *voice) report(a trainer.Answered) *replyReport {
	device, _ := v.device.DeviceMemory()
	return &replyReport{Reply: a.Text, Tokens: a.Tokens, StopReason: a.Stopped, Stats: statsReport{
		TimeToFirstToken: runstore.Real(a.FirstToken.Seconds()),
		PrefillTokens:    a.PromptTokens, PrefillTokensPerSecond: measured(a.PrefillTokensPerSecond()),
		DecodeTokens: max(0, a.NewTokens-1), DecodeTokensPerSecond: measured(a.DecodeTokensPerSecond()),
		PeakMemoryBytes: peakMemory(), DevicePeakMemoryBytes: known(device.Peak),
	}}
}

// measured turns the 0 of a rate that there is none of into NaN, which is null in JSON.
func measured(perSecond float64) runstore.Real {
	if perSecond == 0 {
		return runstore.Real(math.NaN())
	}
	return runstore.Real(perSecond)
}
