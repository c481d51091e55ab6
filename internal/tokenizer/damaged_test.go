package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/bounded"
)

// TestDamagedFiles: a tokenizer that was cut short or has a bit turned over is refused in one line that begins with
// the file's name, or makes ids of its own vocabulary.
func TestDamagedFiles(t *testing.T) {
	model := miniModel()
	asJSON, config, err := ModelToJSON(model, 512)
	if err != nil {
		t.Fatal(err)
	}
	for name, whole := range map[string][]byte{modelFileName: model, jsonFileName: asJSON, "tokenizer_config.json": config} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if name == "tokenizer_config.json" {
			if err := os.WriteFile(filepath.Join(dir, jsonFileName), asJSON, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for what, b := range bounded.Damaged(whole, 256) {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			tk, err := Open(dir)
			if err != nil {
				// A special token's name that tokenizer_config.json lost is missed in tokenizer.json.
				if !strings.HasPrefix(err.Error(), dir+string(filepath.Separator)+"tokenizer") || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %s: %q", name, what, err)
				}
				continue
			}
			if len(b) < len(whole) && name != modelFileName { // a protobuf that ends between two fields is one, too
				t.Errorf("%s: %s: loads", name, what)
			}
			for _, id := range tk.Encode("the  other <bos>\n\té▁\xff") {
				if id < 0 || id >= int64(tk.VocabSize()) {
					t.Errorf("%s: %s: id %d of %d", name, what, id, tk.VocabSize())
				}
			}
		}
	}
}
