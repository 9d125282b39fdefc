package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/orderlog/orderlog/schemas"
)

// parseMoney reads a decimal amount such as "12.50" as minor units, exactly.
func parseMoney(s string) (int64, error) {
	if strings.Contains(s, ",") {
		return 0, fmt.Errorf("%q is no amount: want a point before the cents and no commas", s)
	}
	whole, cents, point := strings.Cut(s, ".")
	if point && (len(cents) == 0 || len(cents) > 2) {
		return 0, fmt.Errorf("%q is no amount: want one or two decimals after the point", s)
	}
	n, err := digits(whole)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount: %w", s, err)
	}
	c, err := digits((cents + "00")[:2])
	if err != nil {
		return 0, fmt.Errorf("%q is no amount: %w", s, err)
	}
	if n > (math.MaxInt64-c)/100 {
		return 0, fmt.Errorf("%q is too large an amount", s)
	}
	return n*100 + c, nil
}

// digits reads a number that is not negative.
func digits(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errors.New("too many digits")
	case err != nil:
		return 0, errors.New("want digits and nothing else")
	}
	return int64(n), nil
}

// amount is a flag that takes a decimal amount.
type amount struct{ minor *int64 }

func newMoney(minor *int64, otherwise int64) *amount {
	*minor = otherwise
	return &amount{minor}
}

func (a *amount) String() string { return schemas.Money(*a.minor, "") }
func (a *amount) Type() string   { return "amount" }

func (a *amount) Set(s string) (err error) {
	n, err := parseMoney(s)
	if err == nil {
		*a.minor = n
	}
	return err
}
