package session

import (
	"strconv"
	"strings"
)

// Input is what of a request matters to sessions and pending logins.
type Input struct {
	Cookies   []string // the values of the Cookie header lines, any bytes
	ClientIP  string   // trusted address of the client
	Scheme    string   // "http" or "https", as the client sees it
	UserAgent string   // the User-Agent header
}

const (
	maxCookieBytes = 64 << 10 // of all Cookie lines; what is beyond is not read
	maxCookieJar   = 128      // cookies of ours that are kept
	maxChunks      = 9
	maxSetCookie   = 4096 // bytes of name, value and attributes that every browser takes
)

// A pair is one cookie of the request.
type pair struct{ name, value string }

// jar holds the cookies of a request that some owner is interested in.
type jar struct {
	pairs   []pair
	foreign int // bytes that all other cookies take, with "; " after each
}

// readJar finds the cookies whose name is wanted (RFC 6265 section 5.4 as
// browsers write it; anything else is skipped, never an error). Its work is
// linear in at most maxCookieBytes.
func readJar(lines []string, wanted func(name string) bool) jar {
	var j jar
	budget := maxCookieBytes
	for _, line := range lines {
		if len(line) > budget {
			line = line[:budget]
		}
		budget -= len(line)
		for len(line) > 0 {
			var item string
			item, line, _ = strings.Cut(line, ";")
			name, value, ok := strings.Cut(strings.Trim(item, " \t"), "=")
			if ok && wanted(name) && len(j.pairs) < maxCookieJar {
				j.pairs = append(j.pairs, pair{name, value})
			} else if len(item) > 0 {
				j.foreign += len(item) + 2
			}
		}
	}
	return j
}

// sealedText says whether s holds nothing but the characters of our cookies.
func sealedText(s string) bool {
	// A set of bits: characters that come at random make a processor guess comparisons wrong.
	const letters = 1<<26 - 1
	allowed := [4]uint64{
		1<<'-' | 1<<'.' | 1<<'=' | (1<<10-1)<<'0',
		letters<<('A'-64) | 1<<('_'-64) | letters<<('a'-64) | 1<<('~'-64),
	}
	for i := range len(s) {
		if c := s[i]; allowed[c>>6]>>(c&63)&1 == 0 {
			return false
		}
	}
	return true
}

// set writes a Set-Cookie value. Name, path and domain were checked when the
// configuration was; the value is of sealedText. A maxAge below zero makes a
// cookie of the browser session, zero removes it.
func (c *Cookie) set(name, value, scheme string, maxAge int64) string {
	var b strings.Builder
	b.Grow(len(name) + len(value) + 96 + len(c.Path) + len(c.Domain))
	b.WriteString(name)
	b.WriteByte('=')
	b.WriteString(value)
	if maxAge >= 0 {
		b.WriteString("; Max-Age=")
		b.WriteString(strconv.FormatInt(maxAge, 10))
	}
	b.WriteString("; Path=")
	b.WriteString(c.Path)
	if c.Domain != "" {
		b.WriteString("; Domain=")
		b.WriteString(c.Domain)
	}
	if c.SameSite != SameSiteDefault && c.SameSite != "" {
		b.WriteString("; SameSite=")
		b.WriteString(string(c.SameSite))
	}
	if c.secure(scheme) {
		b.WriteString("; Secure")
	}
	if c.HTTPOnly {
		b.WriteString("; HttpOnly")
	}
	return b.String()
}

func (c *Cookie) secure(scheme string) bool {
	if c.Secure != nil {
		return *c.Secure
	}
	lower := strings.ToLower(c.Name)
	return strings.EqualFold(scheme, "https") || c.SameSite == SameSiteNone ||
		strings.HasPrefix(lower, "__host-") || strings.HasPrefix(lower, "__secure-")
}

// chunkName is the name of the i-th piece, counted from 1.
func chunkName(base string, i int) string {
	if i == 1 {
		return base
	}
	return base + strconv.Itoa(i)
}

