package verify

import (
	"fmt"
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

var (
	tenThousand  = big.NewInt(10_000)
	fiveThousand = big.NewInt(5_000)
)

// purse does the sums, in numbers that do not overflow. It is kept from order to
// order only to spare its memory.
type purse struct{ a, b, net, vat, sumNet, sumVAT, charge big.Int }

// half sets z to z/10000, rounded half up. z is not negative.
func half(z *big.Int) { z.Quo(z.Add(z, fiveThousand), tenThousand) }

// price works out one line's net amount and VAT. It is not ok where the sum of
// the two is past int64: such a line has no amounts.
func (p *purse) price(unit, quantity, discountBP, vatBP int64) (net, vat int64, ok bool) {
	p.net.Mul(p.a.SetInt64(unit), p.b.SetInt64(quantity))
	p.net.Mul(&p.net, p.a.SetInt64(10_000-discountBP))
	half(&p.net)
	p.vat.Mul(&p.net, p.a.SetInt64(vatBP))
	half(&p.vat)
	if !p.a.Add(&p.net, &p.vat).IsInt64() {
		return 0, 0, false
	}
	return p.net.Int64(), p.vat.Int64(), true
}

// fault recomputes an order's amounts from its lines, and tells the first that
// differs, "" if none does. A line has amounts from the moment it is granted; the
// order, once every line has; the credit is asked for the gross at the prices
// granted, or quoted where there is none.
func (p *purse) fault(o *schemas.Order) string {
	if want := vatOf(o.PlacedAt); o.VATBP != want {
		return fmt.Sprintf("VAT rate %d, expected %d", o.VATBP, want)
	}
	p.sumNet.SetInt64(0)
	p.sumVAT.SetInt64(0)
	p.charge.SetInt64(0)
	priced, tooLarge := len(o.Lines) > 0, false
	for i, l := range o.Lines {
		granted := l.Stock == schemas.Granted || l.Stock == schemas.Released
		unit := l.UnitPrice
		if !granted {
			unit, priced = l.QuotedPrice, false
		}
		net, vat, ok := p.price(unit, l.Quantity, l.DiscountBP, o.VATBP)
		p.charge.Add(&p.charge, p.a.SetInt64(net))
		p.charge.Add(&p.charge, p.a.SetInt64(vat))
		if !granted {
			net, vat, ok = 0, 0, true
		} else if l.QuotedPrice != 0 && l.QuotedPrice != unit {
			return fmt.Sprintf("line %d: quoted %d, granted at %d", i+1, l.QuotedPrice, unit)
		}
		if l.Net != net || l.VAT != vat {
			return fmt.Sprintf("line %d: net %d and VAT %d, recomputed %d and %d", i+1, l.Net, l.VAT, net, vat)
		}
		tooLarge = tooLarge || !ok
		p.sumNet.Add(&p.sumNet, p.a.SetInt64(net))
		p.sumVAT.Add(&p.sumVAT, p.a.SetInt64(vat))
	}
	if fault := p.totals(o, priced, tooLarge); fault != "" {
		return fault
	}
	return p.charged(o)
}

func (p *purse) totals(o *schemas.Order, priced, tooLarge bool) string {
	var net, vat, gross int64
	if priced && p.a.Add(&p.sumNet, &p.sumVAT).IsInt64() {
		net, vat, gross = p.sumNet.Int64(), p.sumVAT.Int64(), p.a.Int64()
	}
	if o.Net == net && o.VAT == vat && o.Gross == gross {
		return ""
	}
	if tooLarge && o.State == schemas.Rejected {
		return "" // it was rejected for that: its totals mean nothing
	}
	return fmt.Sprintf("net %d, VAT %d, gross %d, recomputed %d, %d, %d", o.Net, o.VAT, o.Gross, net, vat, gross)
}

func (p *purse) charged(o *schemas.Order) string {
	switch {
	case o.Credit.Ask == schemas.AskNone && o.Credit.Amount != 0:
		return fmt.Sprintf("credit of %d without an ask", o.Credit.Amount)
	case o.Credit.Ask != schemas.AskNone && p.charge.Cmp(p.a.SetInt64(o.Credit.Amount)) != 0:
		return fmt.Sprintf("credit of %d was asked, the lines come to %s", o.Credit.Amount, &p.charge)
	}
	return ""
}
