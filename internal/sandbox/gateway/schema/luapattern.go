package schema

import "strings"

// luaMatch says whether the Lua pattern p is found in s (Lua 5.1, section
// 5.4.1 of its manual). A malformed pattern, and one that takes more than a
// bounded number of steps, does not match.
func luaMatch(s, p string) bool {
	anchored := strings.HasPrefix(p, "^")
	if anchored {
		p = p[1:]
	}
	m := &luaMatcher{s: s, steps: 1 << 20}
	for i := 0; i <= len(s); i++ {
		m.captures = m.captures[:0]
		if m.match(i, p) {
			return true
		}
		if anchored || m.steps < 0 {
			return false
		}
	}
	return false
}

type luaCapture struct{ start, end int } // end -1: still open

type luaMatcher struct {
	s        string
	captures []luaCapture
	steps    int
}

// item cuts the first single-character class off a pattern.
func luaItem(p string) (class, rest string, ok bool) {
	switch {
	case p[0] == '%':
		if len(p) < 2 {
			return "", "", false
		}
		return p[:2], p[2:], true
	case p[0] == '[':
		i := 1
		if i < len(p) && p[i] == '^' {
			i++
		}
		for first := true; ; first = false {
			if i >= len(p) {
				return "", "", false
			}
			if p[i] == ']' && !first {
				return p[:i+1], p[i+1:], true
			}
			if p[i] == '%' {
				i++
			}
			i++
		}
	}
	return p[:1], p[1:], true
}

func luaClass(c, class byte) bool {
	var in bool
	switch class | 0x20 {
	case 'a':
		in = c|0x20 >= 'a' && c|0x20 <= 'z'
	case 'd':
		in = c >= '0' && c <= '9'
	case 'l':
		in = c >= 'a' && c <= 'z'
	case 'u':
		in = c >= 'A' && c <= 'Z'
	case 's':
		in = c == ' ' || c >= '\t' && c <= '\r'
	case 'w':
		in = c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
	case 'x':
		in = c|0x20 >= 'a' && c|0x20 <= 'f' || c >= '0' && c <= '9'
	case 'p':
		in = c > 0x20 && c < 0x7f && !luaClass(c, 'w')
	case 'c':
		in = c < 0x20 || c == 0x7f
	case 'z':
		in = c == 0
	default:
		return c == class
	}
	if class >= 'A' && class <= 'Z' {
		return !in
	}
	return in
}

func luaSingle(c byte, class string) bool {
	switch class[0] {
	case '.':
		return true
	case '%':
		return luaClass(c, class[1])
	case '[':
		return luaSet(c, class[1:len(class)-1])
	}
	return c == class[0]
}

func luaSet(c byte, set string) bool {
	want := true
	if strings.HasPrefix(set, "^") {
		want, set = false, set[1:]
	}
	for i := 0; i < len(set); {
		switch {
		case set[i] == '%' && i+1 < len(set):
			if luaClass(c, set[i+1]) {
				return want
			}
			i += 2
		case i+2 < len(set) && set[i+1] == '-':
			if set[i] <= c && c <= set[i+2] {
				return want
			}
			i += 3
		default:
			if set[i] == c {
				return want
			}
			i++
		}
	}
	return !want
}

func (m *luaMatcher) match(i int, p string) bool {
	for {
		if m.steps--; m.steps < 0 {
			return false
		}
		if p == "" {
			return true
		}
		switch {
		case p[0] == '(':
			start := luaCapture{i, -1}
			rest := p[1:]
			if strings.HasPrefix(rest, ")") {
				start.end, rest = i, rest[1:]
			}
			m.captures = append(m.captures, start)
			if m.match(i, rest) {
				return true
			}
			m.captures = m.captures[:len(m.captures)-1]
			return false
		case p[0] == ')':
			for k := len(m.captures) - 1; k >= 0; k-- {
				if m.captures[k].end < 0 {
					m.captures[k].end = i
					if m.match(i, p[1:]) {
						return true
					}
					m.captures[k].end = -1
					return false
				}
			}
			return false
		case p == "$":
			return i == len(m.s)
		case len(p) > 3 && p[0] == '%' && p[1] == 'b':
			end := m.balance(i, p[2], p[3])
			if end < 0 {
				return false
			}
			i, p = end, p[4:]
			continue
		case len(p) > 2 && p[0] == '%' && p[1] == 'f':
			class, rest, ok := luaItem(p[2:])
			if !ok || class[0] != '[' {
				return false
			}
			var before, at byte
			if i > 0 {
				before = m.s[i-1]
			}
			if i < len(m.s) {
				at = m.s[i]
			}
			if luaSingle(before, class) || !luaSingle(at, class) {
				return false
			}
			p = rest
			continue
		case len(p) > 1 && p[0] == '%' && p[1] >= '1' && p[1] <= '9':
			k := int(p[1] - '1')
			if k >= len(m.captures) || m.captures[k].end < 0 {
				return false
			}
			text := m.s[m.captures[k].start:m.captures[k].end]
			if !strings.HasPrefix(m.s[i:], text) {
				return false
			}
			i, p = i+len(text), p[2:]
			continue
		}
		class, rest, ok := luaItem(p)
		if !ok {
			return false
		}
		is := func(i int) bool { return i < len(m.s) && luaSingle(m.s[i], class) }
		var q byte
		if rest != "" {
			q = rest[0]
		}
		switch q {
		case '?':
			if is(i) && m.match(i+1, rest[1:]) {
				return true
			}
			p = rest[1:]
		case '*', '+':
			n := 0
			for is(i + n) {
				n++
			}
			low := 0
			if q == '+' {
				low = 1
			}
			for ; n >= low; n-- {
				if m.match(i+n, rest[1:]) {
					return true
				}
			}
			return false
		case '-':
			for {
				if m.match(i, rest[1:]) {
					return true
				}
				if m.steps < 0 || !is(i) {
					return false
				}
				i++
			}
		default:
			if !is(i) {
				return false
			}
			i, p = i+1, rest
		}
	}
}

func (m *luaMatcher) balance(i int, open, closing byte) int {
	if i >= len(m.s) || m.s[i] != open {
		return -1
	}
	depth := 0
	for ; i < len(m.s); i++ {
		switch m.s[i] {
		case closing:
			if depth--; depth == 0 {
				return i + 1
			}
		case open:
			depth++
		}
	}
	return -1
}
