package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/figure"
	"github.com/orderlog/orderlog/internal/lag"
)

// A round with every kind of figure in it.
func someRound() *lag.Round {
	nan, inf := figure.Unknown(), figure.Never()
	return &lag.Round{
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Groups: []lag.Group{{Group: "a", State: "Stable", Members: 2}, {Group: "b", State: "Empty", CatchUp: inf}, {Group: "c", State: "Stable", Members: 1, CatchUp: nan},
			{Group: "idle", State: "Empty"}},
		Topics: []lag.Topic{
			{Group: "a", Topic: "x", Partitions: 4, In: 1.25, Out: 120},
			{Group: "b", Topic: "x", Partitions: 4, Lag: 1100, Records: 1000, Estimated: true, Seconds: 7200, In: 0, Out: 0, CatchUp: inf, Safe: &lag.Safe{Left: 3 * 86400, Loses: "offsets"}},
			{Group: "c", Topic: "y", Partitions: 1, Lag: 2, Records: 1, Seconds: 0.25, In: nan, Out: nan, CatchUp: nan},
		},
	}
}

func TestLagTables(t *testing.T) {
	s := &session{}
	var out strings.Builder
	if err := s.lagView(&out, someRound(), false); err != nil {
		t.Fatal(err)
	}
	want := `03:04:05  4 groups, 1,001 records to come

GROUP  STATE   MEMBERS  TOPIC  PARTITIONS    LAG  RECORDS                SECONDS  IN/s  OUT/s  CATCH-UP  SAFE
b      Empty         0  x               4  1,100   ~1,000  ████████████       2h     0      0     never  3d (offsets)
c      Stable        1  y               1      2        1  ▏               250ms     –      –         –
a      Stable        2  x               4      0        0                     0s   1.2    120        0s
idle   Empty         0
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}

func TestFailAbove(t *testing.T) {
	unknown := someRound()
	unknown.Topics[2].Seconds = figure.Unknown()
	blind := &lag.Round{Faults: []error{io.EOF}}
	for _, c := range []struct {
		name  string
		round *lag.Round
		limit time.Duration
		want  string
	}{
		{"no limit", someRound(), 0, ""},
		{"below", someRound(), 3 * time.Hour, ""},
		{"above", someRound(), time.Hour, "group b is 2h behind on x"},
		{"not known", unknown, 3 * time.Hour, "how far group c is behind on y cannot be told"},
		{"nothing known", blind, time.Hour, "how far some groups are behind cannot be told"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := above(c.round, c.limit); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// --serve tells of foreign groups, but for those that are denied, and of nothing else.
func TestLagServe(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Timestamp: time.Now().Add(-time.Hour)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, group := range []string{"theirs", "console-consumer-1"} {
		at := kadm.Offsets{}
		at.AddOffset("in", 0, 0, -1)
		if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), group, at); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan int)
	go func() {
		env := Env{Stdout: w, Stderr: io.Discard, Getenv: func(string) string { return "" }, Now: time.Now}
		ended <- Main(ctx, []string{"lag", "--serve", "127.0.0.1:0", "--every", "20ms", "--deny", "console-.*", "--brokers", strings.Join(c.ListenAddrs(), ",")}, env)
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var url string
	if _, err := fmt.Sscanf(line, "lags at %s", &url); err != nil {
		t.Fatal(err, line)
	}
	url = strings.TrimSuffix(url, ";")
	get := func(url string) (int, string) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for code := 0; code != http.StatusOK; code, _ = get(strings.Replace(url, "/metrics", "/readyz", 1)) {
		if ctx.Err() != nil {
			t.Fatal("it is never ready")
		}
		time.Sleep(5 * time.Millisecond)
	}
	_, text := get(url)
	if !strings.Contains(text, `kafka_consumergroup_lag_records{consumergroup="theirs",partition="0",topic="in"} 1`) || !strings.Contains(text, "go_goroutines") {
		t.Errorf("lags of others are missing:\n%s", text)
	}
	if strings.Contains(text, "console") || strings.Contains(text, "orderlog_records") {
		t.Errorf("too much:\n%s", text)
	}
	cancel()
	if code := <-ended; code != exitDone {
		t.Errorf("exit code %d", code)
	}
}
