// Package near finds the word that was meant by one that is not known: of a
// command, a flag, a topic, a field.
package near

import "strings"

// Word returns the candidate that was probably meant, "" if none is close. Case,
// dashes and underscores make no difference.
func Word(word string, candidates []string) string {
	word = plain(word)
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		d := distance(word, plain(c))
		if len(word) >= 2 && strings.HasPrefix(plain(c), word) {
			d = 0
		}
		if d < bestDistance && d < len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

func plain(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }

// distance is Levenshtein's, in which swapped neighbours count as one edit.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
	}
	for j := range t {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(s)][len(t)]
}
