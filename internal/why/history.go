package why

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Version is one record of an order on the order log.
type Version struct {
	Place
	Time    int64                   `json:"time_ms"` // of the record
	ID      string                  `json:"id"`      // ce_id
	Type    string                  `json:"type"`    // ce_type; "" where only what is remembered beside the order has changed
	Version int64                   `json:"version"`
	State   string                  `json:"state"`
	At      int64                   `json:"changed_at"`      // event time
	Missing int64                   `json:"missing"`         // versions between this one and the one before, which compaction took
	Cause   *Place                  `json:"cause,omitempty"` // what was being handled
	Entries []schemas.TimelineEntry `json:"entries"`         // of the timeline, that are new
	Changes []string                `json:"changes"`         // other fields: "lines[0].stock: asked -> granted"
}

// History returns the versions of an order that the order log still has. The error
// is client.ErrNoOrder if it has none.
func (r *Reader) History(ctx context.Context, order string) ([]Version, error) {
	var versions []Version
	before := new(schemas.Order)
	err := r.read(ctx, topics.OrderTable, r.partitionsOf(order), time.Time{}, func(rec *kgo.Record) error {
		if string(rec.Key) != order || len(rec.Value) == 0 {
			return nil
		}
		o := new(schemas.Order)
		if err := r.cfg.Serde.DecodeInto(ctx, topics.OrderTable, rec.Value, o); err != nil {
			return fmt.Errorf("order %q at %s: %w", order, placeOf(rec), err)
		}
		v, err := r.version(rec, before, o)
		versions, before = append(versions, v), o
		return err
	})
	if err == nil && len(versions) == 0 {
		err = fmt.Errorf("order %q: %w", order, client.ErrNoOrder)
	}
	return versions, err
}

func (r *Reader) version(rec *kgo.Record, before, o *schemas.Order) (Version, error) {
	m := event.Parse(rec)
	v := Version{Place: placeOf(rec), Time: rec.Timestamp.UnixMilli(), ID: event.Header(rec, event.ID), Type: m.Type, Version: o.Version, State: o.State, At: o.ChangedAt,
		Missing: max(0, o.Version-before.Version-1), Entries: news(before, o)}
	if cause, _, ok := r.origin(rec); ok {
		v.Cause = &cause
	}
	var err error
	v.Changes, err = changes(before, o)
	return v, err
}

// news are the entries of the timeline that before has not.
func news(before, o *schemas.Order) []schemas.TimelineEntry {
	return o.Timeline[min(len(before.Timeline), len(o.Timeline)):]
}

// changes lists the fields that differ, but for those that every version has anew.
func changes(before, o *schemas.Order) ([]string, error) {
	was, err := fields(before)
	if err != nil {
		return nil, err
	}
	is, err := fields(o)
	if err != nil {
		return nil, err
	}
	differ := []string{}
	both := maps.Clone(was)
	maps.Copy(both, is)
	for _, path := range slices.Sorted(maps.Keys(both)) {
		a, had := was[path]
		b, has := is[path]
		switch {
		case a == b && had == has, !had && empty(b):
		case !had || empty(a):
			differ = append(differ, path+": "+b)
		case !has:
			differ = append(differ, fmt.Sprintf("%s: %s -> none", path, a))
		default:
			differ = append(differ, fmt.Sprintf("%s: %s -> %s", path, a, b))
		}
	}
	return differ, nil
}

func empty(value string) bool { return value == "" || value == "0" }

// fields are those of an order by their paths, as in its JSON.
func fields(o *schemas.Order) (map[string]string, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	for _, everyTime := range []string{"timeline", "version", "changed_at", "entered_by"} {
		delete(tree, everyTime)
	}
	flat := map[string]string{}
	flatten(flat, "", tree)
	return flat, nil
}

func flatten(into map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if path != "" {
				k = path + "." + k
			}
			flatten(into, k, x)
		}
	case []any:
		for i, x := range v {
			flatten(into, fmt.Sprintf("%s[%d]", path, i), x)
		}
	case nil:
	default:
		into[path] = fmt.Sprint(v)
	}
}
