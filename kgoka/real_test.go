package kgoka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/orderlog/orderlog/test/kafka"
)

// apache is the Apache Kafka that all beds of this process share where one is
// wanted; nil has each make its own kfake.
var apache *kafka.Cluster

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if kafka.Wanted() {
		var err error
		apache, err = kafka.Start(context.Background(), kafka.Options{})
		if errors.Is(err, kafka.ErrUnavailable) {
			fmt.Println("skipped:", err)
			return 0
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer apache.Close()
	}
	return m.Run()
}

func (b *bed) brokers() []string {
	if b.c == nil {
		return apache.Brokers()
	}
	return b.c.ListenAddrs()
}

// fake is the broker as one that can be told to fail; a real one cannot.
func (b *bed) fake(t testing.TB) *kfake.Cluster {
	t.Helper()
	if b.c == nil {
		t.Skip("steers kfake, and this is Apache Kafka")
	}
	return b.c
}

// parallel runs a test beside others where it has a broker of its own.
func parallel(t *testing.T) {
	if apache == nil {
		t.Parallel()
	}
}

// clean leaves of the tests before no group, and of these topics and the loops
// of groups nothing but empty topics.
func (b *bed) clean(topics ...string) {
	b.t.Helper()
	ctx := b.t.Context()
	adm := kadm.NewClient(b.cl)
	groups := []string{"a", "b"}
	until(b.t, "groups of the test before are gone", func() bool {
		for _, r := range must(adm.DeleteGroups(ctx, groups...))(b.t) {
			if r.Err != nil && !errors.Is(r.Err, kerr.GroupIDNotFound) {
				return false // members that were killed are still in it
			}
		}
		return true
	})
	left := append([]string{"a-loop", "b-loop", "a-table", "b-table"}, topics...)
	slices.Sort(left)
	b.remove(slices.Compact(left)...)
	b.create(nparts, topics...)
}

// create makes topics, which may be about to go, and waits until they can be written:
// a real broker answers before its partitions have leaders.
func (b *bed) create(partitions int32, topics ...string) {
	b.t.Helper()
	ctx, adm := b.t.Context(), kadm.NewClient(b.cl)
	left := topics
	until(b.t, fmt.Sprintf("topics %v are made", topics), func() bool {
		rs := must(adm.CreateTopics(ctx, partitions, -1, nil, left...))(b.t)
		left = slices.DeleteFunc(slices.Clone(left), func(topic string) bool { return rs[topic].Err == nil })
		return len(left) == 0
	})
	until(b.t, "all partitions have leaders", func() bool {
		ends, err := adm.ListEndOffsets(ctx, topics...)
		return err == nil && ends.Error() == nil
	})
	b.cl.PurgeTopicsFromClient(topics...)
}

// remove deletes topics, those that are there.
func (b *bed) remove(topics ...string) {
	b.t.Helper()
	adm := kadm.NewClient(b.cl)
	until(b.t, "topics of the test before are gone", func() bool {
		for _, r := range must(adm.DeleteTopics(b.t.Context(), topics...))(b.t) {
			if !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
				return false
			}
		}
		return true
	})
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// members counts those of a group.
func (b *bed) members(group string) int {
	b.t.Helper()
	groups, err := kadm.NewClient(b.cl).DescribeGroups(b.t.Context(), group)
	if err != nil {
		b.t.Fatal(err)
	}
	return len(groups[group].Members)
}