// chunkIndex is the inverse of chunkName; 0 for a name of someone else.
func chunkIndex(base, name string) int {
	if name == base {
		return 1
	}
	if isChunk(base, name) && name[len(base)] >= '2' {
		return int(name[len(base)] - '0')
	}
	return 0
}

// maxCandidates bounds how many cookies of one name are looked at: two paths
// or domains can each have set one.
const maxCandidates = 3

// assemble puts the pieces of a cookie together. When a name occurs with
// several values there are several candidates, at most maxCandidates: the
// k-th takes the k-th value of each name, or its last. A candidate that
// lacks a piece is left out.
func (j *jar) assemble(base string) []string {
	var values [maxChunks + 1][]string
	most := 0
	for _, p := range j.pairs {
		i := chunkIndex(base, p.name)
		if i == 0 || len(values[i]) == maxCandidates || contains(values[i], p.value) {
			continue
		}
		values[i] = append(values[i], p.value)
		most = max(most, len(values[i]))
	}
	if len(values[1]) == 0 {
		return nil
	}
	pick := func(i, k int) (string, bool) {
		if len(values[i]) == 0 {
			return "", false
		}
		return values[i][min(k, len(values[i])-1)], true
	}
	var out []string
	for k := range most {
		first, _ := pick(1, k)
		if first == "" || first[0] < '1' || first[0] > '0'+maxChunks {
			continue
		}
		n := int(first[0] - '0')
		whole := first[1:]
		if n > 1 {
			parts := make([]string, 1, maxChunks)
			parts[0] = whole
			for i := 2; i <= n; i++ {
				part, ok := pick(i, k)
				if !ok {
					parts = nil
					break
				}
				parts = append(parts, part)
			}
			if parts == nil {
				continue
			}
			whole = strings.Join(parts, "")
		}
		if whole != "" && sealedText(whole) && !contains(out, whole) {
			out = append(out, whole)
		}
	}
	return out
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// split cuts a cookie's text into pieces that browsers take. It returns nil
// when more than maxChunks would be needed.
func (c *Cookie) split(base, text, scheme string, maxAge int64) []string {
	room := maxSetCookie - len(c.set(chunkName(base, maxChunks), "", scheme, maxAge))
	if room < 64 || len(text)+1 > room*maxChunks {
		return nil
	}
	n := (len(text) + room) / room // one more for the count
	text = strconv.Itoa(n) + text
	pieces := make([]string, 0, n)
	for len(text) > 0 {
		k := min(room, len(text))
		pieces = append(pieces, text[:k])
		text = text[k:]
	}
	return pieces
}

// emit writes the Set-Cookie values that turn what the browser has into text:
// pieces that changed (all of them when all is set), and the removal of
// pieces that are left over. An empty text removes the cookie.
func (c *Cookie) emit(j *jar, base, text, scheme string, maxAge int64, all bool) (cookies []string, size int, ok bool) {
	var pieces []string
	if text != "" {
		if pieces = c.split(base, text, scheme, maxAge); pieces == nil {
			return nil, len(text), false
		}
	}
	var present [maxChunks + 1]string
	var seen, twice [maxChunks + 1]bool
	for _, p := range j.pairs {
		if i := chunkIndex(base, p.name); i > 0 {
			twice[i] = twice[i] || seen[i]
			seen[i], present[i] = true, p.value
		}
	}
	for i, piece := range pieces {
		name := chunkName(base, i+1)
		size += len(name) + 1 + len(piece) + 2
		if all || present[i+1] != piece || twice[i+1] {
			cookies = append(cookies, c.set(name, piece, scheme, maxAge))
		}
	}
	for i := len(pieces) + 1; i <= maxChunks; i++ {
		if seen[i] {
			cookies = append(cookies, c.set(chunkName(base, i), "", scheme, 0))
		}
	}
	return cookies, size, true
}
