package adapterfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/bounded"
)

// TestDamagedFiles: an adapter whose settings or numbers were cut short or have a bit turned over is refused by the
// name of the file, a problem a line, or holds together.
func TestDamagedFiles(t *testing.T) {
	for _, from := range []folder{peftFolder(), mlxFolder()} {
		dir := from.write(t)
		for _, name := range []string{configFile, from.weights} {
			path := filepath.Join(dir, name)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for what, b := range bounded.Damaged(whole, len(whole)) {
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				a, err := Read(dir)
				if err == nil {
					if wrong := a.check(); wrong != nil {
						t.Errorf("%s: %s: loads, and %v", name, what, wrong)
					}
					if len(b) < len(whole) {
						t.Errorf("%s: %s: loads", name, what)
					}
					continue
				}
				for line := range strings.SplitSeq(err.Error(), "\n") {
					// What no longer fits the settings may be told of the numbers' file.
					if !strings.HasPrefix(line, filepath.Join(dir, name)) && !strings.HasPrefix(line, filepath.Join(dir, from.weights)) {
						t.Errorf("%s: %s: %q", name, what, line)
					}
				}
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
