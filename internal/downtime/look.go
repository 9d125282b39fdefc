package downtime

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Keeps asks what the settings of topics, and of the brokers, say; of some topics it may
// return both that and an error about others. A broker that does not tell for how long
// offsets stay counts as keeping them.
func Keeps(ctx context.Context, adm *kadm.Client, topics ...string) (map[string]Keep, error) {
	keeps := map[string]Keep{}
	if len(topics) == 0 {
		return keeps, nil
	}
	offsets, err := offsetsKept(ctx, adm)
	if err != nil {
		return nil, err
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("settings of topics: %w", err)
	}
	for _, c := range configs {
		if c.Err != nil {
			err = cmp.Or(err, fmt.Errorf("settings of topic %q: %w", c.Name, c.Err))
			continue
		}
		k := keep(values(c))
		k.Offsets = offsets
		keeps[c.Name] = k
	}
	return keeps, err
}

func values(c kadm.ResourceConfig) map[string]string {
	vs := make(map[string]string, len(c.Configs))
	for _, s := range c.Configs {
		vs[s.Key] = s.MaybeValue()
	}
	return vs
}

// keep is what a topic's settings say, as the brokers list them: all, with their
// defaults.
func keep(settings map[string]string) Keep {
	bytes, err := strconv.ParseInt(settings[retentionBytes], 10, 64)
	if err != nil {
		bytes = -1
	}
	lag := time.Duration(0)
	if v := settings[compactionLag]; v != "" {
		lag = span(v, time.Millisecond)
	}
	return Keep{Delete: strings.Contains(settings[cleanupPolicy], "delete"), Compact: strings.Contains(settings[cleanupPolicy], "compact"),
		Age: span(settings[retentionMs], time.Millisecond), Bytes: bytes, Lag: lag}
}

// offsetsKept is the least that one of the brokers says.
func offsetsKept(ctx context.Context, adm *kadm.Client) (time.Duration, error) {
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking who the brokers are: %w", err)
	}
	configs, err := adm.DescribeBrokerConfigs(ctx, meta.Brokers.NodeIDs()...)
	if err != nil {
		return 0, fmt.Errorf("settings of brokers: %w", err)
	}
	kept := Forever
	for _, c := range configs {
		if v, ok := values(c)[offsetsRetention]; ok {
			kept = min(kept, span(v, time.Minute))
		}
	}
	return kept, nil
}

// window is the time over which a rate is taken.
const window = time.Hour

// Flow is how many bytes a partition has for each of its offsets, and how many come
// in a second.
type Flow struct{ Each, Rate float64 }

// Flows measures the partitions of topics that are not empty, by what brokers hold
// of them and by what has come within the last hour.
func Flows(ctx context.Context, adm *kadm.Client, now time.Time, topics ...string) (map[string]map[int32]Flow, error) {
	flows := map[string]map[int32]Flow{}
	if len(topics) == 0 {
		return flows, nil // kadm would ask for all there are
	}
	var from, since, to kadm.ListedOffsets
	for _, ask := range []struct {
		of   *kadm.ListedOffsets
		list func() (kadm.ListedOffsets, error)
	}{
		{&from, func() (kadm.ListedOffsets, error) { return adm.ListStartOffsets(ctx, topics...) }},
		{&since, func() (kadm.ListedOffsets, error) {
			return adm.ListOffsetsAfterMilli(ctx, now.Add(-window).UnixMilli(), topics...)
		}},
		{&to, func() (kadm.ListedOffsets, error) { return adm.ListEndOffsets(ctx, topics...) }},
	} {
		var err error
		if *ask.of, err = ask.list(); err != nil {
			return nil, fmt.Errorf("offsets of topics: %w", err)
		}
	}
	var wanted kadm.TopicsSet
	to.Each(func(end kadm.ListedOffset) {
		first, ok := from.Lookup(end.Topic, end.Partition)
		n := end.Offset - first.Offset
		if !ok || n <= 0 || end.Err != nil || first.Err != nil {
			return
		}
		if flows[end.Topic] == nil {
			flows[end.Topic] = map[int32]Flow{}
		}
		late, ok := since.Lookup(end.Topic, end.Partition)
		if !ok {
			late = end
		}
		wanted.Add(end.Topic, end.Partition)
		flows[end.Topic][end.Partition] = Flow{1 / float64(n), float64(max(0, end.Offset-late.Offset)) / float64(n) / window.Seconds()} // of one byte
	})
	if len(wanted) == 0 {
		return flows, nil
	}
	sizes, err := sizes(ctx, adm, wanted)
	for t, ps := range flows {
		for p, f := range ps {
			if size, known := sizes[t][p]; known {
				ps[p] = Flow{f.Each * size, f.Rate * size}
			} else {
				delete(ps, p)
			}
		}
	}
	return flows, err
}

// sizes are those of the largest copy of each partition, in bytes.
func sizes(ctx context.Context, adm *kadm.Client, of kadm.TopicsSet) (map[string]map[int32]float64, error) {
	dirs, err := adm.DescribeAllLogDirs(ctx, of)
	if err != nil {
		return nil, fmt.Errorf("sizes of topics: %w", err)
	}
	sizes := map[string]map[int32]float64{}
	dirs.Each(func(dir kadm.DescribedLogDir) {
		dir.Topics.Each(func(d kadm.DescribedLogDirPartition) {
			if sizes[d.Topic] == nil {
				sizes[d.Topic] = map[int32]float64{}
			}
			sizes[d.Topic][d.Partition] = max(sizes[d.Topic][d.Partition], float64(d.Size))
		})
	})
	return sizes, nil
}
