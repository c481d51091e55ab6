package runstore

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// This file reads the bytes of a SQLite file without SQLite, which gives up a table where it meets the first damaged
// page, and a file whose first page is damaged. Here every page is looked at by itself: one that holds rows gives them,
// whatever has become of the pages that lead to it.
// Source: sqlite.org/fileformat2.html, sections 1.3 (header), 1.5 (free pages), 1.6 (trees), 2.1 (records), 4 (log).

// A record is a row as it lies in a page. Values are nil, int64, float64, string or []byte.
type record struct {
	rowid  int64 // of a table with rowids
	keyed  bool  // from a tree that is sorted by its first columns: a table WITHOUT ROWID, or an index
	values []any // the first ones only, when what follows them is unreadable
	whole  bool
}

// image is a database file with the log beside it.
type image struct {
	size    int            // bytes a page
	current map[int][]byte // the newest sound version of each page, by number
	last    int            // the highest number
	// Pages of less worth, best first: of a damaged log, and what the file has in their place.
	others []numbered
	free   map[int]bool
}

type numbered struct {
	number int
	page   []byte
}

var magic = []byte("SQLite format 3\x00")

// newImage cuts a file and its log, which may be empty, into pages of a size.
func newImage(file, wal []byte, size int) *image {
	m := &image{size: size, current: map[int][]byte{}, free: map[int]bool{}}
	for at := 0; at < len(file); at += size {
		m.put(at/size+1, file[at:min(len(file), at+size)])
	}
	m.addLog(wal)
	m.findFree()
	return m
}

// put takes a page; a file that was cut off ends within one, which is filled up.
func (m *image) put(number int, page []byte) {
	if len(page) < m.size {
		page = append(slices.Clone(page), make([]byte, m.size-len(page))...)
	}
	m.current[number] = page
	m.last = max(m.last, number)
}

// addLog lays the pages of the write-ahead log over those of the file, as far as they were committed. SQLite stops at
// the first frame that is damaged; here the frames behind it count as well.
func (m *image) addLog(wal []byte) {
	const headerBytes, frameBytes = 32, 24
	type frame struct {
		numbered
		sound bool
	}
	var frames []frame
	committed := 0
	for at := headerBytes; at+frameBytes+m.size <= len(wal); at += frameBytes + m.size {
		head, page := wal[at:at+frameBytes], wal[at+frameBytes:at+frameBytes+m.size]
		// Frames of before the log was last begun anew have other salts. Those of the first frame are the log's, also
		// where the log's own header is damaged.
		if salts := wal[headerBytes+8 : headerBytes+16]; !bytes.Equal(head[8:16], salts) && !bytes.Equal(head[8:16], wal[16:24]) {
			continue
		}
		// A checksum goes on from the one before: that of the frame before, or of the header.
		before := wal[24:32]
		if at > headerBytes {
			before = wal[at-m.size-frameBytes+16 : at-m.size-frameBytes+24]
		}
		var order binary.ByteOrder = binary.LittleEndian
		if wal[3]&1 == 1 {
			order = binary.BigEndian
		}
		sum := [2]uint32{binary.BigEndian.Uint32(before), binary.BigEndian.Uint32(before[4:])}
		sum = logChecksum(order, logChecksum(order, sum, head[:8]), page)
		sound := sum == [2]uint32{binary.BigEndian.Uint32(head[16:]), binary.BigEndian.Uint32(head[20:])}
		frames = append(frames, frame{numbered{int(binary.BigEndian.Uint32(head)), page}, sound})
		if !sound || binary.BigEndian.Uint32(head[4:]) != 0 { // a damaged frame may have been the end of a commit
			committed = len(frames)
		}
	}
	frames = frames[:committed]
	damaged := slices.ContainsFunc(frames, func(f frame) bool { return !f.sound })
	old := map[int]bool{}
	for _, f := range slices.Backward(frames) {
		switch {
		case f.sound && !old[f.number]:
			old[f.number] = true
			if was, ok := m.current[f.number]; ok && damaged {
				m.others = append(m.others, numbered{f.number, was}) // its rows may have moved to a page that is lost
			}
			m.put(f.number, f.page)
		case damaged:
			m.others = append(m.others, f.numbered)
		}
	}
}

// logChecksum goes on with a checksum over bytes whose number is a multiple of 8.
func logChecksum(order binary.ByteOrder, sum [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		sum[0] += order.Uint32(b) + sum[1]
		sum[1] += order.Uint32(b[4:]) + sum[0]
	}
	return sum
}

// findFree notes the pages that are not in use: what lies in them was deleted.
func (m *image) findFree() {
	first := m.current[1]
	if !bytes.HasPrefix(first, magic) {
		return
	}
	for trunk := int(binary.BigEndian.Uint32(first[32:])); trunk != 0 && !m.free[trunk]; {
		page, ok := m.current[trunk]
		if !ok {
			return
		}
		n := int(binary.BigEndian.Uint32(page[4:]))
		if n > m.size/4-2 { // no trunk: the list is damaged here
			return
		}
		m.free[trunk] = true
		for i := range n {
			m.free[int(binary.BigEndian.Uint32(page[8+4*i:]))] = true
		}
		trunk = int(binary.BigEndian.Uint32(page))
	}
}

