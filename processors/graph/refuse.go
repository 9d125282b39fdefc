package graph

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// Refuse writes the input of a group that is not made of a rule to dead-letter: it
// cannot be acted on, ever. What came back by the group's loop stays a letter about
// what it first was.
func (e Env) Refuse(c kgoka.Context, group, cause, detail string) {
	rec := c.Record()
	l := letter.Of(rec)
	if rec.Topic == topics.Prefixed(e.Namespace, topics.Loop(group)) {
		l = letter.Parse(rec)
		l.Seq, l.Due = 0, 0
	}
	l.Group = group
	l = l.Failed(rec.Timestamp.UnixMilli(), letter.Poison, cause, detail, "").Fit()
	c.EmitRecord(topics.Prefixed(e.Namespace, topics.DeadLetter), string(l.Key), l.Value, l.Headers())
	first := l.Original()
	if e.Report != nil {
		c.OnCommit(func() { e.Report.Report(failure(report.DeadLetter, group, cause, first, trace.Of(first))) })
	}
	e.Log.Warn("record put into dead-letter", "group", group, "cause", cause, "error", detail, trace.Log(first, trace.Of(first)))
}

// failure is one of a record, as it first came.
func failure(kind report.Kind, processor, cause string, r *kgo.Record, p trace.Parent) report.Failure {
	return report.Failure{Kind: kind, Processor: processor, Cause: cause, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Order: event.Parse(r).Correlation, TraceID: p.TraceID()}
}
