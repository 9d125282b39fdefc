// Package figure has numbers that may be unknown, or without end: in JSON, and for a
// person.
package figure

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Figure is a number; or not known, which is NaN and JSON's null; or without end,
// which is infinity and "+Inf" in JSON, as in Prometheus's.
type Figure float64

// Unknown is one that is not known.
func Unknown() Figure { return Figure(math.NaN()) }

// Never is when something is that will not be.
func Never() Figure { return Figure(math.Inf(1)) }

// Known tells whether it is a number, or without end.
func (f Figure) Known() bool { return f == f }

// Endless tells whether it has no end.
func (f Figure) Endless() bool { return math.IsInf(float64(f), 0) }

// Or is otherwise where f is not known.
func (f Figure) Or(otherwise Figure) Figure {
	if f.Known() {
		return f
	}
	return otherwise
}

// MarshalJSON never fails. What is computed has noise behind its twelfth digit.
func (f Figure) MarshalJSON() ([]byte, error) {
	switch {
	case !f.Known():
		return []byte("null"), nil
	case f.Endless():
		return []byte(`"+Inf"`), nil
	}
	return strconv.AppendFloat(nil, float64(f), 'g', 12, 64), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Figure) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "null":
		*f = Unknown()
	case `"+Inf"`:
		*f = Never()
	default:
		return json.Unmarshal(text, (*float64)(f))
	}
	return nil
}

// None is what stands for a figure that is not known.
const None = "–"

// Count is a whole number for a person: 1,204.
func (f Figure) Count() string {
	if !f.Known() || f.Endless() {
		return None
	}
	digits := strconv.FormatFloat(math.Abs(math.Round(float64(f))), 'f', 0, 64)
	var b strings.Builder
	if math.Round(float64(f)) < 0 {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Rate is a number with as many decimals as say something: 0.3, 12, 1,204.
func (f Figure) Rate() string {
	if f.Known() && f != 0 && math.Abs(float64(f)) < 9.95 {
		return strconv.FormatFloat(float64(f), 'f', 1, 64)
	}
	return f.Count()
}

// Duration is a number of seconds for a person: 12ms, 4.2s, 3m 5s, 2h 4m, 6d 2h.
func (f Figure) Duration() string {
	switch s := float64(f); {
	case !f.Known():
		return None
	case f.Endless():
		return "never"
	case s <= 0:
		return "0s"
	case s < 0.001:
		return "<1ms"
	case s < 0.9995:
		return fmt.Sprintf("%.0fms", s*1000)
	case s < 9.95:
		return fmt.Sprintf("%.1fs", s)
	case s < 59.5:
		return fmt.Sprintf("%.0fs", s)
	case s < 3570:
		return twoUnits(s, time.Minute, "m", time.Second, "s")
	case s < 2*86400:
		return twoUnits(s, time.Hour, "h", time.Minute, "m")
	default:
		return twoUnits(s, 24*time.Hour, "d", time.Hour, "h")
	}
}

func twoUnits(seconds float64, large time.Duration, l string, small time.Duration, s string) string {
	n := int64(math.Round(seconds / small.Seconds()))
	per := int64(large / small)
	if n%per == 0 {
		return fmt.Sprintf("%d%s", n/per, l)
	}
	return fmt.Sprintf("%d%s %d%s", n/per, l, n%per, s)
}
