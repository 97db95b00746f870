// Package nearest finds the word that a mistyped one most likely means.
package nearest

// Word returns the known word that is nearest to a mistyped one, or "" when none is
// near: more than half of its letters would have to change.
func Word(typed string, known []string) string {
	best, distance := "", len(typed)/2+1
	for _, k := range known {
		if d := editDistance(typed, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// editDistance is Levenshtein's: insertions, deletions and substitutions.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
