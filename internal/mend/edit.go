package mend

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/schemas"
)

// Text is a dead letter's body as a person edits it: JSON with all fields of the
// record, and its message type. What cannot be decoded begins anew, with the
// fields that its type has, or as it is if it should be JSON.
func (d *Desk) Text(ctx context.Context, it Item) ([]byte, error) {
	r := it.Letter.Original()
	if event.IsJSON(r) && len(r.Value) > 0 {
		return r.Value, nil
	}
	topic, typ := d.bare(r.Topic), event.Header(r, event.Type)
	record, known := schemas.ForType(typ)
	body, err := d.cfg.Serde.Decode(ctx, topic, r.Value)
	switch {
	case errors.Is(err, schemas.ErrRegistry):
		return nil, err
	case err == nil && !schemas.Fits(typ, body):
		typ = schemas.TypeOf(body)
	case err != nil && !known:
		return []byte(`{"type":""}`), nil
	case err != nil:
		body = record.New()
	}
	value, err := d.cfg.Serde.Encode(nil, topic, body)
	if err != nil {
		return nil, err
	}
	_, text, err := d.cfg.Serde.Describe(ctx, value)
	return append(fmt.Appendf(nil, `{"type":%q,`, typ), bytes.TrimPrefix(text, []byte("{"))...), err
}

// Edit is a dead letter with another body, given as JSON. It is checked as a
// command from outside is, and has the key that the body has. Its message type may
// be another one, too.
func (d *Desk) Edit(it Item, text []byte) (Item, error) {
	l := it.Letter
	topic, typ := d.bare(l.Topic), event.Header(l.Original(), event.Type)
	var said struct{ Type string }
	if json.Unmarshal(text, &said) == nil { // else DecodeJSON says what is wrong with it
		typ = cmp.Or(said.Type, typ)
	}
	body, err := schemas.DecodeJSON(typ, text)
	if err != nil {
		return it, err
	}
	if err := schemas.Allowed(topic, body); err != nil {
		return it, err
	}
	if l.Value, err = d.cfg.Serde.Encode(nil, topic, body); err != nil {
		return it, err
	}
	l.Key, l.Cut = []byte(schemas.KeyOf(body)), 0
	l.Own = withHeader(withHeader(l.Own, event.Type, typ), event.ContentType, event.Avro)
	it.Letter, it.was = l, append([]byte{}, it.Letter.Value...)
	return it, nil
}

// withHeader is hs with one header of that name.
func withHeader(hs []kgo.RecordHeader, key, value string) []kgo.RecordHeader {
	hs = slices.DeleteFunc(slices.Clone(hs), func(h kgo.RecordHeader) bool { return h.Key == key })
	return append(hs, kgo.RecordHeader{Key: key, Value: []byte(value)})
}
