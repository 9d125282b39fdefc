package schemas

import (
	"fmt"
	"strings"
)

// IsCurrency tells whether code has the form of an ISO 4217 code: three capital
// letters. It knows no list of currencies.
func IsCurrency(code string) bool {
	if len(code) != 3 {
		return false
	}
	for i := range len(code) {
		if code[i] < 'A' || code[i] > 'Z' {
			return false
		}
	}
	return true
}

// Money shows minor units as a decimal amount, "12.50 EUR". Every currency is
// taken to have cents.
func Money(minor int64, currency string) string {
	sign, n := "", uint64(minor)
	if minor < 0 {
		sign, n = "-", -n
	}
	return strings.TrimSpace(fmt.Sprintf("%s%d.%02d %s", sign, n/100, n%100, currency))
}

// Percent shows basis points, "19 %" or "2.5 %".
func Percent(bp int64) string {
	return strings.TrimSuffix(strings.TrimRight(Money(bp, ""), "0"), ".") + " %"
}
