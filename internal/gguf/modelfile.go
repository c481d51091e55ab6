package gguf

import (
	"fmt"
	"strings"
)

// ollamaTemplate writes Gemma's turns in Ollama's template language, which is Go's. A system message stands before
// the first user message, as Gemma 3's own template has it; for Gemma 1 and 2, which have none, Ollama's library
// does the same. Ollama puts <bos> before it.
const ollamaTemplate = `{{- $system := "" }}
{{- range $i, $_ := .Messages }}
{{- if eq .Role "system" }}{{- $system = printf "%s\n\n" .Content }}
{{- else if eq .Role "user" }}<start_of_turn>user
{{ $system }}{{ .Content }}<end_of_turn>
{{ $system = "" }}
{{- if eq (len (slice $.Messages $i)) 1 }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if ne (len (slice $.Messages $i)) 1 }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }}`

// Sampling is how a model's generation_config.json advises to draw; a nil field is one that it leaves out.
type Sampling struct {
	Temperature       *float64 `json:"temperature"`
	TopK              *int     `json:"top_k"`
	TopP              *float64 `json:"top_p"`
	MinP              *float64 `json:"min_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
}

// Modelfile returns the text of Ollama's Modelfile for a model file, or for an adapter file on top of a model: from
// names the model, as a path or a name of Ollama's library, adapter the adapter's path or "". What advice leaves out
// is written as what changes nothing, since Ollama's own defaults would: a temperature of 1, no top-k, no top-p.
// Source: ollama/ollama, docs/modelfile.md.
func Modelfile(from, adapter string, advice Sampling) string {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM %s\n", from)
	if adapter != "" {
		fmt.Fprintf(&b, "ADAPTER %s\n", adapter)
	}
	fmt.Fprintf(&b, "TEMPLATE \"\"\"%s\"\"\"\nPARAMETER stop <end_of_turn>\n", ollamaTemplate)
	fmt.Fprintf(&b, "PARAMETER temperature %g\n", or(advice.Temperature, 1))
	fmt.Fprintf(&b, "PARAMETER top_k %d\n", or(advice.TopK, 0))
	fmt.Fprintf(&b, "PARAMETER top_p %g\n", or(advice.TopP, 1))
	fmt.Fprintf(&b, "PARAMETER min_p %g\n", or(advice.MinP, 0))
	fmt.Fprintf(&b, "PARAMETER repeat_penalty %g\n", or(advice.RepetitionPenalty, 1))
	return b.String()
}

func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}
