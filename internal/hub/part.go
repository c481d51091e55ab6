package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// part is a file on its way: what blobs/<hash>.incomplete holds, and the hash of it so far.
type part struct {
	file *os.File
	want remoteFile
	sum  hash.Hash
	have int64
}

// openPart opens what an earlier download has left, or an empty file. Its bytes are read for the hash: nothing is
// known of them but that they are there. progress is told how many of them have been read.
func openPart(ctx context.Context, path string, want remoteFile, progress func(have int64)) (*part, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	p := &part{file: file, want: want}
	p.startHash()
	if err := p.readAgain(ctx, progress); err != nil {
		file.Close()
		return nil, err
	}
	return p, nil
}

// readAgain hashes what is there, in pieces: tens of gigabytes take minutes, and whoever stops tune will not wait.
func (p *part) readAgain(ctx context.Context, progress func(have int64)) error {
	buffer := make([]byte, 1<<20)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := p.file.Read(buffer)
		if p.have += int64(n); p.have > p.want.size {
			return p.restart()
		}
		if n > 0 {
			p.sum.Write(buffer[:n]) // never fails
			progress(p.have)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what an earlier download has left: %w", err)
		}
	}
}

// startHash begins the hash that the Hub names the file by: SHA-256, or git's SHA-1 of a header and the bytes.
func (p *part) startHash() {
	if len(p.want.hash) == 64 {
		p.sum = sha256.New()
		return
	}
	p.sum = sha1.New()
	fmt.Fprintf(p.sum, "blob %d\x00", p.want.size)
}

// restart throws away what is there.
func (p *part) restart() error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.have = 0
	p.startHash()
	return nil
}

// wrongBytes returns the error of a file that is whole but not the one that was wanted.
func (c *Client) wrongBytes(p *part) error {
	got := hex.EncodeToString(p.sum.Sum(nil))
	if got == p.want.hash {
		return nil
	}
	kind := "SHA-256"
	if len(p.want.hash) == 40 {
		kind = "git hash"
	}
	return c.fail(ErrCorrupt, p.want.place, "a proxy or a mirror may be damaging files; what came was removed",
		"%s: wrong bytes: %s is %s, want %s", p.want.place, kind, got, p.want.hash)
}

// continuePart asks for what is missing and appends it. Errors that are not temporary are of the disk, or of ctx.
func (c *Client) continuePart(ctx context.Context, p *part, progress func()) error {
	if p.have == p.want.size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var headers []string
	if p.have > 0 {
		headers = []string{"Range", fmt.Sprintf("bytes=%d-", p.have)}
	}
	resp, err := c.send(ctx, c.client(), http.MethodGet, c.address(p.want.place), p.want.place, headers...)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status == http.StatusRequestedRangeNotSatisfiable && p.have > 0 {
		if refused.size < 0 || refused.size == p.want.size {
			// A whim: by its own word there is more to come, or it has none.
			refused.Kind, refused.Hint = ErrUnreachable, "try again later"
			return refused
		}
		// The server's file ends before ours. Whether it is the file at all, the answer to the next question shows.
		resp, err = c.send(ctx, c.client(), http.MethodGet, c.address(p.want.place), p.want.place)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := p.unusable(resp); err != nil {
		return c.broken(ctx, p.want.place, resp.Request.URL, err)
	}
	if resp.StatusCode != http.StatusPartialContent { // the range was ignored: the file comes from its beginning
		if err := p.restart(); err != nil {
			return err
		}
	}
	stall := c.stall
	if stall == 0 {
		stall = stallTimeout
	}
	alarm := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer alarm.Stop()
	return c.copyBody(ctx, p, resp, func() { alarm.Reset(stall); progress() })
}

// unusable says why an answer cannot be the file, or the rest of it. What is there already stays, then: the page that
// a hotel's network shows in place of the Hub must not cost gigabytes.
func (p *part) unusable(r *http.Response) error {
	if r.StatusCode != http.StatusPartialContent {
		if r.ContentLength >= 0 && r.ContentLength != p.want.size {
			return fmt.Errorf("answered with %d bytes, want the %d of the file", r.ContentLength, p.want.size)
		}
		return nil
	}
	text := r.Header.Get("Content-Range")
	if first, size, ok := parseRange(text); !ok || first != p.have || size >= 0 && size != p.want.size {
		return fmt.Errorf("answered the range %q, want bytes %d-%d/%d", text, p.have, p.want.size-1, p.want.size)
	}
	return nil
}

// copyBody appends what an answer brings until it ends.
func (c *Client) copyBody(ctx context.Context, p *part, resp *http.Response, progress func()) error {
	buffer := make([]byte, 1<<20)
	for {
		n, err := resp.Body.Read(buffer)
		if p.have+int64(n) > p.want.size {
			if err := p.restart(); err != nil {
				return err
			}
			return c.broken(ctx, p.want.place, resp.Request.URL, fmt.Errorf("brought more than the %d bytes of the file", p.want.size))
		}
		if n > 0 {
			if _, err := p.file.Write(buffer[:n]); err != nil {
				return err
			}
			p.sum.Write(buffer[:n]) // never fails
			p.have += int64(n)
			progress()
		}
		switch {
		case err == io.EOF && p.have == p.want.size:
			return nil
		case err == io.EOF:
			err = fmt.Errorf("the connection ended after %d of %d bytes", p.have, p.want.size)
			return c.broken(ctx, p.want.place, resp.Request.URL, err)
		case err != nil:
			return c.broken(ctx, p.want.place, resp.Request.URL, fmt.Errorf("after %d of %d bytes: %w", p.have, p.want.size, err))
		}
	}
}

// parseRange reads a Content-Range, bytes 100-199/200: the offset of the first byte and the size of the whole file, -1
// where it says * or nothing.
func parseRange(contentRange string) (first, size int64, ok bool) {
	n, err := fmt.Sscanf(contentRange, "bytes %d-", &first)
	return first, sizeInRange(contentRange), n == 1 && err == nil
}

// sizeInRange reads what stands behind the slash of a Content-Range; -1 for no number.
func sizeInRange(contentRange string) int64 {
	_, text, _ := strings.Cut(contentRange, "/")
	if size, err := strconv.ParseInt(text, 10, 64); err == nil {
		return size
	}
	return -1
}
