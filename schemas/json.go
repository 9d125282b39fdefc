package schemas

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/avro"

	"github.com/orderlog/orderlog/internal/near"
)

// DecodeJSON reads a body from plain JSON, so that any tool can send a command.
// The message type is the argument or, where that is "", the member "type"
// beside the fields; where both are there they must agree. A member that the
// record does not have, one given twice, one left out that has no default and a
// number that is not written as a whole int64 are errors that name it; they all
// are ErrBody.
func DecodeJSON(msgType string, value []byte) (any, error) {
	body, err := decodeJSON(msgType, value)
	if err != nil {
		return nil, fmt.Errorf("decoding JSON: %w: %w", ErrBody, err)
	}
	return body, nil
}

func decodeJSON(msgType string, value []byte) (any, error) {
	said, err := typeMember(value)
	switch {
	case err != nil:
		return nil, err
	case msgType == "" && said == "":
		return nil, errors.New(`no message type: neither a header nor a member "type" names one`)
	case msgType == "":
		msgType = said
	case said != "" && said != msgType:
		return nil, fmt.Errorf("message type is %q by its header and %q by its member \"type\"", clip(msgType), clip(said))
	}
	r, ok := ForType(msgType)
	if !ok {
		return nil, fmt.Errorf("unknown message type %q%s", clip(msgType), hint(msgType, messageTypes()))
	}
	in := jsonReader{json.NewDecoder(bytes.NewReader(value))}
	in.UseNumber()
	native, err := in.record(r.tree, "", "type")
	if err != nil {
		return nil, err
	}
	raw, err := r.Schema.Encode(native)
	if err != nil {
		return nil, err
	}
	body := r.New()
	_, err = r.Schema.Decode(raw, body)
	return body, err
}

// typeMember returns the member "type" and checks that value is one JSON object
// and nothing else.
func typeMember(value []byte) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		return "", err
	}
	if members == nil {
		return "", errors.New("want an object, got null")
	}
	raw, ok := members["type"]
	if !ok {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || s == "" || raw[0] != '"' {
		return "", fmt.Errorf(`member "type" must name a message type, got %s`, clip(string(raw)))
	}
	return s, nil
}

func messageTypes() (types []string) {
	for _, r := range Records() {
		types = append(types, r.Types...)
	}
	return types
}

// jsonReader reads well-formed JSON along a schema, into what the hot codec
// takes for a record: map[string]any with the members that were there.
type jsonReader struct{ *json.Decoder }

func (in jsonReader) value(n *avro.SchemaNode, path string) (any, error) {
	switch n.Type {
	case "record":
		return in.record(n, path)
	case "array":
		return in.array(n, path)
	}
	tok, err := in.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil && n.Type == "long" {
			return i, nil
		}
	case string:
		if n.Type == "string" {
			return v, nil
		}
		if b, err := hex.DecodeString(v); err == nil && (n.Type == "bytes" || n.Type == "fixed" && len(b) == n.Size) {
			return b, nil
		}
	case bool:
		if n.Type == "boolean" {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%s: want %s, got %s", path, wanted(n), shown(tok))
}

// record reads an object. A member named skip is passed over.
func (in jsonReader) record(n *avro.SchemaNode, path string, skip ...string) (any, error) {
	if err := in.open('{', n, path); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for in.More() {
		tok, err := in.Token()
		if err != nil {
			return nil, err
		}
		name := tok.(string)
		at := strings.TrimPrefix(path+"."+clip(name), ".")
		f := slices.IndexFunc(n.Fields, func(f avro.SchemaField) bool { return f.Name == name })
		switch _, twice := out[name]; {
		case twice:
			return nil, fmt.Errorf("%s: given twice", at)
		case f >= 0:
			if out[name], err = in.value(&n.Fields[f].Type, at); err != nil {
				return nil, err
			}
		case slices.Contains(skip, name):
			out[name] = nil
			if _, err := in.Token(); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s: unknown member%s", at, hint(name, fieldNames(n)))
		}
	}
	for _, name := range skip {
		delete(out, name)
	}
	for _, f := range n.Fields {
		if _, ok := out[f.Name]; !ok && !f.HasDefault {
			return nil, fmt.Errorf("%s: missing", strings.TrimPrefix(path+"."+f.Name, "."))
		}
	}
	_, err := in.Token()
	return out, err
}

func (in jsonReader) array(n *avro.SchemaNode, path string) (any, error) {
	if err := in.open('[', n, path); err != nil {
		return nil, err
	}
	out := []any{}
	for in.More() {
		v, err := in.value(n.Items, fmt.Sprintf("%s[%d]", path, len(out)))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := in.Token()
	return out, err
}

func (in jsonReader) open(want json.Delim, n *avro.SchemaNode, path string) error {
	tok, err := in.Token()
	if err == nil && tok != want {
		err = fmt.Errorf("%s: want %s, got %s", path, wanted(n), shown(tok))
	}
	return err
}

func wanted(n *avro.SchemaNode) string {
	switch n.Type {
	case "record":
		return "an object"
	case "array":
		return "an array"
	case "long":
		return "a whole number of 64 bits"
	case "fixed":
		return fmt.Sprintf("%d hex digits", 2*n.Size)
	case "bytes":
		return "hex digits"
	}
	return "a " + n.Type
}

func shown(tok json.Token) string {
	switch v := tok.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(clip(v))
	}
	return clip(fmt.Sprint(tok))
}

// clip keeps what comes from outside from making an error message long.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

func fieldNames(n *avro.SchemaNode) (names []string) {
	for _, f := range n.Fields {
		names = append(names, f.Name)
	}
	return names
}

// hint proposes the name that was meant, if one is near.
func hint(name string, known []string) string {
	if best := near.Word(clip(name), known); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return ""
}
