package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// specialNames are the spellings of the special tokens; "" where a file does not say.
type specialNames struct{ bos, eos, pad, unk string }

// or fills the names that are missing from another set.
func (n specialNames) or(other specialNames) specialNames {
	return specialNames{
		bos: cmp.Or(n.bos, other.bos), eos: cmp.Or(n.eos, other.eos),
		pad: cmp.Or(n.pad, other.pad), unk: cmp.Or(n.unk, other.unk),
	}
}

// chatTemplate is the model's own chat template, in the Jinja language.
type chatTemplate struct {
	path   string // of the file that holds it, "" when there is none
	source string
	others []string // the names of several templates of which none is the default; source is then empty
}

// settings are what a model folder says about its tokenizer outside the two vocabulary files.
type settings struct {
	names    specialNames
	template chatTemplate
}

// readSettings reads the files beside a tokenizer; all of them are optional.
func readSettings(dir string) (settings, error) {
	var s settings
	configPath := filepath.Join(dir, "tokenizer_config.json")
	var config struct {
		BOS      tokenName    `json:"bos_token"`
		EOS      tokenName    `json:"eos_token"`
		PAD      tokenName    `json:"pad_token"`
		UNK      tokenName    `json:"unk_token"`
		Template templateText `json:"chat_template"`
	}
	if err := readJSON(configPath, &config); err != nil {
		return s, err
	}
	s.names = specialNames{string(config.BOS), string(config.EOS), string(config.PAD), string(config.UNK)}

	// transformers looks for chat_template.jinja first, then for chat_template.json of older processors.
	jinjaPath := filepath.Join(dir, "chat_template.jinja")
	jinja, err := os.ReadFile(jinjaPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("tokenizer: %w", err)
	}
	jsonPath := filepath.Join(dir, "chat_template.json")
	var old struct {
		Template templateText `json:"chat_template"`
	}
	if err := readJSON(jsonPath, &old); err != nil {
		return s, err
	}
	for _, found := range []struct {
		path string
		templateText
	}{
		{jinjaPath, templateText{source: string(jinja)}}, {jsonPath, old.Template}, {configPath, config.Template},
	} {
		if found.source != "" || len(found.others) > 0 {
			s.template = chatTemplate{found.path, found.source, found.others}
			break
		}
	}
	return s, nil
}

// readJSON decodes a file into v; a file that is absent changes nothing.
func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// tokenName is "<bos>" or {"content": "<bos>", ...} or null.
type tokenName string

func (n *tokenName) UnmarshalJSON(raw []byte) error {
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text != nil {
			*n = tokenName(*text)
		}
		return nil
	}
	var token struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(raw, &token) != nil || token.Content == "" {
		return fmt.Errorf("a token's name is %.60s, want a string or an object with content", raw)
	}
	*n = tokenName(token.Content)
	return nil
}

// templateText is a template or null or a list of named ones, of which the one called default counts.
type templateText struct {
	source string
	others []string // the names in a list without a default
}

func (t *templateText) UnmarshalJSON(raw []byte) error {
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text != nil {
			t.source = *text
		}
		return nil
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return fmt.Errorf("chat_template is %.60s, want a string or a list of named templates", raw)
	}
	for _, named := range list {
		if named.Name == "default" {
			*t = templateText{source: named.Template}
			return nil
		}
		t.others = append(t.others, named.Name)
	}
	return nil
}
