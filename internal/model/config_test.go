package model

import (
	"os"
	"testing"
)

func readConfigFile(t *testing.T, path string) *Config {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseConfig(b)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c
}
