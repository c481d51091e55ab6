package tokenizer

// matcher finds fixed pieces in a text: at the first place where one starts, the longest.
type matcher struct {
	root  matchNode
	first [256]bool // the bytes with which a piece starts, to skip the rest of a text quickly
}

type matchNode struct {
	next map[byte]*matchNode
	id   int32
	end  bool // a piece ends here
}

func (m *matcher) add(text string, id int32) {
	m.first[text[0]] = true
	node := &m.root
	for i := range len(text) {
		child := node.next[text[i]]
		if child == nil {
			child = &matchNode{}
			if node.next == nil {
				node.next = map[byte]*matchNode{}
			}
			node.next[text[i]] = child
		}
		node = child
	}
	node.id, node.end = id, true
}

// longest returns the longest piece that s starts with, and its length; 0 when there is none.
func (m *matcher) longest(s string) (id int32, length int) {
	node := &m.root
	for i := range len(s) {
		if node = node.next[s[i]]; node == nil {
			break
		}
		if node.end {
			id, length = node.id, i+1
		}
	}
	return id, length
}

// cut splits s at its first fixed piece; without one, before is all of s and found is false.
func (m *matcher) cut(s string) (before string, id int32, after string, found bool) {
	for i := range len(s) {
		if !m.first[s[i]] {
			continue
		}
		if id, length := m.longest(s[i:]); length > 0 {
			return s[:i], id, s[i+length:], true
		}
	}
	return s, 0, "", false
}
