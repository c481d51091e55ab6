package hub

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clear empties every variable that FromEnvironment reads.
func clear(t *testing.T) (home string) {
	t.Helper()
	for _, name := range []string{"HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN",
		"HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		t.Setenv(name, "")
	}
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	return home
}

func TestFromEnvironment(t *testing.T) {
	type want struct {
		endpoint, cache, token, source string
		offline                        string // the variable
	}
	for _, tc := range []struct {
		name  string
		env   map[string]string
		files map[string]string // below the home folder
		want  want              // ~ stands for the home folder
	}{
		{"nothing", nil, nil, want{DefaultEndpoint, "~/.cache/huggingface/hub", "", "", ""}},
		{"XDG", map[string]string{"XDG_CACHE_HOME": "/x"}, nil, want{DefaultEndpoint, "/x/huggingface/hub", "", "", ""}},
		{"HF_HOME", map[string]string{"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x"}, map[string]string{"hf/token": " hf_file\n"},
			want{DefaultEndpoint, "~/hf/hub", "hf_file", "~/hf/token", ""}},
		{"HF_HUB_CACHE", map[string]string{"HF_HUB_CACHE": "$HOME/c", "HUGGINGFACE_HUB_CACHE": "/old"}, nil,
			want{DefaultEndpoint, "~/c", "", "", ""}},
		{"older names", map[string]string{"HUGGINGFACE_HUB_CACHE": "/old", "HUGGING_FACE_HUB_TOKEN": "hf_old", "TRANSFORMERS_OFFLINE": "yes"}, nil,
			want{DefaultEndpoint, "/old", "hf_old", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_OFFLINE"}},
		{"a mirror", map[string]string{"HF_ENDPOINT": "https://mirror.example/hub/"}, nil,
			want{"https://mirror.example/hub", "~/.cache/huggingface/hub", "", "", ""}},
		{"variables before files", map[string]string{"HF_TOKEN": "hf_new", "HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_HUB_OFFLINE": "0"},
			map[string]string{".cache/huggingface/token": "hf_file"},
			want{DefaultEndpoint, "~/.cache/huggingface/hub", "hf_new", "HF_TOKEN", ""}},
		{"HF_TOKEN_PATH", map[string]string{"HF_TOKEN_PATH": "~/t", "HF_HUB_OFFLINE": "True"},
			map[string]string{".cache/huggingface/token": "hf_file", "t": "hf_path"},
			want{DefaultEndpoint, "~/.cache/huggingface/hub", "hf_path", "~/t", "HF_HUB_OFFLINE"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			home := clear(t)
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			for name, text := range tc.files {
				path := filepath.Join(home, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c, err := FromEnvironment()
			if err != nil {
				t.Fatal(err)
			}
			got := want{c.Endpoint, strings.Replace(c.Cache, home, "~", 1), c.Token, strings.Replace(c.TokenSource, home, "~", 1), c.OfflineSource}
			if got != tc.want || c.Offline != (tc.want.offline != "") {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestFromEnvironmentRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ variable, value, want string }{
		"no address":       {"HF_ENDPOINT", "huggingface.co", `HF_ENDPOINT: want an address such as https://huggingface.co, got "huggingface.co"`},
		"another scheme":   {"HF_ENDPOINT", "ftp://huggingface.co", `HF_ENDPOINT: want an address`},
		"no token":         {"HF_TOKEN", "hf_a hf_b", "HF_TOKEN: holds no token"},
		"a token's folder": {"HF_TOKEN_PATH", "~", "read the Hub's token"},
	} {
		t.Run(name, func(t *testing.T) {
			clear(t)
			t.Setenv(tc.variable, tc.value)
			_, err := FromEnvironment()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hf_a") {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"google/gemma-3-1b-it": true, "models/pocket": true, "a/b": true, "_x/y_": true, "Org.1/name_2.0-x": true,
		"": false, "gpt2": false, "/a/b": false, "./a": false, "../a": false, "a/..": false, "a/.b": false, "a/b/c": false, "a/": false,
		"a/b--c": false, "a--b/c": false, "a/b..c": false, "a/b.git": false, "-a/b": false, "a/b-": false, "a/b c": false, `a\b`: false,
		"a/" + strings.Repeat("b", 95): false, "ü/b": false, "a/b\n": false,
	} {
		if got := ValidID(id); got != want {
			t.Errorf("%q: %t, want %t", id, got, want)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for revision, want := range map[string]bool{
		"main": true, "refs/pr/1": true, "v1.0": true, "feature/x_y-z": true, "a2": true,
		"..": false, "../x": false, "a/../b": false, "/x": false, "x/": false, "": false, "a b": false, `a\b`: false, "a//b": false,
		"a:b": false, "a\x00": false, ".": false,
	} {
		if err := checkNames(repo, revision); (err == nil) != want {
			t.Errorf("%q: %v", revision, err)
		}
	}
}

// TestEndpointIsShownWithoutItsPassword: a mirror's address may carry one.
func TestEndpointIsShownWithoutItsPassword(t *testing.T) {
	c := &Client{Endpoint: "https://me:secret@mirror.example"}
	if got := c.Site(); got != "https://mirror.example" {
		t.Errorf("%q", got)
	}
}

// TestSameOrigin decides who gets the token: nobody with another scheme, host or port.
func TestSameOrigin(t *testing.T) {
	for address, want := range map[string]bool{
		"https://hub.example/x": true, "https://HUB.example/y?z": true,
		"http://hub.example/x": false, "https://hub.example:8443/x": false, "https://cdn.hub.example/x": false, "https://other.example": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameOrigin(u, "https://hub.example"); got != want {
			t.Errorf("%s: %t, want %t", address, got, want)
		}
	}
}
