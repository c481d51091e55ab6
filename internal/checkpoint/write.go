package checkpoint

import (
	"bytes"
	"encoding/json"
)

// TextJSON returns the config.json of a folder that holds the text model alone, its weights in dtype, such as
// bfloat16: the file that was read, with the new dtype. Of a multimodal checkpoint that is its text_config, as the
// class of the text model, Gemma3ForCausalLM, reads it; an image tower that is not written must not be promised.
func (c *Config) TextJSON(dtype string) ([]byte, error) {
	var outer map[string]any
	decoder := json.NewDecoder(bytes.NewReader(c.Raw))
	decoder.UseNumber() // a float64 in between would respell 1000000.0
	if err := decoder.Decode(&outer); err != nil {
		return nil, err
	}
	fields := outer
	if text, ok := outer["text_config"].(map[string]any); ok && c.Multimodal {
		fields = text
		fields["architectures"] = []string{"Gemma3ForCausalLM"}
		fields["model_type"] = "gemma3_text"
		for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"} {
			if v, ok := outer[key]; ok { // these count where both have them: the turn's end is among them
				fields[key] = v
			}
		}
	}
	delete(fields, "dtype")
	fields["torch_dtype"] = dtype
	b, err := json.MarshalIndent(fields, "", "  ")
	return append(b, '\n'), err
}
