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
// known of them but that they are there.
func openPart(path string, want remoteFile) (*part, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	p := &part{file: file, want: want}
	p.startHash()
	if p.have, err = io.Copy(p.sum, file); err == nil && p.have > want.size {
		err = p.restart()
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("read what an earlier download has left: %w", err)
	}
	return p, nil
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
		if err := p.restart(); err != nil { // the server's file ends before ours: begin again
			return err
		}
		resp, err = c.send(ctx, c.client(), http.MethodGet, c.address(p.want.place), p.want.place)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// A server may ignore the range, or answer another: then the bytes are those of the whole file, or of no use.
	if resp.StatusCode != http.StatusPartialContent {
		if err := p.restart(); err != nil {
			return err
		}
	} else if first, ok := firstByte(resp.Header.Get("Content-Range")); !ok || first != p.have {
		if err := p.restart(); err != nil {
			return err
		}
		return c.broken(ctx, p.want.place, fmt.Errorf("answered the range %q", resp.Header.Get("Content-Range")))
	}
	stall := c.stall
	if stall == 0 {
		stall = stallTimeout
	}
	alarm := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer alarm.Stop()
	return c.copyBody(ctx, p, resp.Body, func() { alarm.Reset(stall); progress() })
}

// copyBody appends what an answer brings until it ends.
func (c *Client) copyBody(ctx context.Context, p *part, body io.Reader, progress func()) error {
	buffer := make([]byte, 1<<20)
	for {
		n, err := body.Read(buffer)
		if p.have+int64(n) > p.want.size {
			if err := p.restart(); err != nil {
				return err
			}
			return c.broken(ctx, p.want.place, fmt.Errorf("brought more than the %d bytes of the file", p.want.size))
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
			return c.broken(ctx, p.want.place, err)
		case err != nil:
			return c.broken(ctx, p.want.place, fmt.Errorf("after %d of %d bytes: %w", p.have, p.want.size, err))
		}
	}
}

// firstByte reads the offset from a Content-Range: bytes 100-199/200.
func firstByte(contentRange string) (int64, bool) {
	var first int64
	n, err := fmt.Sscanf(contentRange, "bytes %d-", &first)
	return first, n == 1 && err == nil
}
