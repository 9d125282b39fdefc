package verify

import (
	"fmt"
	"math"
	"math/big"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

// vatOf is the rate in basis points of an order placed then: 16 % in the second
// half of 2020 (UTC), else 19 %.
func vatOf(placedAt int64) int64 {
	t := time.UnixMilli(placedAt).UTC()
	if t.Year() == 2020 && t.Month() >= time.July {
		return 1600
	}
	return 1900
}

// purse does the sums, in numbers that do not overflow.
type purse struct{ a, b, net, vat, sumNet, sumVAT big.Int }

var (
	tenThousand  = big.NewInt(10_000)
	fiveThousand = big.NewInt(5_000)
)

// half sets z to z/10000, rounded half up. z is not negative.
func half(z *big.Int) { z.Add(z, fiveThousand).Quo(z, tenThousand) }

// price works out one line's net amount and VAT. It is not ok where the sum of
// the two is past int64: such a line has no amounts.
func (p *purse) price(unit, quantity, discountBP, vatBP int64) (net, vat int64, ok bool) {
	p.net.Mul(p.a.SetInt64(unit), p.b.SetInt64(quantity))
	half(p.net.Mul(&p.net, p.a.SetInt64(10_000-discountBP)))
	half(p.vat.Mul(&p.net, p.a.SetInt64(vatBP)))
	if !p.a.Add(&p.net, &p.vat).IsInt64() {
		return 0, 0, false
	}
	return p.net.Int64(), p.vat.Int64(), true
}

func (p *purse) add(net, vat int64) {
	p.sumNet.Add(&p.sumNet, p.a.SetInt64(net))
	p.sumVAT.Add(&p.sumVAT, p.a.SetInt64(vat))
}

// gross is the sum of what was added, if int64 holds it.
func (p *purse) gross() (int64, bool) {
	p.a.Add(&p.sumNet, &p.sumVAT)
	return p.a.Int64(), p.a.IsInt64()
}

// amountFault recomputes an order's amounts from its lines, and tells the first
// that differs. A line has amounts from the moment it is granted; the order,
// once every line has; the credit is asked for the gross at granted or quoted
// prices.
func amountFault(o *schemas.Order) string {
	if want := vatOf(o.PlacedAt); o.VATBP != want {
		return fmt.Sprintf("VAT rate %d, expected %d", o.VATBP, want)
	}
	var p purse
	priced, tooLarge := len(o.Lines) > 0, false
	for i, l := range o.Lines {
		var net, vat int64
		if l.Stock == schemas.Granted || l.Stock == schemas.Released {
			var ok bool
			net, vat, ok = p.price(l.UnitPrice, l.Quantity, l.DiscountBP, o.VATBP)
			tooLarge = tooLarge || !ok
		} else {
			priced = false
		}
		if l.Net != net || l.VAT != vat {
			return fmt.Sprintf("line %d: net %d and VAT %d, recomputed %d and %d", i+1, l.Net, l.VAT, net, vat)
		}
		p.add(net, vat)
	}
	if fault := p.totalFault(o, priced, tooLarge); fault != "" {
		return fault
	}
	return chargeFault(o)
}

func (p *purse) totalFault(o *schemas.Order, priced, tooLarge bool) string {
	var net, vat int64
	gross, ok := p.gross()
	if priced && ok {
		net, vat = p.sumNet.Int64(), p.sumVAT.Int64()
	} else {
		gross = 0
	}
	if o.Net == net && o.VAT == vat && o.Gross == gross {
		return ""
	}
	if tooLarge && o.State == schemas.Rejected {
		return "" // it was rejected for that: its totals mean nothing
	}
	return fmt.Sprintf("net %d, VAT %d, gross %d, recomputed %d, %d, %d", o.Net, o.VAT, o.Gross, net, vat, gross)
}

// chargeFault compares what was asked of the credit. After a refused line the
// quoted price is what it was asked for.
func chargeFault(o *schemas.Order) string {
	if o.Credit.Ask == schemas.AskNone {
		if o.Credit.Amount != 0 {
			return fmt.Sprintf("credit of %d without an ask", o.Credit.Amount)
		}
		return ""
	}
	var p purse
	for _, l := range o.Lines {
		unit := l.QuotedPrice
		if l.Stock == schemas.Granted || l.Stock == schemas.Released {
			unit = l.UnitPrice
		}
		net, vat, _ := p.price(unit, l.Quantity, l.DiscountBP, o.VATBP)
		p.add(net, vat)
	}
	gross, ok := p.gross()
	if !ok {
		gross = math.MaxInt64
	}
	if o.Credit.Amount != gross {
		return fmt.Sprintf("credit of %d was asked, the lines come to %d", o.Credit.Amount, gross)
	}
	return ""
}
