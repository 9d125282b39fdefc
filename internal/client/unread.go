package client

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/group"
)

// Committed returns the offsets that a group has committed, by topic and partition:
// none where nobody ever ran it.
func Committed(ctx context.Context, adm *kadm.Client, name string) (map[string]map[int32]int64, error) {
	rs, err := group.Offsets(ctx, adm, name)
	if err != nil {
		return nil, err
	}
	at := map[string]map[int32]int64{}
	for topic, ps := range rs {
		at[topic] = map[int32]int64{}
		for p, o := range ps {
			at[topic][p] = o.At
		}
	}
	return at, nil
}

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
	at, err := Committed(ctx, adm, name)
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
		for p, offset := range at[topic] {
			span.From[p] = max(span.From[p], offset)
		}
		if err := span.Read(ctx, opts, func(*kgo.Record) (bool, error) { goOn = more(); return goOn, nil }); err != nil || !goOn {
			return err
		}
	}
	return nil
}
