package hub

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What errors.Is finds in an error of this package.
var (
	ErrInvalid          = errors.New("invalid name")
	ErrGated            = errors.New("gated repository")        // its licence must be accepted first, or the token may not
	ErrToken            = errors.New("token refused")           // the Hub does not know the token
	ErrRepoNotFound     = errors.New("repository not found")    // or it is private: the Hub does not tell them apart
	ErrRevisionNotFound = errors.New("revision not found")      //
	ErrFileNotFound     = errors.New("file not found")          //
	ErrFileMissing      = errors.New("repository lacks a file") // no config.json, no tokenizer, no safetensors
	ErrNotCached        = errors.New("not in the cache")        // and the network may not be used
	ErrUnreachable      = errors.New("hub cannot be reached")   // or it stopped in the middle, or answers 5xx and 429
	ErrCorrupt          = errors.New("wrong bytes")             // what came has another hash, twice
	ErrDiskFull         = errors.New("not enough disk space")   //
	ErrAnswer           = errors.New("unusable answer of hub")  // HF_ENDPOINT may name something else
)

// Error is what went wrong with a model, in a sentence, with what to try next.
type Error struct {
	Kind     error // one of the above
	Repo     string
	Revision string
	File     string // "" when it is about the whole repository
	Status   int    // of HTTP; 0 for none
	Text     string // the sentence
	Hint     string // what to try next; "" for none
	Cause    error

	retryAfter time.Duration // what the Hub asked for
	size       int64         // of the file, as a refused range tells; -1 where it does not
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// place names what a request was for.
type place struct{ repo, revision, file string }

func (p place) String() string {
	if p.file == "" {
		return p.repo
	}
	return p.repo + "/" + p.file
}

func (c *Client) fail(kind error, p place, hint, format string, args ...any) *Error {
	return &Error{Kind: kind, Repo: p.repo, Revision: p.revision, File: p.file, Hint: hint, Text: fmt.Sprintf(format, args...)}
}

// refusal turns an answer of 400 and above into an error. The Hub says in X-Error-Code what it means; without it a 401
// also stands for a repository that does not exist.
// Source: huggingface_hub, src/huggingface_hub/utils/_http.py, hf_raise_for_status.
func (c *Client) refusal(p place, r *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 512)) // only a help where the header says nothing
	message := r.Header.Get("X-Error-Message")
	if message == "" && strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		message = string(body)
	}
	message = oneLine(message)
	code, page, host := r.Header.Get("X-Error-Code"), c.Site()+"/"+p.repo, c.host(r.Request.URL)

	var e *Error
	switch {
	case r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusRequestTimeout, r.StatusCode >= 500:
		e = c.fail(ErrUnreachable, p, "try again later", "%s: %s answers HTTP %d", p, host, r.StatusCode)
		e.retryAfter = retryAfter(r.Header.Get("Retry-After"), time.Now())
	case !sameOrigin(r.Request.URL, c.Endpoint): // it never saw the token, and knows nothing of licences
		e = c.fail(ErrAnswer, p, "a proxy or a firewall may keep that host away, or this machine's clock be wrong: its addresses hold for a while only",
			"%s: %s, where %s sends us, answers HTTP %d", p, host, c.Site(), r.StatusCode)
	case code == "GatedRepo" && c.Token == "":
		e = c.fail(ErrGated, p, fmt.Sprintf("accept its licence at %s, then set HF_TOKEN to a token of that account, or run hf auth login", page),
			"%s is gated: its owner asks for a licence to be accepted, and no token was sent", p.repo)
	case code == "GatedRepo":
		e = c.fail(ErrGated, p, fmt.Sprintf("accept its licence at %s with the token's account; a fine-grained token must allow gated repositories", page),
			"%s is gated, and the account of the token in %s has no access to it", p.repo, c.TokenSource)
	case r.StatusCode == http.StatusUnauthorized && c.Token != "" &&
		(code == "" || strings.Contains(message, "Invalid credentials")):
		e = c.fail(ErrToken, p, c.Site()+"/settings/tokens shows your tokens; public models need none",
			"%s: the Hub refuses the token in %s: it is wrong or has expired", p, c.TokenSource)
	case code == "RepoNotFound", code == "" && r.StatusCode == http.StatusUnauthorized,
		code == "" && r.StatusCode == http.StatusNotFound && p.file == "":
		who := "no token was sent"
		if c.Token != "" {
			who = "the token in " + c.TokenSource + " has no access"
		}
		e = c.fail(ErrRepoNotFound, p, "check the spelling; a private model needs HF_TOKEN of an account that may read it",
			"%s: no such model on %s, or it is private and %s", p.repo, c.Site(), who)
	case code == "RevisionNotFound":
		e = c.fail(ErrRevisionNotFound, p, page+"/tree/main lists the branches and tags",
			"%s: no revision %q", p.repo, p.revision)
	case code == "EntryNotFound", r.StatusCode == http.StatusNotFound:
		e = c.fail(ErrFileNotFound, p, "", "%s: no such file at revision %s", p, p.revision)
	case r.StatusCode == http.StatusForbidden && c.Token == "":
		e = c.fail(ErrGated, p, fmt.Sprintf("is its licence accepted at %s? Then set HF_TOKEN to a token of that account, or run hf auth login", page),
			"%s: %s forbids it, HTTP 403, and no token was sent", p, c.Site())
	case r.StatusCode == http.StatusForbidden:
		e = c.fail(ErrGated, p, fmt.Sprintf("is its licence accepted at %s? May the token read gated repositories? %s/settings/tokens shows it", page, c.Site()),
			"%s: %s forbids it to the token in %s, HTTP 403", p, c.Site(), c.TokenSource)
	default:
		e = c.fail(ErrAnswer, p, "", "%s: %s answers HTTP %d", p, c.Site(), r.StatusCode)
	}
	if message != "" && e.Kind != ErrRevisionNotFound {
		e.Text += fmt.Sprintf(" (it says: %s)", c.redact(message))
	}
	e.Status, e.size = r.StatusCode, sizeInRange(r.Header.Get("Content-Range"))
	return e
}

// redact takes the token out of a text that came from elsewhere.
func (c *Client) redact(text string) string {
	if c.Token == "" {
		return text
	}
	return strings.ReplaceAll(text, c.Token, "[token]")
}

// oneLine shortens what a server says to a line.
func oneLine(text string) string {
	text = strings.TrimRight(strings.Join(strings.Fields(text), " "), ".")
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return text
}

// retryAfter reads the header of that name: seconds, or a date. 0 for none.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		return time.Duration(min(n, 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
