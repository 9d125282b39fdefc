package trace

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	sampled   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func headers(kv ...string) (hs []kgo.RecordHeader) {
	for i := 0; i < len(kv); i += 2 {
		hs = append(hs, kgo.RecordHeader{Key: kv[i], Value: []byte(kv[i+1])})
	}
	return hs
}

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		hs        []kgo.RecordHeader
		id, state string
		sampled   bool
	}{
		"none":               {nil, "", "", false},
		"sampled":            {headers("traceparent", sampled), sampled, "", true},
		"not sampled":        {headers("traceparent", unsampled), unsampled, "", false},
		"random flag, too":   {headers("traceparent", sampled[:53]+"03"), sampled[:53] + "03", "", true},
		"with state":         {headers("tracestate", "a=1,b=2", "traceparent", sampled), sampled, "a=1,b=2", true},
		"state alone":        {headers("tracestate", "a=1"), "", "", false},
		"too much state":     {headers("traceparent", sampled, "tracestate", strings.Repeat("x", 513)), sampled, "", true},
		"the last one":       {headers("traceparent", unsampled, "traceparent", sampled), sampled, "", true},
		"later version":      {headers("traceparent", "01"+sampled[2:]+"-more"), "01" + sampled[2:] + "-more", "", true},
		"longer":             {headers("traceparent", sampled+"-more"), "", "", false},
		"shorter":            {headers("traceparent", sampled[:54]), "", "", false},
		"capitals":           {headers("traceparent", strings.ToUpper(sampled)), "", "", false},
		"invalid version":    {headers("traceparent", "ff"+sampled[2:]), "", "", false},
		"no trace":           {headers("traceparent", "00-"+strings.Repeat("0", 32)+sampled[35:]), "", "", false},
		"no span":            {headers("traceparent", sampled[:36]+strings.Repeat("0", 16)+sampled[52:]), "", "", false},
		"dash out of place":  {headers("traceparent", strings.Replace(sampled, "c-b", "-cb", 1)), "", "", false},
		"no hex at all":      {headers("traceparent", strings.Repeat("x", 55)), "", "", false},
		"later, no dash":     {headers("traceparent", "01"+sampled[2:]+"more"), "", "", false},
		"empty, and nothing": {headers("traceparent", ""), "", "", false},
	} {
		p := Read(c.hs)
		if string(p.ID) != c.id || string(p.State) != c.state || p.Sampled() != c.sampled || p.IsZero() != (c.id == "") {
			t.Errorf("%s: %q %q, sampled %t", name, p.ID, p.State, p.Sampled())
		}
		if got := Decode(p.Encode()); string(got.ID) != c.id || string(got.State) != c.state {
			t.Errorf("%s: in one, it is %q %q", name, got.ID, got.State)
		}
		if p.IsZero() != (p.TraceID() == "") || !p.IsZero() && p.TraceID() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s: trace %q", name, p.TraceID())
		}
	}
}

// Whatever stands in headers, it is none or what OpenTelemetry takes for the same, and
// stays that.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sampled), []byte("a=1"))
	f.Add([]byte("01"+unsampled[2:]+"-more"), []byte("\n"))
	f.Fuzz(func(t *testing.T, id, state []byte) {
		p := Parse(id, state)
		if p.IsZero() {
			return
		}
		sc := p.spanContext()
		if !sc.IsValid() || sc.TraceID().String() != p.TraceID() || sc.IsSampled() != p.Sampled() {
			t.Fatalf("%q is %+v", id, sc)
		}
		if again := parentOf(sc); !bytes.Equal(again.ID[3:53], p.ID[3:53]) || again.Sampled() != p.Sampled() {
			t.Fatalf("%q becomes %q", id, again.ID)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	r := &kgo.Record{Headers: headers("ce_id", "1", "traceparent", unsampled)}
	into := make([]kgo.RecordHeader, 0, 8)
	on := tracer(t)
	for name, p := range map[string]*Processor{"off": nil, "not sampled": on.Processor("order", "order")} {
		if n := testing.AllocsPerRun(100, func() {
			s, next := p.Handle(r, true)
			into = next.Append(into[:0])
			s.Park("behind", 0, false)
			s.End()
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if len(into) != 1 || string(into[0].Value) != unsampled {
			t.Errorf("%s: handed on is %q", name, into)
		}
	}
}
