package graph

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func TestDeadline(t *testing.T) {
	const hour = time.Hour
	silent := "expired: unanswered: inventory line 1 sku_1, unanswered: credit cus_1"
	for _, c := range []struct {
		name     string
		play     func(s *stage)
		state    string
		calendar int
	}{
		{"nobody answers", func(s *stage) { s.pass(hour) }, silent, 0},
		{"not yet", func(s *stage) { s.pass(hour - time.Millisecond) }, "placed: ", 1},
		{"all answer", func(s *stage) { s.grant("ord_1"); s.invoice("ord_1") }, "invoiced: ", 0},
		{"cancelled", func(s *stage) { s.cancel("ord_1") }, "cancelled: cancelled", 0},
		{"it is waiting for something else when it is due", func(s *stage) { s.pass(hour / 2); s.grant("ord_1"); s.pass(hour) }, "approved: ", 1},
		{"and that does not come either", func(s *stage) { s.pass(hour / 2); s.grant("ord_1"); s.pass(hour / 2); s.pass(hour) },
			"expired: unanswered: invoicing", 0},
		{"expiring fails at first", func(s *stage) { s.pass(hour / 2); s.faulty["ord_1"] = 1; s.pass(hour) }, silent, 0},
		{"it fails at first, and another answer comes", func(s *stage) {
			s.pass(hour - time.Minute)
			s.grant("ord_1")
			s.faulty["ord_1"] = 1
			s.pass(2 * time.Minute)
			s.pass(hour)
		}, "approved: ", 1},
		{"pulled forward", func(s *stage) { s.dispatch(s.due()[0]) }, silent, 0},
		{"a person takes it away", func(s *stage) { s.cancelEntry(s.due()[0]); s.pass(10 * hour) }, "placed: ", 0},
		{"and the order waits for something else", func(s *stage) { s.cancelEntry(s.due()[0]); s.grant("ord_1") }, "approved: ", 1},
		{"and that does not come", func(s *stage) { s.cancelEntry(s.due()[0]); s.grant("ord_1"); s.pass(2 * hour) }, "expired: unanswered: invoicing", 0},
		{"and a record comes that changes nothing", func(s *stage) { s.cancelEntry(s.due()[0]); s.place("ord_1") }, "placed: ", 1},
		{"while others are parked", func(s *stage) { s.faulty["ord_1"] = 1; s.grant("ord_1"); s.cancelEntry(s.due()[2]) }, "placed: ", 2},
		{"pulled forward under another key, and done in time", func(s *stage) {
			k := s.due()[0]
			s.calendar["0000000000001.x"] = s.calendar[k]
			delete(s.calendar, k)
			s.grant("ord_1")
			s.invoice("ord_1")
			s.dispatch("0000000000001.x")
		}, "invoiced: ", 0},
	} {
		s := onStage(t, order.New(order.Config{}))
		s.place("ord_1")
		s.parks("order-replies deadline 0")
		c.play(s)
		if got := reasons(s.order("ord_1")); got != c.state || len(s.calendar) != c.calendar {
			t.Errorf("%s: %s, and %d in the calendar\nwant %s, and %d", c.name, got, len(s.calendar), c.state, c.calendar)
		}
		if d := s.dead(); len(d) > 0 {
			t.Errorf("%s: dead letters %+v", c.name, d)
		}
	}
}

// An order of 2014 that is imported today has until in an hour, and expires in 2014.
func TestDeadlineOfAnImportedOrder(t *testing.T) {
	s := onStage(t, order.New(order.Config{}))
	now := s.now
	s.now = time.Date(2014, 3, 1, 0, 0, 0, 0, time.UTC)
	in, _ := topics.Find(topics.OrderCommands)
	placed := s.now.UnixMilli()
	hold := s.handle
	s.handle = func(c kgoka.Context, _ topics.Topic) { s.now = now; hold(c, in) }
	s.place("ord_1")
	s.handle = hold
	s.pass(time.Hour - time.Millisecond)
	if o := s.order("ord_1"); o.State != schemas.Placed || o.PlacedAt != placed {
		t.Fatalf("%+v", o)
	}
	s.pass(time.Millisecond)
	if o := s.order("ord_1"); o.State != schemas.Expired || o.ChangedAt != placed+time.Hour.Milliseconds() {
		t.Errorf("%+v", o)
	}
}

// What a person takes away is an entry of the calendar; a command that says so of
// itself is obeyed like any.
func TestCommandThatSaysItIsCancelled(t *testing.T) {
	s := onStage(t, order.New(order.Config{}))
	hold := s.handle
	s.handle = func(c kgoka.Context, in topics.Topic) {
		s.rec.Headers = append(s.rec.Headers, kgo.RecordHeader{Key: letter.HeaderCancel, Value: []byte("x")})
		hold(c, in)
	}
	s.place("ord_1")
	if o := s.order("ord_1"); o.State != schemas.Placed {
		t.Errorf("%+v", o)
	}
}

// A deadline costs two records, and leaves nothing behind in the note.
func TestDeadlineIsEnteredOnce(t *testing.T) {
	s := onStage(t, order.New(order.Config{}))
	s.place("ord_1")
	s.grant("ord_1")
	s.invoice("ord_1")
	if n := len(s.sent[topics.Retry]); n != 2 {
		t.Errorf("%d records for the calendar, want the entry and its end", n)
	}
	if n, err := parseNote(s.notes["ord_1"]); err != nil || n.deadline != 0 || n.waits() {
		t.Errorf("note %+v, %v of an order that waits for nothing", n, err)
	}
}

// A deadline that is a dead letter, because to expire the order fails, is not lost: a
// person who brings it back has the order expire, or set another one if it waits for
// something else by now.
func TestDeadDeadline(t *testing.T) {
	for _, moved := range []bool{false, true} {
		s := onStage(t, order.New(order.Config{}))
		s.place("ord_1")
		s.parks("order-replies deadline 0")
		s.faulty["ord_1"] = 6
		s.pass(80 * time.Hour)
		s.parks()
		if d := s.dead(); len(d) != 1 || d[0].Topic != topics.OrderReplies || d[0].Cause != "panic" {
			t.Fatalf("dead letters %+v", d)
		}
		want := schemas.Expired
		if moved {
			s.grant("ord_1")
			for k := range s.calendar {
				delete(s.calendar, k) // it is lost, too
			}
			s.notes["ord_1"] = nil
			want = schemas.Approved
		}
		s.redrive(0)
		if o := s.order("ord_1"); o.State != want {
			t.Errorf("moved %t: it is %s", moved, reasons(o))
		}
		if moved {
			s.parks("order-replies deadline 0")
		} else {
			s.parks()
		}
	}
}
