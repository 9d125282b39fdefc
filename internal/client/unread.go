package client

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Unread counts the records that a group has yet to read, of the topics it has
// committed offsets for: what is between its offsets and the read_committed
// ends, transaction markers and aborted records not counted. It reads them.
func Unread(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, group string) (n int64, err error) {
	at, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return 0, fmt.Errorf("offsets of group %q: %w", group, err)
	}
	for topic, partitions := range at {
		ends, err := Ends(ctx, adm, topic)
		if err != nil {
			return 0, err
		}
		span := Span{Topic: topic, From: map[int32]int64{}, To: ends}
		for p, o := range partitions {
			span.From[p] = o.At
		}
		if err := span.Read(ctx, opts, func(*kgo.Record) (bool, error) { n++; return true, nil }); err != nil {
			return 0, err
		}
	}
	return n, nil
}
