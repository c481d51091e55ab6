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

// Modelfile returns the text of Ollama's Modelfile for a model file, or for an adapter file on top of a model: from
// names the model, as a path or a name of Ollama's library, adapter the adapter's path or "".
// Source: ollama/ollama, docs/modelfile.md.
func Modelfile(from, adapter string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM %s\n", from)
	if adapter != "" {
		fmt.Fprintf(&b, "ADAPTER %s\n", adapter)
	}
	fmt.Fprintf(&b, "TEMPLATE \"\"\"%s\"\"\"\nPARAMETER stop <end_of_turn>\nPARAMETER temperature 1\n", ollamaTemplate)
	return b.String()
}
