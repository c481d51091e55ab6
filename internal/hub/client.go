package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultEndpoint is the public Hub.
const DefaultEndpoint = "https://huggingface.co"

// Client fetches models from a Hub into a cache. Set the fields before the first call and leave them then; any number
// of goroutines may call.
type Client struct {
	Endpoint string // where the Hub is, without a slash at its end
	Cache    string // the folder that holds models--org--name
	Offline  bool   // never use the network
	// OfflineSource is the variable that says so, for messages.
	OfflineSource string
	// Token is sent to Endpoint and to no other host; "" for none.
	Token string
	// TokenSource says where the token was found, for messages: a variable or a file.
	TokenSource string

	once sync.Once
	web  *http.Client

	// What tests replace; nil and 0 stand for the real thing.
	sleep   func(ctx context.Context, d time.Duration) error
	symlink func(target, link string) error
	free    func(dir string) (bytes int64, known bool)
	stall   time.Duration // a connection that brings nothing for so long is cut
}

// FromEnvironment returns a Client as the variables of huggingface_hub describe it: HF_HOME, XDG_CACHE_HOME,
// HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE, and the older names HUGGINGFACE_HUB_CACHE,
// HUGGING_FACE_HUB_TOKEN and TRANSFORMERS_OFFLINE. A variable that is empty counts as absent.
//
// Errors: an HF_ENDPOINT that is no address, a token that no header can carry, a token file that cannot be read, no
// home folder where one is needed.
func FromEnvironment() (*Client, error) {
	c := &Client{Endpoint: DefaultEndpoint}
	home, err := hfHome()
	if err != nil {
		return nil, err
	}
	c.Cache = filepath.Join(home, "hub")
	if _, dir := firstSet("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"); dir != "" {
		if c.Cache, err = expand(dir); err != nil {
			return nil, err
		}
	}
	if _, endpoint := firstSet("HF_ENDPOINT"); endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("HF_ENDPOINT: want an address such as %s, got %q", DefaultEndpoint, endpoint)
		}
		c.Endpoint = strings.TrimRight(endpoint, "/")
	}
	source, offline := firstSet("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
	if c.Offline = slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(offline)); c.Offline {
		c.OfflineSource = source
	}
	return c, c.findToken(home)
}

// hfHome is the folder of everything that Hugging Face's programs keep.
func hfHome() (string, error) {
	if _, dir := firstSet("HF_HOME"); dir != "" {
		return expand(dir)
	}
	if _, dir := firstSet("XDG_CACHE_HOME"); dir != "" {
		dir, err := expand(dir)
		return filepath.Join(dir, "huggingface"), err
	}
	return expand(filepath.Join("~", ".cache", "huggingface"))
}

// expand replaces a leading ~ and $VARIABLES, as huggingface_hub does.
func expand(path string) (string, error) {
	path = os.ExpandEnv(path)
	if path != "~" && !strings.HasPrefix(path, "~/") && !strings.HasPrefix(path, "~"+string(filepath.Separator)) {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the Hugging Face cache: %w; HF_HOME can name a folder", err)
	}
	return filepath.Join(home, path[1:]), nil
}

// firstSet returns the first of the variables that is not empty, with its value.
func firstSet(names ...string) (name, value string) {
	for _, name := range names {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			return name, value
		}
	}
	return "", ""
}

// findToken takes the token of a variable or else of the file that `hf auth login` writes.
func (c *Client) findToken(home string) error {
	c.TokenSource, c.Token = firstSet("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
	if c.Token == "" {
		path := filepath.Join(home, "token")
		if _, named := firstSet("HF_TOKEN_PATH"); named != "" {
			var err error
			if path, err = expand(named); err != nil {
				return err
			}
		}
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the Hub's token: %w", err)
		}
		if c.Token = strings.TrimSpace(string(text)); c.Token != "" {
			c.TokenSource = path
		}
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s: holds no token: there are spaces or other signs in it that no token has", c.TokenSource)
	}
	return nil
}

// The waits of a connection. A stalled one is cut and taken up again where it stopped.
const (
	connectTimeout = 10 * time.Second // as huggingface_hub's HF_HUB_ETAG_TIMEOUT
	answerTimeout  = 30 * time.Second
	stallTimeout   = 30 * time.Second
)

// client is made on first use: it carries the token, so it is never handed out.
func (c *Client) client() *http.Client {
	c.once.Do(func() {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DialContext = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
		t.TLSHandshakeTimeout = connectTimeout
		t.ResponseHeaderTimeout = answerTimeout
		t.DisableCompression = true // ranges and hashes are of the bytes as they are stored
		c.web = &http.Client{Transport: &signer{endpoint: c.Endpoint, token: c.Token, next: t}, CheckRedirect: checkRedirect}
	})
	return c.web
}

// signer adds the token to requests that go to the Hub itself. The standard client would carry a header along
// redirects to other ports and to subdomains; here no redirect ever has one to carry.
type signer struct {
	endpoint, token string
	next            http.RoundTripper
}

func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.token != "" && sameOrigin(r.URL, s.endpoint) {
		r = r.Clone(r.Context()) // a RoundTripper must not change what it was given
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	return s.next.RoundTrip(r)
}

// sameOrigin reports whether u has the scheme, the host and the port of the endpoint.
func sameOrigin(u *url.URL, endpoint string) bool {
	e, err := url.Parse(endpoint)
	return err == nil && u.Scheme == e.Scheme && strings.EqualFold(u.Host, e.Host)
}

// checkRedirect follows ten redirects at most and none that gives up encryption.
func checkRedirect(next *http.Request, before []*http.Request) error {
	switch {
	case len(before) >= 10:
		return errors.New("stopped after 10 redirects")
	case before[0].URL.Scheme == "https" && next.URL.Scheme != "https":
		return fmt.Errorf("redirected from https to %s at %s", next.URL.Scheme, next.URL.Host)
	}
	return nil
}

// Site returns the endpoint as messages show it: without a password that may stand in it.
func (c *Client) Site() string {
	if u, err := url.Parse(c.Endpoint); err == nil {
		u.User = nil
		return u.String()
	}
	return "the Hub"
}
