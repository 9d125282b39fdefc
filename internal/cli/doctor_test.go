package cli

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/figure"
	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/topics"
)

func TestCopies(t *testing.T) {
	three, two, one, none := []int32{1, 2, 3}, []int32{1, 2}, []int32{1}, []int32{}
	tests := []struct {
		name     string
		topic    string
		leader   int32
		replicas []int32
		inSync   []int32
		settings string
		want     string // the findings' levels and texts
	}{
		{"all in sync", "t", 1, three, three, "min.insync.replicas=2", ""},
		{"one behind", "t", 1, three, two, "min.insync.replicas=2", "warn copies missing or behind: t/0"},
		{"too few in sync", "t", 1, three, one, "min.insync.replicas=2", "fail fewer copies in sync than min.insync.replicas, writes are refused: t/0"},
		{"no leader", "t", -1, three, none, "min.insync.replicas=2", "fail without a leader, neither read nor written: t/0"},
		{"one copy", "t", 1, one, one, "min.insync.replicas=1", "warn fewer than 3 replicas: t (1)"},
		{"one copy, and two must have it", "t", 1, one, one, "min.insync.replicas=2",
			"fail fewer replicas than min.insync.replicas, every write is refused: t; warn fewer than 3 replicas: t (1)"},
		{"settings unknown", "t", 1, three, two, "", "warn copies missing or behind: t/0"},
		{"unclean", "t", 1, three, three, "min.insync.replicas=2 unclean.leader.election.enable=true",
			"warn a copy that is behind may become leader, which loses records: t"},
		{"not unclean", "t", 1, three, three, "min.insync.replicas=2 unclean.leader.election.enable=false", ""},
		{"Kafka's own", "__transaction_state", 1, three, three, "min.insync.replicas=2", ""},
		{"Kafka's own, unsafe", "__transaction_state", 1, three, three, "min.insync.replicas=1", "warn min.insync.replicas is below 2: __transaction_state"},
		{"Kafka's own, one copy", "__consumer_offsets", 1, one, one, "min.insync.replicas=1", "warn fewer than 3 replicas: __consumer_offsets (1)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var settings kadm.ResourceConfig
			for _, pair := range strings.Fields(tt.settings) {
				key, value, _ := strings.Cut(pair, "=")
				settings.Configs = append(settings.Configs, kadm.Config{Key: key, Value: &value})
			}
			var c copies
			c.look(kadm.TopicDetail{Topic: tt.topic, Partitions: kadm.PartitionDetails{
				0: {Topic: tt.topic, Leader: tt.leader, Replicas: tt.replicas, ISR: tt.inSync}}}, settings, 3)
			var f findings
			c.tell(&f, 3)
			var got []string
			for _, x := range f {
				got = append(got, x.Level+" "+x.What)
				if x.Hint == "" {
					t.Errorf("%q without a way out", x.What)
				}
			}
			if strings.Join(got, "; ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSome(t *testing.T) {
	for n, want := range map[int]string{0: "", 1: "a", 4: "a, b, c, d", 5: "a, b, c and 2 more"} {
		if got := some([]string{"a", "b", "c", "d", "e"}[:n]); got != want {
			t.Errorf("of %d: %q, want %q", n, got, want)
		}
	}
}

// doctorOn runs doctor on a cluster of three that has topics and no processors.
func doctorOn(t *testing.T, cluster *kfake.Cluster) (code int, out string) {
	t.Helper()
	registry := srfake.New()
	t.Cleanup(registry.Close)
	at := []string{"--brokers", strings.Join(cluster.ListenAddrs(), ","), "--registry", registry.URL()}
	if code, _, errs := run(t, Env{}, slices.Concat([]string{"topics", "apply", "--partitions", "2"}, at)...); code != exitDone {
		t.Fatal(errs)
	}
	code, out, _ = run(t, Env{}, slices.Concat([]string{"doctor"}, at)...)
	return code, out
}

func newCluster(t *testing.T, settings map[string]string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.BrokerConfigs(settings))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestDoctorOnThreeBrokers(t *testing.T) {
	tests := []struct {
		name     string
		settings map[string]string
		fenced   bool
		code     int
		want     []string
	}{
		{"as it should be", nil, false, exitDone, []string{
			"ok    3 of 3 brokers answer", "ok    the brokers allow the timeouts", fmt.Sprintf("ok    every partition of %d topics has all its copies in sync", len(topics.All())),
			fmt.Sprintf("ok    %d topics are as the catalogue says, with 2 partitions each", len(topics.All()))}},
		{"one is down", nil, true, exitDone, []string{"ok    3 of 4 brokers answer", "warn  down: broker 9\n"}},
		{"sessions too long", map[string]string{"group.min.session.timeout.ms": "6001"}, false, exitFailed, []string{
			"FAIL  broker 0, 1, 2: group.min.session.timeout.ms=6001, orderlog asks for 6000\n", "hint: set it to 6000 or less"}},
		{"sessions too short", map[string]string{"group.max.session.timeout.ms": "5999"}, false, exitFailed, []string{
			"FAIL  broker 0, 1, 2: group.max.session.timeout.ms=5999, orderlog asks for 6000\n", "hint: set it to 6000 or more"}},
		{"transactions too short", map[string]string{"transaction.max.timeout.ms": "5999"}, false, exitFailed, []string{
			"FAIL  broker 0, 1, 2: transaction.max.timeout.ms=5999, orderlog asks for 6000\n", "hint: set it to 6000 or more"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cluster := newCluster(t, tt.settings)
			if tt.fenced {
				fence(cluster, 9)
			}
			code, out := doctorOn(t, cluster)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in:\n%s", want, out)
				}
			}
		})
	}
}

// Who may not be down for as long as it should, or of whom nobody knows.
func TestExamineDowntime(t *testing.T) {
	on := func(partition int32, left figure.Figure) lag.Partition {
		return lag.Partition{Group: "g", Topic: "t", Partition: partition, Safe: &lag.Safe{Left: left, Whole: 604800, Loses: "records", Setting: "retention.ms"}}
	}
	for _, c := range []struct {
		name  string
		parts []lag.Partition
		want  string
	}{
		{"for ever", []lag.Partition{{Group: "g", Topic: "t"}}, "ok groups may stay down for any time"},
		{"long enough", []lag.Partition{on(0, 604800), on(1, 172800)}, "ok groups may stay down for 2d before"},
		{"short", []lag.Partition{on(0, 604800), on(1, 7200)}, "warn group g may stay down for 2h only, on t"},
		{"not known", []lag.Partition{on(0, 604800), on(1, figure.Unknown())}, "warn how long group g may stay down is not known, on t"},
		{"too late already, beside one that is not known", []lag.Partition{on(0, 0), on(1, figure.Unknown())}, "warn group g may stay down for 0s only, on t"},
		{"not known, told first", []lag.Partition{on(0, figure.Unknown()), on(1, 604800)}, "warn how long group g may stay down is not known, on t"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f findings
			examineDowntime(&f, &lag.Round{Partitions: c.parts}, 24*time.Hour)
			if len(f) != 1 || !strings.HasPrefix(f[0].Level+" "+f[0].What, c.want) {
				t.Errorf("%+v, want %s", f, c.want)
			}
		})
	}
}

// fence has the cluster tell of one more broker, which is down.
func fence(c *kfake.Cluster, id int32) {
	addrs := c.ListenAddrs()
	c.ControlKey(int16(kmsg.DescribeCluster), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
		for i, addr := range append(addrs, "127.0.0.1:1") {
			b := kmsg.NewDescribeClusterResponseBroker()
			host, port, _ := net.SplitHostPort(addr)
			n, err := strconv.Atoi(port)
			if err != nil {
				panic(fmt.Sprintf("address %q: %v", addr, err))
			}
			b.NodeID, b.Host, b.Port, b.IsFenced = int32(i), host, int32(n), i == len(addrs)
			if b.IsFenced {
				b.NodeID = id
			}
			resp.Brokers = append(resp.Brokers, b)
		}
		return resp, nil, true
	})
}
