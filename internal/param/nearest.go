package param

// nearest returns the name of the member that was probably meant, "" if none
// is near.
func (f *Field) nearest(name string) string {
	names := make([]any, len(f.Fields))
	for i, m := range f.Fields {
		names[i] = m.Name
	}
	return nearestWord(name, names)
}

func nearestWord(word string, among []any) string {
	if len(word) < 3 || len(word) > 100 {
		return ""
	}
	best, found := 3, "" // more than two edits is another word
	for _, a := range among {
		s, ok := a.(string)
		if !ok {
			continue
		}
		if n := edits(word, s, best); n < best {
			best, found = n, s
		}
	}
	return found
}

// edits counts the insertions, deletions and replacements that turn a into b,
// or returns limit when it takes that many.
func edits(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}
