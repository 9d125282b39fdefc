package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

var redriveLetters = flag.Int("redrive.letters", 1000, "dead letters in TestRedrive")

// bug is a rule that panics on placements until it is mended, and counts those that
// it decides on.
type bug struct {
	mu      sync.Mutex
	mended  bool
	decided map[string]int // by order
	at      int            // so many decisions, and
	then    func()         // this is called
}

func (b *bug) beforeDecide(m flow.Message) {
	if m.Type != schemas.OrdersOrderPlace {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mended {
		panic("index out of range [" + strconv.Itoa(len(m.Key)) + "] in " + strconv.Quote(m.Key))
	}
	b.decided[m.Key]++
	if len(b.decided) == b.at {
		b.then()
	}
}

func (b *bug) mend(at int, then func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mended, b.at, b.then = true, at, then
}

// openShopWith is a shop with a bug, whose schedule is over at once.
func openShopWith(t *testing.T, b *bug) (shop, *app.App) {
	t.Helper()
	b.decided = map[string]int{}
	return open(t, app.Config{Partitions: 4, Schedule: retry.Schedule{time.Millisecond}, BeforeDecide: b.beforeDecide})
}

// dead waits for so many dead letters.
func (s shop) dead(a *app.App, n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(a.ClientOpts()...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	span, err := client.Whole(ctx, kadm.NewClient(cl), topics.DeadLetter)
	if err != nil {
		s.t.Fatal(err)
	}
	span.To = nil
	seen := 0
	if err := span.Read(ctx, a.ClientOpts(), func(*kgo.Record) (bool, error) { seen++; return seen < n, nil }); err != nil {
		s.t.Fatalf("%d dead letters: %v", seen, err)
	}
}

func (s shop) command(ctx context.Context, args ...string) (code int, out acted, stderr string) {
	s.t.Helper()
	var stdout bytes.Buffer
	var errs shared
	env := Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &errs, Getenv: func(string) string { return "" }, User: "ann", Now: time.Now, Rand: rand.Reader}
	code = Main(ctx, append(args, "-o", "json", "--brokers", s.at.Brokers[0], "--registry", s.at.Registry), env)
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		s.t.Fatalf("%v: %v\n%s%s", args, err, &stdout, &errs)
	}
	return code, out, errs.String()
}

// TestRedrive: the dead letters of a rule that panicked go back once it is mended,
// canaries first. Interrupted in the middle and run again, each goes once.
func TestRedrive(t *testing.T) {
	n := *redriveLetters
	b := new(bug)
	s, a := openShopWith(t, b)
	s.run("", "produce", "--orders", strconv.Itoa(n), "--seed", "5")
	s.dead(a, n)

	// Not mended yet: the canaries come back, and the others stay.
	redrive := []string{"dlq", "redrive", "--group", "order", "--error", `index out of range [N] in "…"`, "--canary", "5", "--yes"}
	code, out, stderr := s.command(t.Context(), redrive...)
	if code != exitFailed || out.Selected != n || out.Done != 5 || out.Canaries != 5 || len(out.CameBack) != 5 || !strings.Contains(stderr, "a canary came back") {
		t.Fatalf("exit code %d, %d of %d redriven, %d canaries, %d came back: %s", code, out.Done, out.Selected, out.Canaries, len(out.CameBack), stderr)
	}
	for _, c := range out.CameBack {
		if c.As == "" || c.As == c.ID || c.Cause != "panic" {
			t.Errorf("came back: %+v", c)
		}
	}
	var sums []sum
	s.read(&sums, "dlq", "groups")
	if len(sums) != 1 || sums[0].Count != n {
		t.Errorf("open: %+v", sums)
	}

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	b.mend(n/10+5, interrupt)
	began := time.Now()
	code, first, stderr := s.command(ctx, append(redrive, "--rate", strconv.Itoa(n/2))...)
	if code != exitFailed || first.Done <= 5 || first.Done >= n || len(first.CameBack) > 0 || !strings.Contains(stderr, "interrupted") {
		t.Fatalf("exit code %d, %d of %d redriven, %d came back: %s", code, first.Done, n, len(first.CameBack), stderr)
	}
	t.Logf("interrupted after %d of %d and %v", first.Done, n, time.Since(began))
	began = time.Now()
	code, second, stderr := s.command(t.Context(), redrive...)
	if code != exitDone || second.Selected != n-first.Done || second.Done != second.Selected || second.Handled != second.Done {
		t.Fatalf("exit code %d, %d of %d redriven, %d handled: %s", code, second.Done, second.Selected, second.Handled, stderr)
	}
	t.Logf("the other %d took %v", second.Done, time.Since(began))

	b.mu.Lock()
	if len(b.decided) != n {
		t.Errorf("%d orders were decided on, of %d", len(b.decided), n)
	}
	for id, times := range b.decided {
		if times != 1 {
			t.Errorf("%s was decided on %d times", id, times)
		}
	}
	b.mu.Unlock()
	went := map[string]int{}
	eachRecord(t, a, topics.OrderLoop, func(r *kgo.Record) {
		if l := letter.Parse(r); l.Redriven != "" {
			went[l.Redriven]++
		}
	})
	if len(went) != n+5 { // the first canaries went twice, as two letters
		t.Errorf("%d letters went back, want %d", len(went), n+5)
	}
	for id, times := range went {
		if times != 1 {
			t.Errorf("letter %s went back %d times", id, times)
		}
	}
	audited := 0
	eachRecord(t, a, topics.Audit, func(*kgo.Record) { audited++ })
	if audited != n+5 {
		t.Errorf("%d on the audit, want %d", audited, n+5)
	}
	var open []failed
	s.read(&open, "dlq", "list")
	if len(open) > 0 {
		t.Errorf("open are %d, such as %+v", len(open), open[0])
	}
	s.run("", "verify")
	var orders []schemas.Order
	s.read(&orders, "order", "list", "--limit", "0")
	if len(orders) != n {
		t.Errorf("%d orders, want %d", len(orders), n)
	}
}

