package schemas

import (
	"testing"

	"github.com/orderlog/orderlog/topics"
)

// typicalOrder has three lines and six entries in its timeline.
func typicalOrder() *Order {
	const id = "_2ZQxXb5rKqjM0cQnVYt1uTzS9aB"
	o := &Order{OrderID: "ord" + id, State: Invoiced, Version: 6, EnteredBy: 6, CustomerID: "cus" + id, Currency: "EUR",
		PlacedAt: 1767225600000, ChangedAt: 1767225600123, VATBP: 1900, Net: 123456, VAT: 23457, Gross: 146913,
		Credit: CreditAsk{Ask: Granted, Amount: 146913}, CreditNote: InvoiceAsk{Ask: AskNone},
		Invoice: InvoiceAsk{Ask: Granted, InvoiceID: "inv" + id, Number: "A-2026-000123", IssuedAt: 1767225600123}}
	for range 3 {
		o.Lines = append(o.Lines, Line{SKU: "sku" + id, Quantity: 3, QuotedPrice: 13717, UnitPrice: 13717, Net: 41152, VAT: 7819, Stock: Granted})
		o.Timeline = append(o.Timeline, TimelineEntry{At: 1767225600100, Type: StockReservedEvent, Detail: "sku" + id})
	}
	for _, msgType := range []string{OrderPlaced, CreditChargedEvent, OrderInvoiced} {
		o.Timeline = append(o.Timeline, TimelineEntry{At: 1767225600100, Type: msgType})
	}
	return o
}

func BenchmarkEncodeOrder(b *testing.B) {
	s, o, buf := NewLocalSerde(), typicalOrder(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = s.Encode(buf[:0], topics.OrderTable, o); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}

func BenchmarkDecodeOrder(b *testing.B) {
	s := NewLocalSerde()
	value, err := s.Encode(nil, topics.OrderTable, typicalOrder())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("fresh", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Decode(b.Context(), topics.OrderTable, value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("into", func(b *testing.B) {
		var o Order
		b.ReportAllocs()
		for b.Loop() {
			if err := s.DecodeInto(b.Context(), topics.OrderTable, value, &o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeTask(b *testing.B) {
	s := NewLocalSerde()
	value, err := s.Encode(nil, topics.InventoryTasks, sampleOf("ReserveStock"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Decode(b.Context(), topics.InventoryTasks, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	body := sampleOf("PlaceOrder")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Hash(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDescribeOrder(b *testing.B) {
	s := NewLocalSerde()
	value, err := s.Encode(nil, topics.OrderTable, typicalOrder())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Describe(b.Context(), value); err != nil {
			b.Fatal(err)
		}
	}
}
