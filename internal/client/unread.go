package client

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/group"
)

// Unread counts the records that a group has yet to read, of the topics it has
// committed offsets for and those also named: what is between its offsets, or
// the log's start, and the read_committed ends; transaction markers and aborted
// records not counted. It reads them.
func Unread(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, name string, also ...string) (n int64, err error) {
	err = eachUnread(ctx, opts, adm, name, also, func() bool { n++; return true })
	return n, err
}

// eachUnread calls more for each such record until it answers false.
func eachUnread(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, name string, also []string, more func() bool) error {
	at, err := group.Offsets(ctx, adm, name)
	if err != nil {
		return err
	}
	reads := map[string]bool{}
	for topic := range at {
		reads[topic] = true
	}
	for _, topic := range also {
		reads[topic] = true
	}
	goOn := true
	for topic := range reads {
		span, err := Whole(ctx, adm, topic)
		if err != nil {
			return err
		}
		for p, o := range at[topic] {
			span.From[p] = max(span.From[p], o.At)
		}
		if err := span.Read(ctx, opts, func(*kgo.Record) (bool, error) { goOn = more(); return goOn, nil }); err != nil || !goOn {
			return err
		}
	}
	return nil
}
