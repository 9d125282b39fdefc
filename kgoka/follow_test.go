package kgoka

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reader is what reads tables, without a group or a view around it.
func (b *bed) reader() *base {
	b.t.Helper()
	r := newBase(b.config("r"), "reader")
	if err := r.start("reader"); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			b.t.Error(err)
		}
	})
	return r
}

// TestTopicMadeAnew: a reader notices that its topic was deleted, and takes no
// table of one that comes back with other partitions.
func TestTopicMadeAnew(t *testing.T) {
	b := newBed(t, "names")
	r, ctx, adm := b.reader(), context.Background(), kadm.NewClient(b.cl)
	ts := must(r.take(ctx, RoleView, "names", numbers(nparts)...))(t)
	if err := ts[0].apply(ts[0].id.topic, kgo.FetchPartition{Err: kerr.UnknownTopicID}); !errors.Is(err, errMoved) {
		t.Errorf("of a deleted topic: %v", err)
	}
	must(adm.DeleteTopic(ctx, "names"))(t)
	until(t, "the topic is made anew", func() bool {
		_, err := adm.CreateTopic(ctx, nparts/2, -1, nil, "names")
		return err == nil
	})
	for _, num := range numbers(nparts) {
		_, err := r.take(ctx, RoleView, "names", num)
		if !errors.As(err, new(*localError)) || !strings.Contains(err.Error(), "another number of partitions") {
			t.Errorf("partition %d: %v", num, err)
		}
	}
}

// TestReadingEnds: what reading fails with is no step that hangs.
func TestReadingEnds(t *testing.T) {
	b := newBed(t, "names")
	b.feed("names", 0, 100, 100)
	r, ctx := b.reader(), t.Context()
	ts := must(r.take(ctx, RoleView, "names", numbers(nparts)...))(t)
	if err := r.aim(ctx, ts, false); err != nil {
		t.Fatal(err)
	}
	for _, tb := range ts {
		tb.id.topic[0]++
	}
	if err := r.catchUp(ctx, ts); !errors.Is(err, errMoved) || r.pulse.step != nil {
		t.Errorf("got %v, at work on %v", err, r.pulse.step != nil)
	}
}
