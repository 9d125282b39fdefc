package order

import (
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

// VAT rates in basis points, and when the lower one held (UTC).
const (
	StandardVAT = 1900
	ReducedVAT  = 1600 // July to December 2020
)

var (
	reducedFrom  = time.Date(2020, time.July, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	reducedUntil = time.Date(2021, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
)

func vatRate(placedAt int64) int64 {
	if placedAt >= reducedFrom && placedAt < reducedUntil {
		return ReducedVAT
	}
	return StandardVAT
}

func year(at int64) string { return strconv.Itoa(time.UnixMilli(at).UTC().Year()) }

// money is the price of a line or of an order.
type money struct{ net, vat int64 }

// lineMoney prices one line, rounding half up once for the net amount and once
// for the VAT. It is not ok, and nothing, if an amount or their sum is past int64.
// Arguments are not negative, quantity x (10000 - discount) fits int64.
func lineMoney(unitPrice, quantity, discountBP, vatBP int64) (m money, ok bool) {
	net, ok := scale(unitPrice, quantity*(10_000-discountBP))
	if !ok {
		return money{}, false
	}
	vat, ok := scale(net, vatBP)
	if !ok || vat > math.MaxInt64-net {
		return money{}, false
	}
	return money{net, vat}, true
}

// scale returns a x b / 10000, rounded half up, of numbers that are not negative.
func scale(a, b int64) (int64, bool) {
	const unit = 10_000
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	lo, carry := bits.Add64(lo, unit/2, 0)
	hi += carry
	if hi >= unit {
		return 0, false
	}
	q, _ := bits.Div64(hi, lo, unit)
	return int64(q), q <= math.MaxInt64
}

// plus adds two prices; it is not ok if the gross is past int64.
func (m money) plus(n money) (money, bool) {
	if n.net+n.vat > math.MaxInt64-(m.net+m.vat) {
		return m, false
	}
	return money{m.net + n.net, m.vat + n.vat}, true
}

func (m money) gross() int64 { return m.net + m.vat }

// quoted returns the order's price at the quoted prices, complete only if every
// line has one. It is not ok if that is past int64.
func quoted(lines []schemas.Line, vatBP int64) (sum money, complete, ok bool) {
	complete = true
	for _, l := range lines {
		if l.QuotedPrice == 0 {
			complete = false
			continue
		}
		m, ok := lineMoney(l.QuotedPrice, l.Quantity, l.DiscountBP, vatBP)
		if !ok {
			return money{}, false, false
		}
		if sum, ok = sum.plus(m); !ok {
			return money{}, false, false
		}
	}
	return sum, complete, true
}
