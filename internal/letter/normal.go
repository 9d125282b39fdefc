package letter

import (
	"cmp"
	"regexp"
	"strings"
	"sync"
)

// Label is what letters are counted by: whose they are, and why.
type Label struct{ Group, Cause string }

// Labels keeps labels few, whatever letters say: a label value lives for good where
// figures are kept.
type Labels struct {
	mu    sync.Mutex
	given map[Label]Label
}

const maxLabels = 100

// other stands for what comes beyond the first hundred labels.
const other = "other"

// Of returns the label of a letter with that group and cause, the same memory for
// equal ones.
func (ls *Labels) Of(group, cause string) Label {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l, ok := ls.given[Label{group, cause}]; ok {
		return l
	}
	text := func(s string) string { return cmp.Or(Normal(strings.ToValidUTF8(s, "?")), "unknown") }
	l := Label{text(group), text(cause)}
	if old, ok := ls.given[l]; ok {
		return old
	}
	if len(ls.given) >= maxLabels {
		return Label{other, other}
	}
	if ls.given == nil {
		ls.given = map[Label]Label{}
	}
	ls.given[l] = l
	return l
}

// varying is what differs between errors of one kind, and what stands for it.
var varying = []struct {
	is    *regexp.Regexp
	shown string
}{
	{regexp.MustCompile(`"(?:[^"\\]|\\.)*"`), `"…"`},
	{regexp.MustCompile(`\b(ord|cus|sku|inv|vch|evt|eff)_[\w.-]*[\w]`), `${1}_…`},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b`), `N`},
	{regexp.MustCompile(`\b(?:0x[0-9a-fA-F]+|[0-9a-fA-F]{8,})\b`), `N`},
	{regexp.MustCompile(`[0-9]+(?:[.:,][0-9]+)*`), `N`},
	{regexp.MustCompile(`\s+`), ` `},
}

// Normal is the first line of an error without quoted texts, IDs and numbers, so
// that errors of one kind are equal.
func Normal(err string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err), "\n")
	for _, v := range varying {
		line = v.is.ReplaceAllString(line, v.shown)
	}
	const most = 200
	if r := []rune(line); len(r) > most {
		line = string(r[:most]) + "…"
	}
	return strings.TrimSpace(line)
}
