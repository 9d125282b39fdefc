package probe

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/orderlog/orderlog/kgoka"
)

type part struct {
	ready bool
	hangs error
	stats kgoka.Stats
}

func (p part) Ready() bool        { return p.ready }
func (p part) Alive() error       { return p.hangs }
func (p part) Stats() kgoka.Stats { return p.stats }

func (p part) Sizes() []kgoka.TableSize {
	return []kgoka.TableSize{{Topic: "order-table", Partition: 2, Role: kgoka.RoleStandby, Rows: 11, Bytes: 1200}}
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + s.Addr().String() + path)
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

func serve(t *testing.T, parts map[string]Part) *Server {
	t.Helper()
	all := func() map[string]Part { return parts }
	s, err := Serve(nil, "127.0.0.1:0", Handler(Registry(all), all, http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAnswers(t *testing.T) {
	recovering := part{stats: kgoka.Stats{Tables: []kgoka.TableStats{
		{Topic: "order-table", Partition: 2, Role: kgoka.RoleActive, Recovering: true, Offset: 249, End: 1000, Left: 3 * time.Second}}}}
	for _, c := range []struct {
		name        string
		parts       map[string]Part
		live, ready int
		says        string // of /livez or /readyz
	}{
		{"nothing yet", nil, 200, 503, "starting"},
		{"well", map[string]Part{"order": part{ready: true}, "credit": part{ready: true}}, 200, 200, "ok"},
		{"recovering", map[string]Part{"order": recovering, "credit": part{ready: true}}, 200, 503, "order: recovering order-table/2"},
		{"waiting", map[string]Part{"order": part{}}, 200, 503, "order: no partitions yet"},
		{"stuck", map[string]Part{"order": part{ready: true, hangs: errors.New("a batch hangs")}}, 503, 200, "order: a batch hangs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.parts)
			live, a := get(t, s, "/livez")
			ready, b := get(t, s, "/readyz")
			if live != c.live || ready != c.ready || !strings.Contains(a+b, c.says) {
				t.Errorf("/livez %d %q, /readyz %d %q; want %d, %d and %q", live, a, ready, b, c.live, c.ready, c.says)
			}
		})
	}
}

// A connection that has asked nothing, as browsers keep some, is no error of who ends.
func TestCloseBesideAConnection(t *testing.T) {
	var c net.Conn
	t.Cleanup(func() { c.Close() }) // after the server's end
	s := serve(t, nil)
	var err error
	if c, err = net.Dial("tcp", s.Addr().String()); err != nil {
		t.Fatal(err)
	}
	get(t, s, "/livez") // came later: the server has both
}

func TestMetrics(t *testing.T) {
	s := serve(t, map[string]Part{"order": part{stats: kgoka.Stats{In: 7, Commits: 3, Rebalances: 5, Aborts: map[string]int64{"timeout": 2},
		Tables: []kgoka.TableStats{{Topic: "order-table", Partition: 2, Role: kgoka.RoleStandby, Offset: 9, End: 10}}}}})
	code, text := get(t, s, "/metrics")
	for _, line := range []string{
		`orderlog_records_consumed_total{processor="order"} 7`,
		`orderlog_transactions_aborted_total{cause="timeout",processor="order"} 2`,
		`orderlog_table_offset{partition="2",processor="order",role="standby",table="order-table"} 9`,
		`orderlog_commits_total{processor="order"} 3`,
		`orderlog_rebalances_total{processor="order"} 5`,
		`orderlog_table_rows{partition="2",processor="order",role="standby",table="order-table"} 11`,
		`orderlog_table_bytes{partition="2",processor="order",role="standby",table="order-table"} 1200`,
		"go_goroutines ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %s", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if code != 200 || err != nil || len(problems) > 0 {
		t.Errorf("code %d, %v, %v", code, err, problems)
	}
}
