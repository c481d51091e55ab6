package configs

import (
	"fmt"
	"reflect"
	"strings"
)

// otherNames are words that other trainers use for our keys, too far from ours to be found by their letters.
var otherNames = map[string]string{
	"r": "lora.rank", "lora_r": "lora.rank", "lora_model_dir": "lora.from", "adapter_path": "lora.from",
	"resume_adapter_file": "lora.from", "adapter_name_or_path": "lora.from",
	"lr": "train.learning_rate", "epochs": "train.num_train_epochs", "steps": "train.max_steps",
	"per_device_train_batch_size": "train.batch_size", "grad_accum": "train.gradient_accumulation_steps",
	"optim": "train", "scheduler": "train.lr_scheduler_type", "lr_schedule": "train.lr_scheduler_type",
	"max_seq_length": "data.max_length", "max_seq_len": "data.max_length", "train_on_inputs": "data.loss_on",
	"eval": "data.validation", "valid": "data.validation", "model_name_or_path": "model.path",
	"base_model": "model.path", "torch_dtype": "model.dtype", "output_dir": "output.dir",
}

// suggestKey looks for what an unknown dotted key may have meant: the same word in another section, another
// trainer's word, a near word in the same section, a near word anywhere. Failing all that it lists the
// section's keys.
func suggestKey(full string) string {
	section, name := splitKey(full)
	all := keys(reflect.TypeFor[Config](), "")
	byName := map[string]string{}
	var names, here []string
	for _, key := range all {
		parent, last := splitKey(key)
		if strings.ReplaceAll(key, ".", "_") == name { // lora_rank, as the record of runs spells it
			return didYouMean(key)
		}
		if parent == section {
			here = append(here, last)
		}
		if _, taken := byName[last]; !taken {
			names = append(names, last)
			byName[last] = key
		}
	}
	if key, ok := byName[name]; ok {
		return didYouMean(key)
	}
	if key, ok := otherNames[name]; ok {
		return didYouMean(key)
	}
	if near := Nearest(name, here); near != "" {
		return didYouMean(joinKey(section, near))
	}
	if near := Nearest(name, names); near != "" {
		return didYouMean(byName[near])
	}
	if len(here) == 0 { // the section itself does not exist
		return suggestKey(section)
	}
	return " (have " + strings.Join(here, ", ") + ")"
}

// keys lists the dotted keys of a struct type, each section before what is in it.
func keys(t reflect.Type, parent string) []string {
	var out []string
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if name == "-" {
			continue
		}
		key := joinKey(parent, name)
		out = append(out, key)
		if t.Field(i).Type.Kind() == reflect.Struct {
			out = append(out, keys(t.Field(i).Type, key)...)
		}
	}
	return out
}

// splitKey cuts a dotted key before its last part.
func splitKey(key string) (section, name string) {
	dot := strings.LastIndexByte(key, '.')
	return key[:max(dot, 0)], key[dot+1:]
}

// didYouMean asks about a choice; it is empty for none.
func didYouMean(choice string) string {
	if choice == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", choice)
}

// Nearest returns the choice that takes the fewest changes to reach from word, if that is at most half the letters of
// either, or of word when it holds the choice, and otherwise nothing. Of two that are equally near it is the one of word's length: letters are swapped
// more often than forgotten.
func Nearest(word string, choices []string) string {
	best, bestDistance := "", len([]rune(word))/2+1
	for _, choice := range choices {
		d := distance(strings.ToLower(word), strings.ToLower(choice))
		if d > max(1, len([]rune(choice))/2) && !strings.Contains(word, choice) { // train_file does hold train
			continue
		}
		if d < bestDistance || d == bestDistance && best != "" && len(choice) == len(word) && len(best) != len(word) {
			best, bestDistance = choice, d
		}
	}
	return best
}

// distance is how many letters must be put in, taken out, changed or swapped with their neighbour to get b from a.
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	two, one := make([]int, len(to)+1), make([]int, len(to)+1) // the rows before
	for j := range one {
		one[j] = j
	}
	for i := range from {
		row := make([]int, len(to)+1)
		row[0] = i + 1
		for j := range to {
			change := one[j]
			if from[i] != to[j] {
				change++
			}
			row[j+1] = min(one[j+1]+1, row[j]+1, change)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
		two, one = one, row
	}
	return one[len(to)]
}
