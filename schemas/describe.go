package schemas

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/avro"
)

// Describe reads a record value with the schema it was written with, whether
// this build knows that record or not. It returns the record's name ("Order",
// or the full name of one that is not ours) and the body as compact JSON: fields
// in the schema's order, bytes and fixed as hex, unions without their branch.
func (s *Serde) Describe(ctx context.Context, value []byte) (record string, text []byte, err error) {
	w, raw, err := s.writer(ctx, value)
	if err != nil {
		return "", nil, err
	}
	d, err := w.dynamic()
	if err != nil {
		return "", nil, err
	}
	record = w.name
	if w.record != nil {
		record = w.record.Name
	}
	text, err = d.describe(raw)
	if err != nil {
		return record, nil, fmt.Errorf("describing %s: %w: %w", record, ErrBody, err)
	}
	return record, text, nil
}

// dynamic reads bodies without a Go type.
type dynamic struct {
	tree  *avro.SchemaNode
	guard *avro.Schema
	codec *goavro.Codec
}

func newDynamic(schema string) (*dynamic, error) {
	guard, err := avro.Parse(schema)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncompatible, err)
	}
	codec, err := goavro.NewCodec(schema)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncompatible, err)
	}
	return &dynamic{tree: guard.Root().ExpandReferences(), guard: guard, codec: codec}, nil
}

func fullName(n *avro.SchemaNode) string {
	if n.Namespace == "" || strings.Contains(n.Name, ".") {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

// describe first has the guard read the body, because it bounds what it
// allocates and how deep it goes, and goavro trusts the counts that it finds.
func (d *dynamic) describe(raw []byte) ([]byte, error) {
	var seen any
	rest, err := d.guard.Decode(raw, &seen)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes too many", len(rest))
	}
	v, _, err := d.codec.NativeFromBinary(raw)
	if err != nil { // goavro is stricter, e.g. about a true that is not 1: give it what the guard makes of it
		if raw, err = d.guard.Encode(seen); err != nil {
			return nil, err
		}
		if v, _, err = d.codec.NativeFromBinary(raw); err != nil {
			return nil, err
		}
	}
	return render(nil, d.tree, v), nil
}

// render shows v, of a schema that is nil where a recursive one is not followed.
func render(dst []byte, n *avro.SchemaNode, v any) []byte {
	if n == nil {
		n = &avro.SchemaNode{}
	}
	switch v := v.(type) {
	case map[string]any:
		return renderMap(dst, n, v)
	case []any:
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = render(dst, n.Items, item)
		}
		return append(dst, ']')
	case []byte:
		return append(hex.AppendEncode(append(dst, '"'), v), '"')
	}
	return renderScalar(dst, v)
}

func renderScalar(dst []byte, v any) []byte {
	out := bytes.NewBuffer(dst)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil { // NaN and the infinities
		enc.Encode(fmt.Sprint(v))
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// renderMap shows what goavro gives as a map: a record, a union's value under
// the name of its branch, or a map.
func renderMap(dst []byte, n *avro.SchemaNode, m map[string]any) []byte {
	if n.Type == "union" {
		for name, v := range m {
			return render(dst, branch(n, name), v)
		}
	}
	dst = append(dst, '{')
	member := func(name string, n *avro.SchemaNode, v any) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = render(append(renderScalar(dst, name), ':'), n, v)
	}
	if n.Type != "record" {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			member(k, n.Values, m[k])
		}
		return append(dst, '}')
	}
	for i := range n.Fields {
		member(n.Fields[i].Name, &n.Fields[i].Type, m[n.Fields[i].Name])
	}
	return append(dst, '}')
}

// branch finds the union member that goavro calls by this name.
func branch(n *avro.SchemaNode, name string) *avro.SchemaNode {
	for i := range n.Branches {
		b := &n.Branches[i]
		if name == b.Type || name == fullName(b) || name == b.Type+"."+b.LogicalType {
			return b
		}
	}
	return nil
}
