package verify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
)

// rows is one partition of a processor's table: the last version of each row.
// An empty value is a row that is not there.
type rows[T any] struct {
	w      *world
	topic  string
	rows   map[string]T
	faults []Violation
}

func (rs *rows[T]) add(r *kgo.Record) error {
	key := string(r.Key)
	if len(r.Value) == 0 {
		delete(rs.rows, key)
		return nil
	}
	row := new(T)
	err := rs.w.serde.DecodeInto(rs.w.ctx, rs.topic, r.Value, row)
	switch {
	case errors.Is(err, schemas.ErrRegistry):
		return err
	case err == nil && schemas.KeyOf(row) != key && schemas.KeyOf(row) != "":
		err = fmt.Errorf("the row says that it belongs to %q", schemas.KeyOf(row))
	}
	if err != nil {
		rs.faults = append(rs.faults, violation(rs.topic, "a row that cannot be read", key, where(r)+": "+err.Error()))
		return nil
	}
	rs.rows[key] = *row
	return nil
}

func where(r *kgo.Record) string { return fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset) }

// docs is one partition of documents, D made of the record body of type R.
type docs[D any] struct {
	docs   map[string]doc[D]
	read   func(*kgo.Record) (D, error)
	topic  string
	faults []Violation
}

// doc is a document and where it stands.
type doc[D any] struct {
	pos
	is D
}

func newDocs[R, D any](w *world, topic string, from func(*R) D) *docs[D] {
	return &docs[D]{topic: topic, docs: map[string]doc[D]{}, read: func(r *kgo.Record) (d D, err error) {
		body := new(R)
		if err := w.serde.DecodeInto(w.ctx, topic, r.Value, body); err != nil {
			return d, err
		}
		if key := schemas.KeyOf(body); key != string(r.Key) {
			return d, fmt.Errorf("the document is %q", key)
		}
		return from(body), nil
	}}
}

func (ds *docs[D]) add(r *kgo.Record) error {
	d, err := ds.read(r)
	if errors.Is(err, schemas.ErrRegistry) {
		return err
	}
	if err != nil {
		ds.faults = append(ds.faults, violation(ds.topic, "a document that cannot be read", string(r.Key), where(r)+": "+err.Error()))
		return nil
	}
	ds.docs[string(r.Key)] = doc[D]{at(r), d}
	return nil
}

// invoice is what is kept of a schemas.Invoice, less its ID.
type invoice struct {
	order, customer, currency     string
	kind, series, number          string
	corrects                      string
	seq                           int64
	net, vat, gross, vatBP, dated int64
}

func newInvoices() func(*schemas.Invoice) invoice {
	names := interned{}
	return func(b *schemas.Invoice) invoice {
		return invoice{
			order: strings.Clone(b.OrderID), customer: names.of(b.CustomerID), currency: names.of(b.Currency),
			kind: names.of(b.Kind), series: names.of(b.Series), number: strings.Clone(b.Number), corrects: strings.Clone(b.Corrects),
			seq: b.Seq, net: b.Net, vat: b.VAT, gross: b.Gross, vatBP: b.VATBP, dated: b.IssuedAt,
		}
	}
}

func newVouchers() func(*schemas.Voucher) schemas.Voucher {
	names := interned{}
	return func(b *schemas.Voucher) schemas.Voucher {
		return schemas.Voucher{OrderID: strings.Clone(b.OrderID), CustomerID: names.of(b.CustomerID), Strategy: names.of(b.Strategy), Amount: b.Amount, Currency: names.of(b.Currency)}
	}
}

// interned keeps one copy of equal strings.
type interned map[string]string

func (in interned) of(s string) string {
	if t, ok := in[s]; ok {
		return t
	}
	s = strings.Clone(s)
	in[s] = s
	return s
}
