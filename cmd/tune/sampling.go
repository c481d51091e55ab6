package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"tune/internal/gguf"
	"tune/internal/model"
)

// samplingFlags say how the next token is chosen.
func samplingFlags(maxNewTokens int) []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "max-new-tokens", Usage: "end after `N` tokens", Value: maxNewTokens},
		&cli.Float64Flag{Name: "temperature", Usage: "0 takes the likeliest token each time, 1 draws as the model says"},
		&cli.IntFlag{Name: "top-k", Usage: "draw from the `K` likeliest tokens; 0 for all"},
		&cli.Float64Flag{Name: "top-p", Usage: "draw from the fewest tokens that have the probability `P` together", Value: 1},
		&cli.Float64Flag{Name: "min-p", Usage: "draw from tokens at least `P` times as likely as the likeliest"},
		&cli.Float64Flag{Name: "repetition-penalty", Usage: "above 1 makes what the text has already less likely", Value: 1},
		&cli.BoolFlag{Name: "sample", Usage: "draw as the model's generation_config.json says; the flags above go before it"},
		&cli.Int64Flag{Name: "seed", Usage: "fixes what is drawn", Value: 42},
	}
}

// readSampling checks the flags of samplingFlags.
func readSampling(c *cli.Context) (model.GenerateOptions, error) {
	o := model.GenerateOptions{MaxNewTokens: c.Int("max-new-tokens"), Temperature: c.Float64("temperature"), TopK: c.Int("top-k"),
		TopP: c.Float64("top-p"), MinP: c.Float64("min-p"), RepetitionPenalty: c.Float64("repetition-penalty"), Seed: c.Int64("seed")}
	bad := func(name, want string) error {
		return badInput{fmt.Errorf("%s: --%s: must be %s, got %v", commandOf(c), name, want, c.Value(name)), ""}
	}
	for _, check := range []struct {
		name string
		ok   bool
		want string
	}{
		{"max-new-tokens", o.MaxNewTokens >= 1, "at least 1"},
		{"temperature", o.Temperature >= 0 && o.Temperature <= maxTemperature, fmt.Sprintf("from 0 to %d", maxTemperature)},
		{"top-k", o.TopK >= 0, "at least 0"},
		{"top-p", o.TopP > 0 && o.TopP <= 1, "above 0 and at most 1"},
		{"min-p", o.MinP >= 0 && o.MinP <= 1, "from 0 to 1"},
		{"repetition-penalty", o.RepetitionPenalty > 0 && o.RepetitionPenalty <= 100, "above 0 and at most 100"},
	} {
		if !check.ok {
			return o, bad(check.name, check.want)
		}
	}
	for _, name := range []string{"top-k", "top-p", "min-p", "seed"} {
		if c.IsSet(name) && o.Temperature == 0 && !c.Bool("sample") {
			return o, badInput{fmt.Errorf("%s: --%s: nothing is drawn at temperature 0", commandOf(c), name), "--temperature 1, or --sample, draws"}
		}
	}
	if c.Bool("sample") && c.IsSet("temperature") && o.Temperature == 0 {
		return o, badInput{fmt.Errorf("%s: --sample: nothing is drawn at --temperature 0", commandOf(c)), "leave one of them out"}
	}
	return o, nil
}

// maxTemperature is where every model writes noise, and a mistyped 0.7 shows.
const maxTemperature = 100

// drawAsAdvised fills what --sample takes from the model's generation_config.json where no flag says otherwise.
func (v *voice) drawAsAdvised(c *cli.Context, o *model.GenerateOptions) error {
	if !c.Bool("sample") {
		return nil
	}
	advice, path, err := readAdvice(v.dir)
	if errors.Is(err, os.ErrNotExist) {
		return badInput{fmt.Errorf("%s: --sample: %s does not exist", commandOf(c), path), "--temperature 1 draws as the model says"}
	}
	if err != nil {
		return err
	}
	if advice.Temperature == nil {
		advice.Temperature = new(1.0)
	}
	take(c, "temperature", &o.Temperature, advice.Temperature)
	take(c, "top-k", &o.TopK, advice.TopK)
	take(c, "top-p", &o.TopP, advice.TopP)
	take(c, "min-p", &o.MinP, advice.MinP)
	take(c, "repetition-penalty", &o.RepetitionPenalty, advice.RepetitionPenalty)
	if !(o.Temperature > 0) || o.TopK < 0 || o.TopP <= 0 || o.TopP > 1 || o.MinP < 0 || o.MinP > 1 || o.RepetitionPenalty <= 0 {
		return badInput{fmt.Errorf("%s: temperature %g, top_k %d, top_p %g, min_p %g, repetition_penalty %g: one of them cannot be",
			path, o.Temperature, o.TopK, o.TopP, o.MinP, o.RepetitionPenalty), ""}
	}
	return nil
}

// readAdvice reads how the generation_config.json of a model folder advises to draw; path is that file. What the file
// leaves out changes nothing: transformers would fill in a top_k of 50 that no file mentions.
//
// Errors: os.ErrNotExist without the file; text that is no JSON of the right kinds.
func readAdvice(dir string) (advice gguf.Sampling, path string, err error) {
	path = filepath.Join(dir, "generation_config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return advice, path, err
	}
	if err := json.Unmarshal(text, &advice); err != nil {
		return advice, path, badInput{fmt.Errorf("%s: %w", path, err), ""}
	}
	return advice, path, nil
}

// take sets a value that no flag has set.
func take[T any](c *cli.Context, flag string, value, advised *T) {
	if advised != nil && !c.IsSet(flag) {
		*value = *advised
	}
}
