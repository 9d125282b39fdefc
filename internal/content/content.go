// Package content reads what the compacted topics say about the business and
// nothing else: no times, no positions, and no order of events that two correct
// runs may differ in. Two runs of the same input, whatever crashed in between,
// must have equal content.
package content

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Content is topic -> key -> body as JSON.
type Content map[string]map[string]string

// Read reads every compacted topic of the catalogue to its read_committed end, but
// not those whose keys are made of times, the calendar and the ledger of effects, nor
// who has paused what.
func Read(ctx context.Context, opts []kgo.Opt, serde *schemas.Serde, namespace string) (Content, error) {
	c := Content{}
	for _, t := range topics.All() {
		if !t.Compact || t.Name == topics.RetryTable || t.Name == topics.EffectsTable || t.Name == topics.Control {
			continue
		}
		c[t.Name] = map[string]string{}
		err := EachRecord(ctx, opts, topics.Prefixed(namespace, t.Name), func(r *kgo.Record) error {
			if len(r.Value) == 0 { // deleted, or a row that is not there but remembers what it refused
				delete(c[t.Name], string(r.Key))
				return nil
			}
			body, err := serde.Decode(ctx, t.Name, r.Value)
			if err != nil {
				return fmt.Errorf("%s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
			}
			c[t.Name][string(r.Key)], err = business(body)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// EachRecord reads a topic from its start to its read_committed end of now.
func EachRecord(ctx context.Context, opts []kgo.Opt, topic string, do func(*kgo.Record) error) error {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	span, err := client.Whole(ctx, kadm.NewClient(cl), topic)
	if err != nil {
		return err
	}
	return span.Read(ctx, opts, func(r *kgo.Record) (bool, error) { return true, do(r) })
}

// business is body without what may differ: times, numbers given in order of
// arrival, and the order in which independent answers came.
func business(body any) (string, error) {
	switch b := body.(type) {
	case *schemas.Order:
		b.ChangedAt = 0
		for i := range b.Timeline {
			b.Timeline[i].At = 0
		}
		slices.SortStableFunc(b.Timeline, func(x, y schemas.TimelineEntry) int {
			return cmp.Or(strings.Compare(x.Type, y.Type), strings.Compare(x.Detail, y.Detail))
		})
		for i := range b.Timeline {
			if strings.HasSuffix(b.Timeline[i].Type, "invoiced") || strings.Contains(b.Timeline[i].Type, "issued") {
				b.Timeline[i].Detail = "" // the number
			}
		}
		slices.Sort(b.Reasons)
		withoutNumber(&b.Invoice)
		withoutNumber(&b.CreditNote)
	case *schemas.Invoice:
		b.Number, b.Corrects, b.Seq, b.IssuedAt = "", "", 0, 0
	case *schemas.Voucher:
		b.GrantedAt = 0
	case *schemas.Notices:
		b.Seen = 0
	}
	j, err := json.Marshal(body)
	return string(j), err
}

func withoutNumber(a *schemas.InvoiceAsk) { a.Number, a.IssuedAt = "", 0 }

// Diff lists at most limit keys in which a and b differ; none if they are equal.
func Diff(a, b Content, limit int) []string {
	var out []string
	for _, t := range slices.Sorted(maps.Keys(a)) {
		keys := maps.Clone(a[t])
		maps.Copy(keys, b[t])
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if len(out) < limit && a[t][k] != b[t][k] {
				out = append(out, fmt.Sprintf("%s %s:\n  %s\n  %s", t, k, cmp.Or(a[t][k], "absent"), cmp.Or(b[t][k], "absent")))
			}
		}
	}
	return out
}
