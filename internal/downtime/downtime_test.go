package downtime

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

func TestLimits(t *testing.T) {
	orders := Keep{Delete: true, Age: 7 * day, Bytes: -1, Offsets: 7 * day}
	history := Keep{Compact: true, Age: 7 * day, Bytes: -1, Lag: 7 * day, Offsets: Forever}
	sized := Keep{Delete: true, Age: 7 * day, Bytes: 3600_000, Offsets: Forever}
	with := func(k Keep, change func(*Keep)) Keep { change(&k); return k }
	for _, c := range []struct {
		name string
		keep Keep
		at   Place
		want string // "loses setting left/whole", the first one first
	}{
		{"at the end", orders, Place{}, "records retention.ms 168h0m0s/168h0m0s, offsets offsets.retention.minutes 168h0m0s/168h0m0s"},
		{"behind, and it runs", orders, Place{Behind: 2 * day}, "records retention.ms 120h0m0s/168h0m0s, offsets offsets.retention.minutes 168h0m0s/168h0m0s"},
		{"behind, and down", orders, Place{Behind: 2 * day, Down: true}, "records retention.ms 120h0m0s/168h0m0s, offsets offsets.retention.minutes 120h0m0s/168h0m0s"},
		{"down, nothing came since", orders, Place{Down: true}, "records retention.ms 168h0m0s/168h0m0s, offsets offsets.retention.minutes 168h0m0s/168h0m0s"},
		{"behind for longer than is kept", orders, Place{Behind: 8 * day}, "records retention.ms 0s/168h0m0s, offsets offsets.retention.minutes 168h0m0s/168h0m0s"},
		{"lost already, whatever is left is young", orders, Place{Behind: hour, Lost: true}, "records retention.ms 0s/168h0m0s, offsets offsets.retention.minutes 168h0m0s/168h0m0s"},
		{"of a time to come", orders, Place{Behind: -hour}, "records retention.ms 168h0m0s/168h0m0s, offsets offsets.retention.minutes 168h0m0s/168h0m0s"},
		{"kept for good", with(orders, func(k *Keep) { k.Age, k.Offsets = Forever, Forever }), Place{Behind: 900 * day, Down: true}, ""},
		{"kept for good, and deleted by hand", with(orders, func(k *Keep) { k.Age, k.Offsets = Forever, Forever }), Place{Lost: true}, "records retention.ms 0s/forever"},
		{"records for good, offsets not", with(orders, func(k *Keep) { k.Age = Forever }), Place{Behind: day, Down: true}, "offsets offsets.retention.minutes 144h0m0s/168h0m0s"},
		{"never ran", orders, Place{Behind: 2 * day, Down: true, New: true}, "records retention.ms 120h0m0s/168h0m0s"},
		{"offsets go first", with(orders, func(k *Keep) { k.Offsets = day }), Place{}, "offsets offsets.retention.minutes 24h0m0s/24h0m0s, records retention.ms 168h0m0s/168h0m0s"},
		{"compacted", history, Place{}, "history min.compaction.lag.ms 168h0m0s/168h0m0s"},
		{"compacted, behind", history, Place{Behind: day}, "history min.compaction.lag.ms 144h0m0s/168h0m0s"},
		{"compacted at once", with(history, func(k *Keep) { k.Lag = 0 }), Place{}, "history min.compaction.lag.ms 0s/0s"},
		{"compacted and deleted", with(history, func(k *Keep) { k.Delete = true }), Place{Behind: day},
			"records retention.ms 144h0m0s/168h0m0s, history min.compaction.lag.ms 144h0m0s/168h0m0s"},
		{"by size, 100 bytes a second", sized, Place{Rate: 100}, "records retention.bytes 10h0m0s/10h0m0s, records retention.ms 168h0m0s/168h0m0s"},
		{"by size, half unread", sized, Place{Rate: 100, Unread: 1800_000, Behind: 5 * hour}, "records retention.bytes 5h0m0s/10h0m0s, records retention.ms 163h0m0s/168h0m0s"},
		{"by size, more unread than is kept", sized, Place{Rate: 100, Unread: 4000_000}, "records retention.bytes 0s/10h0m0s, records retention.ms 168h0m0s/168h0m0s"},
		{"by size, nothing comes", sized, Place{}, "records retention.ms 168h0m0s/168h0m0s"},
		{"by size, next to nothing comes", sized, Place{Rate: 1e-9}, "records retention.ms 168h0m0s/168h0m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, l := range c.keep.Limits(c.at) {
				whole := l.Whole.String()
				if l.Whole == Forever {
					whole = "forever"
				}
				got = append(got, fmt.Sprintf("%s %s %v/%s", l.Loses, l.Setting, l.Left, whole))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

func TestSpan(t *testing.T) {
	for value, want := range map[string]time.Duration{"0": 0, "60000": time.Minute, "-1": Forever, "9223372036854775807": Forever, "": Forever, "x": Forever} {
		if got := span(value, time.Millisecond); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// What a cluster says, asked as it is.
func TestLook(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.BrokerConfigs(map[string]string{"offsets.retention.minutes": "120"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for topic, settings := range map[string]map[string]*string{
		"kept":    {"retention.ms": kadm.StringPtr("-1")},
		"sized":   {"retention.ms": kadm.StringPtr("3600000"), "retention.bytes": kadm.StringPtr("5000")},
		"compact": {"cleanup.policy": kadm.StringPtr("compact"), "min.compaction.lag.ms": kadm.StringPtr("60000")},
	} {
		if _, err := adm.CreateTopic(t.Context(), 1, 1, settings, topic); err != nil {
			t.Fatal(err)
		}
	}
	keeps, err := Keeps(t.Context(), adm, "kept", "sized", "compact")
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]Keep{
		"kept":    {Delete: true, Age: Forever, Bytes: -1, Offsets: 2 * hour},
		"sized":   {Delete: true, Age: hour, Bytes: 5000, Offsets: 2 * hour},
		"compact": {Compact: true, Age: 7 * day, Bytes: -1, Lag: time.Minute, Offsets: 2 * hour},
	} {
		if got := keeps[topic]; got != want {
			t.Errorf("%s: %+v, want %+v", topic, got, want)
		}
	}

	// Ten records of 2 hours ago, and ten of now.
	now := time.Now()
	for i := range 20 {
		at := now.Add(-2 * hour)
		if i >= 10 {
			at = now
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "sized", Value: make([]byte, 1000), Timestamp: at}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	flows, err := Flows(t.Context(), adm, now, "sized", "kept")
	if err != nil {
		t.Fatal(err)
	}
	f := flows["sized"][0]
	if f.Each < 1000 || f.Each > 1200 || math.Abs(f.Rate-f.Each*10/3600) > 1e-9 {
		t.Errorf("%+v, want some more than 1000 bytes for each of 10 offsets in an hour", f)
	}
	if f, ok := flows["kept"][0]; ok {
		t.Errorf("%+v of a log that is empty", f)
	}
}
