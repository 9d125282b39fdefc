package effect

import (
	"bytes"
	"strconv"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
)

// invoicePDF draws an invoice on A4. The same data gives the same bytes: its
// dates are the invoice's, and it is not compressed. Letters that Windows-1252
// has not become points; the JSON beside it has them.
func invoicePDF(seller string, d notification.Data) ([]byte, error) {
	issued, err := time.Parse(time.RFC3339, d.Invoice.IssuedAt)
	if err != nil {
		return nil, err
	}
	p := fpdf.New("P", "mm", "A4", "")
	p.SetCompression(false)
	p.SetCatalogSort(true)
	p.SetCreationDate(issued)
	p.SetModificationDate(issued)
	p.SetTitle("Invoice "+d.Invoice.Number, true)
	latin := p.UnicodeTranslatorFromDescriptor("")
	line := func(size float64, style, text string) {
		p.SetFont("Helvetica", style, size)
		p.MultiCell(0, size/2, latin(text), "", "L", false)
	}
	p.AddPage()
	line(12, "", seller)
	line(20, "B", "Invoice "+d.Invoice.Number)
	line(10, "", "Date "+day(d.Invoice.IssuedAt)+"\nOrder "+d.OrderID+"\nCustomer "+d.CustomerID)
	p.Ln(6)

	widths := []float64{78, 20, 32, 24, 36}
	row := func(style string, cells ...string) {
		p.SetFont("Helvetica", style, 10)
		for i, c := range cells {
			align := "R"
			if i == 0 {
				align = "L"
			}
			p.CellFormat(widths[i], 6, fitting(p, latin(c), widths[i]-2), "", 0, align, false, 0, "")
		}
		p.Ln(-1)
	}
	row("B", "Article", "Quantity", "Price", "Discount", "Net "+d.Currency)
	for _, l := range d.Lines {
		discount := ""
		if l.DiscountBP > 0 {
			discount = schemas.Percent(l.DiscountBP)
		}
		row("", l.SKU, strconv.FormatInt(l.Quantity, 10), schemas.Money(l.UnitPrice, ""), discount, schemas.Money(l.Net, ""))
	}
	p.Ln(3)
	row("", "Net", "", "", "", schemas.Money(d.Net, ""))
	row("", "VAT "+schemas.Percent(d.VATBP), "", "", "", schemas.Money(d.VAT, ""))
	row("B", "Total", "", "", "", schemas.Money(d.Gross, ""))

	var out bytes.Buffer
	err = p.Output(&out)
	return out.Bytes(), err
}

// fitting cuts text, of one byte a letter, to a width.
func fitting(p *fpdf.Fpdf, text string, width float64) string {
	for n := len(text); n > 0; n-- {
		if cut := text[:n]; p.GetStringWidth(cut) <= width {
			return cut
		}
	}
	return ""
}