// records calls visit with all rows that can be read, those of the soundest pages first.
func (m *image) records(visit func(record)) {
	for number := 1; number <= m.last; number++ {
		if page, ok := m.current[number]; ok && !m.free[number] {
			m.recordsOf(number, page, visit)
		}
	}
	for _, x := range m.others {
		m.recordsOf(x.number, x.page, visit)
	}
}

// recordsOf reads one page, which may be anything.
func (m *image) recordsOf(number int, page []byte, visit func(record)) {
	const leafTable, leafIndex, innerIndex = 13, 10, 2
	head := 0
	if number == 1 {
		head = 100 // the header of the file comes first
	}
	kind, cells := page[head], int(binary.BigEndian.Uint16(page[head+3:]))
	pointers := head + 8
	switch kind {
	case leafTable, leafIndex:
	case innerIndex:
		pointers += 4
	default:
		return
	}
	for i := range cells {
		if pointers+2*i+2 > len(page) {
			return
		}
		at := int(binary.BigEndian.Uint16(page[pointers+2*i:]))
		if at < pointers || at >= len(page) {
			continue
		}
		cell := page[at:]
		if kind == innerIndex {
			cell = cell[min(4, len(cell)):]
		}
		r := record{keyed: kind != leafTable}
		length, n := varint(cell)
		cell = cell[n:]
		if !r.keyed {
			rowid, k := varint(cell)
			r.rowid, n, cell = int64(rowid), k, cell[k:]
		}
		if n == 0 || length == 0 || length > uint64(m.size*(m.last+1)) {
			continue
		}
		payload := m.payload(cell, int(length), r.keyed)
		if r.values, r.whole = parseRecord(payload, int(length)); len(r.values) > 0 {
			visit(r)
		}
	}
}

// payload returns the bytes of a row, which go on in pages of their own where they are many; fewer where one of these
// is missing.
func (m *image) payload(cell []byte, length int, keyed bool) []byte {
	most, least := m.size-35, (m.size-12)*32/255-23
	if keyed {
		most = (m.size-12)*64/255 - 23
	}
	if length <= most {
		return cell[:min(length, len(cell))]
	}
	local := least + (length-least)%(m.size-4)
	if local > most {
		local = least
	}
	if local+4 > len(cell) {
		return cell[:min(local, len(cell))]
	}
	out, next := slices.Clone(cell[:local]), int(binary.BigEndian.Uint32(cell[local:]))
	for len(out) < length {
		page, ok := m.current[next]
		if !ok || m.free[next] {
			break
		}
		out = append(out, page[4:min(m.size, 4+length-len(out))]...)
		if next = int(binary.BigEndian.Uint32(page)); (next == 0) != (len(out) == length) {
			return out[:max(local, len(out)-(m.size-4))] // not the page that it should be
		}
	}
	return out
}

// parseRecord returns the values of a row of which some bytes may be missing at the end; whole says that none are.
// Bytes that are no row give none.
func parseRecord(b []byte, length int) (values []any, whole bool) {
	header, n := varint(b)
	if n == 0 || header > uint64(len(b)) || header < uint64(n) {
		return nil, false
	}
	var kinds []uint64
	total := int(header)
	for at := n; at < int(header); {
		kind, n := varint(b[at:header])
		if n == 0 || kind == 10 || kind == 11 || kind > uint64(2*length+13) {
			return nil, false
		}
		kinds, at, total = append(kinds, kind), at+n, total+widthOf(kind)
	}
	if total != length {
		return nil, false
	}
	b = b[header:]
	for _, kind := range kinds {
		n := widthOf(kind)
		if n > len(b) {
			return values, false
		}
		values, b = append(values, parseValue(kind, b[:n])), b[n:]
	}
	return values, true
}

// widthOf returns how long a value of a kind is.
func widthOf(kind uint64) int {
	switch {
	case kind <= 4:
		return int(kind)
	case kind == 5:
		return 6
	case kind <= 7:
		return 8
	case kind < 12:
		return 0
	}
	return int(kind-12) / 2
}

func parseValue(kind uint64, b []byte) any {
	switch {
	case kind == 0:
		return nil
	case kind == 7:
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	case kind == 8, kind == 9:
		return int64(kind - 8)
	case kind >= 12 && kind%2 == 0:
		return slices.Clone(b)
	case kind >= 13:
		return string(b)
	}
	x := int64(int8(b[0])) // big-endian, of 1, 2, 3, 4, 6 or 8 bytes, with a sign
	for _, c := range b[1:] {
		x = x<<8 | int64(c)
	}
	return x
}

// varint reads a number of 1 to 9 bytes, seven bits each but for the ninth; n is 0 when b ends too soon.
func varint(b []byte) (x uint64, n int) {
	for i := range min(9, len(b)) {
		if i == 8 {
			return x<<8 | uint64(b[i]), 9
		}
		x = x<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return x, i + 1
		}
	}
	return 0, 0
}
