package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// send makes one request. An answer of 400 and above becomes an *Error, and so does none at all.
func (c *Client) send(ctx context.Context, client *http.Client, method, address string, p place, headers ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, c.fail(ErrInvalid, p, "", "%s: %s is no address", p, c.Site())
	}
	r.Header.Set("User-Agent", "tune")
	r.Header.Set("Accept-Encoding", "identity") // offsets and hashes are of the stored bytes
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, c.broken(ctx, p, r.URL, err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, c.refusal(p, resp)
	}
	return resp, nil
}

// broken is the error of a request to an address that got no answer, or of an answer that stopped.
func (c *Client) broken(ctx context.Context, p place, at *url.URL, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errStalled) {
		return cause
	} else if cause != nil {
		err = cause
	}
	// The text of a url.Error has the address, which on a content server carries a signature. It is that of the last
	// request, after redirects.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
		if last, bad := url.Parse(u.URL); bad == nil {
			at = last
		}
	}
	e := c.fail(ErrUnreachable, p, "check the network; HF_ENDPOINT can name a mirror, HF_HUB_OFFLINE=1 stays with what the cache has",
		"%s: cannot read from %s: %s", p, c.host(at), c.redact(oneLine(err.Error())))
	e.Cause = err
	return e
}

// host names a server in messages: the Hub by its endpoint, any other by scheme and host, without the signature that
// the rest of an address may hold.
func (c *Client) host(u *url.URL) string {
	if sameOrigin(u, c.Endpoint) {
		return c.Site()
	}
	return u.Scheme + "://" + u.Host
}

var errStalled = errors.New("the connection brought nothing for too long")

// temporary reports whether trying again may help.
func temporary(err error) bool {
	if _, forged := errors.AsType[*tls.CertificateVerificationError](err); forged {
		return false
	}
	return errors.Is(err, ErrUnreachable)
}

// How often a request is tried that brings nothing new, and the longest wait that a Hub may ask for.
const (
	maxTries    = 5 // with waits of 1, 2, 4 and 8 s
	firstTries  = 3 // of the very first request: where there is no network people should not wait long
	longestWait = 5 * time.Minute
)

// retry calls try until it succeeds, fails for good, or has failed too often in a row without bringing anything. A try
// that brought something new makes the next wait a first one again: a line that is cut often is slow, not dead.
func (c *Client) retry(ctx context.Context, tries int, note func(string), try func() (brought int64, err error)) error {
	for failures := 0; ; {
		brought, err := try()
		if err == nil || ctx.Err() != nil || !temporary(err) {
			return err
		}
		if brought > 0 {
			failures = 0
		}
		failures++
		if failures >= tries {
			return err
		}
		wait := time.Second << (failures - 1)
		if e, ok := errors.AsType[*Error](err); ok && e.retryAfter > 0 {
			if wait = e.retryAfter; wait > longestWait {
				return err
			}
		}
		note(fmt.Sprintf("%v; trying again in %.0f s", err, wait.Seconds()))
		if err := c.pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (c *Client) pause(ctx context.Context, d time.Duration) error {
	if c.sleep != nil {
		return c.sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// listing is what the Hub says of a revision.
type listing struct {
	Commit string
	Names  map[string]bool
}

// list asks for a revision's commit and the names of its files.
func (c *Client) list(ctx context.Context, p place) (*listing, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errStalled) // a page of names, not a file
	defer cancel()
	// A slash in a revision, as in refs/pr/1, is part of one element of the path.
	resp, err := c.send(ctx, c.client(), http.MethodGet, c.Endpoint+"/api/models/"+p.repo+"/revision/"+url.PathEscape(p.revision), p)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, c.broken(ctx, p, resp.Request.URL, err)
	}
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || !IsCommit(answer.SHA) {
		return nil, c.fail(ErrAnswer, p, "HF_ENDPOINT names the Hub: is it one?",
			"%s: %s gives no commit for revision %q", p, c.Site(), p.revision)
	}
	l := &listing{Commit: answer.SHA, Names: map[string]bool{}}
	for _, s := range answer.Siblings {
		l.Names[s.Name] = true
	}
	return l, nil
}

// remoteFile is a file as the Hub describes it.
type remoteFile struct {
	place
	size int64
	hash string // SHA-256, 64 digits, or git's hash of a blob, 40 digits: the name in blobs/
}

// address is where a file of a commit is fetched from.
func (c *Client) address(p place) string {
	return c.Endpoint + "/" + p.repo + "/resolve/" + p.revision + "/" + url.PathEscape(p.file)
}

// describe asks for the size and the hash of a file. They come from the Hub itself: the server that a large file is
// redirected to has hashes of another kind.
func (c *Client) describe(ctx context.Context, p place) (remoteFile, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errStalled)
	defer cancel()
	client := *c.client()
	client.CheckRedirect = func(next *http.Request, before []*http.Request) error {
		if next.Response.Header.Get("X-Linked-Etag") != "" || !sameOrigin(next.URL, c.Endpoint) {
			return http.ErrUseLastResponse
		}
		return checkRedirect(next, before)
	}
	resp, err := c.send(ctx, &client, http.MethodHead, c.address(p), p)
	if err != nil {
		return remoteFile{}, err
	}
	resp.Body.Close()

	f := remoteFile{place: p, size: resp.ContentLength, hash: resp.Header.Get("ETag")}
	if linked := resp.Header.Get("X-Linked-Etag"); linked != "" {
		f.hash = linked
	}
	if size, err := strconv.ParseInt(resp.Header.Get("X-Linked-Size"), 10, 64); err == nil {
		f.size = size
	} else if resp.StatusCode >= 300 {
		f.size = -1 // the length is that of a redirect, not of the file
	}
	f.hash = strings.Trim(strings.TrimPrefix(f.hash, "W/"), `"`)
	if !isHash(f.hash) || f.size < 0 {
		return remoteFile{}, c.fail(ErrAnswer, p, "HF_ENDPOINT names the Hub: is it one?",
			"%s: %s gives no size and hash to check the file by (ETag %q, %d bytes)", p, c.Site(), f.hash, f.size)
	}
	return f, nil
}

// isHash reports whether text is a SHA-256 or a hash of git's: a file may be called by it, then.
func isHash(text string) bool {
	if len(text) != 64 && len(text) != 40 {
		return false
	}
	return strings.Trim(text, "0123456789abcdef") == ""
}
