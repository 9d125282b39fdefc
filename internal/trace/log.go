package trace

import (
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Log is what the log says of every record that it speaks of: topic, partition, offset,
// and order and trace_id if there are any. p is its Parent, or that of what it causes.
func Log(r *kgo.Record, p Parent) slog.Attr {
	attrs := []slog.Attr{slog.String("topic", r.Topic), slog.Int("partition", int(r.Partition)), slog.Int64("offset", r.Offset)}
	if order := orderOf(r); order != "" {
		attrs = append(attrs, slog.String("order", order))
	}
	if id := p.TraceID(); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	return slog.Attr{Value: slog.GroupValue(attrs...)} // without a key: its attributes stand beside the others
}
