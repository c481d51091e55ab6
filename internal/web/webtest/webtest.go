// Package webtest finds a real browser for tests of pages.
package webtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Chromium returns where a browser is, or skips the test.
func Chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("TUNE_CHROME"), "chromium", "chromium-browser", "google-chrome",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"} {
		path, err := exec.LookPath(name)
		if name == "" || err != nil {
			continue
		}
		// Ubuntu's chromium-browser may be a script that only says where to get the real one.
		if out, err := exec.Command(path, "--version").CombinedOutput(); err == nil && strings.Contains(string(out), "Chrom") {
			return path
		}
	}
	t.Skip("no Chromium here, so the page is not tested: install chromium, or name one in TUNE_CHROME")
	return ""
}
