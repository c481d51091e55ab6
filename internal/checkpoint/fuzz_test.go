package checkpoint

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tune/internal/bounded"
)

// FuzzParseConfig: whatever a config.json says, it is refused or has sizes that a model can have.
func FuzzParseConfig(f *testing.F) {
	paths, err := filepath.Glob("../../testdata/golden/*/model/config.json")
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"model_type":"gemma3","text_config":{"text_config":{}}}`))
	f.Add([]byte(`{"model_type":"gemma","num_hidden_layers":1e18,"hidden_size":-1}`))
	f.Add([]byte(`{"model_type":"gemma2","num_attention_heads":16777216,"num_key_value_heads":1,"head_dim":16777216,"hidden_size":16777216}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c *Config
		var err error
		// A layer is a name in a list and a weight's name: 1,000 of them at most, whatever the size of the file.
		bounded.Run(t, len(b), 500, func() { c, err = ParseConfig(b) })
		if err != nil {
			return
		}
		if c.NumHiddenLayers < 1 || c.HiddenSize < 1 || c.VocabSize < 1 || c.NumAttentionHeads%c.NumKeyValueHeads != 0 ||
			len(c.LayerTypes) != c.NumHiddenLayers || c.Count() < 1 {
			t.Fatalf("%s\nis taken for %+v", b, c)
		}
		if most := int64(1) << 48; c.Count() > most*int64(7*c.NumHiddenLayers+1) {
			t.Fatalf("%s\nhas %d weights", b, c.Count())
		}
		for _, w := range c.Weights() {
			if n := w.Len(); n < 1 || n > 1<<48 { // two sizes of at most 2^24
				t.Fatalf("%s\n%s %v has %d numbers", b, w.Name, w.Shape, n)
			}
		}
		text, err := c.TextJSON("float32")
		if err != nil {
			t.Fatalf("%s\nwritten again: %v", b, err)
		}
		again, err := ParseConfig(text)
		if err != nil {
			t.Fatalf("%s\nwritten again as\n%s\n%v", b, text, err)
		}
		if diff := cmp.Diff(c.Weights(), again.Weights()); diff != "" || !maps.Equal(c.Rope, again.Rope) {
			t.Fatalf("%s\nwritten again as\n%s\n(-read +again):\n%s", b, text, diff)
		}
		for _, kind := range c.LayerTypes {
			if _, ok := c.Rope[kind]; !ok {
				t.Fatalf("%s\na layer of kind %q has no rotary settings", b, kind)
			}
		}
	})
}
