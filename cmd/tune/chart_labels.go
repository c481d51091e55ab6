package main

import (
	"slices"
	"strings"

	"tune/configs"
)

// runLabels names the runs of a chart, no two alike: by name where that is enough, by the settings in which runs of one name
// differ where those can be told, and else by id.
func runLabels(runs []chartedRun) []string {
	labels := make([]string, len(runs))
	named := map[string][]int{}
	for i := range runs {
		labels[i] = runs[i].Name
		named[runs[i].Name] = append(named[runs[i].Name], i)
	}
	for name, same := range named {
		if len(same) < 2 {
			continue
		}
		for k, text := range differences(runs, same) {
			if labels[same[k]] = text; text == "" {
				labels[same[k]] = name
			}
		}
	}
	given := slices.Clone(labels)
	for i, text := range given {
		if howMany(given, text) > 1 {
			labels[i] = runs[i].ID
		}
	}
	return labels
}

// differences returns, for each of some runs, the settings that are not as most of these runs have them: "rank 16".
func differences(runs []chartedRun, same []int) []string {
	out := make([]string, len(same))
	for _, key := range configs.Keys() {
		if section, _, _ := strings.Cut(key, "."); slices.Contains([]string{"name", "output", "sample", "checkpoint", "retries"}, section) {
			continue // not what a run learns from
		}
		values := make([]string, len(same))
		for k, i := range same {
			if runs[i].config == nil {
				return make([]string, len(same))
			}
			values[k], _ = runs[i].config.Value(key) // a key that there is
		}
		usual := mostFrequent(values)
		for k, v := range values {
			if v == usual {
				continue
			}
			if out[k] != "" {
				out[k] += ", "
			}
			out[k] += key[strings.LastIndexByte(key, '.')+1:] + " " + v
		}
	}
	return out
}

// mostFrequent returns the value that more than half of them are, or the empty string: then each is worth telling.
func mostFrequent(values []string) string {
	for _, v := range values {
		if 2*howMany(values, v) > len(values) {
			return v
		}
	}
	return ""
}

func howMany(all []string, one string) int {
	n := 0
	for _, v := range all {
		if v == one {
			n++
		}
	}
	return n
}