func eachRecord(t *testing.T, a *app.App, topic string, do func(*kgo.Record)) {
	t.Helper()
	err := content.EachRecord(t.Context(), a.ClientOpts(), topic, func(r *kgo.Record) error { do(r); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// TestRetriesAndEdits: what persons say is obeyed by the calendar and the groups.
func TestRetriesAndEdits(t *testing.T) {
	b := new(bug)
	b.decided = map[string]int{}
	s, a := open(t, app.Config{Partitions: 2, BeforeDecide: b.beforeDecide})
	s.run("", "produce", "--orders", "8", "--seed", "5")
	var shown calendarShown
	for len(shown.Entries) < 8 {
		s.read(&shown, "retries", "list")
	}
	b.mend(0, nil)
	key := func(i int) string { return shown.Entries[i].Key }
	s.run("", "retries", "pull-forward", shown.Entries[0].ID)
	s.run("", "retries", "pull-forward", "--key", key(1))
	s.run("", "retries", "cancel", "--key", key(2), "--reason", "a test")
	s.dead(a, 1)
	var orders []schemas.Order
	for len(orders) < 2 {
		s.read(&orders, "order", "list")
	}
	for _, o := range orders {
		if o.OrderID != key(0) && o.OrderID != key(1) {
			t.Errorf("order %s is there", o.OrderID)
		}
	}

	// What was cancelled is given another customer, and comes to be after all.
	var letters []failed
	s.read(&letters, "dlq", "list")
	if len(letters) != 1 || letters[0].Cause != "cancelled" || letters[0].Error != "a test" || letters[0].Key != key(2) {
		t.Fatalf("dead letters %+v", letters)
	}
	body := fmt.Sprintf(`{"order_id":%q,"customer_id":"cus_edited","currency":"EUR","lines":[{"sku":"sku_1","quantity":1}]}`, key(2))
	s.run(body, "dlq", "edit", letters[0].ID, "--file", "-")
	var o schemas.Order
	s.read(&o, "order", "get", key(2))
	if o.CustomerID != "cus_edited" {
		t.Errorf("order %+v", o)
	}

	// A pause holds what is overdue, until it is lifted.
	s.run("", "retries", "pause", "--group", "order")
	s.run("", "retries", "pull-forward", "--all", "--yes") // the calendar obeys in this order
	var next next
	for next.Overdue < 5 {
		s.read(&next, "retries", "next")
	}
	s.run("", "retries", "resume", "--group", "order")
	for next.Next != nil {
		s.read(&next, "retries", "next")
	}
	s.run("", "verify")
	s.read(&orders, "order", "list")
	if len(orders) != 8 {
		t.Errorf("%d orders, want 8", len(orders))
	}
	var actions []string
	for line := range strings.Lines(s.run("", "audit", "list", "-o", "json")) {
		var d did
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		actions = append(actions, d.What)
	}
	if got := strings.Join(actions, " "); got != "retries.pull-forward retries.pull-forward retries.cancel dlq.edit retries.pause "+strings.Repeat("retries.pull-forward ", 5)+"retries.resume" {
		t.Errorf("audit: %s", got)
	}
}
