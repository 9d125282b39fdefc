package ledger

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

// Another instance takes over what is being sent: it sends it again and says so,
// and what comes of the first one's try, when it comes, changes nothing.
func TestTakenOverWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.calendar()
		w.cfg.Mail.Concurrency, w.cfg.Mail.Timeout, w.cfg.Webhooks = 100, 10*time.Minute, nil
		w.answer = func(_ string, n int) int {
			if n > 1 {
				return 0
			}
			time.Sleep(5 * time.Minute)
			return 550
		}
		w.mails()
		w.start("1", "").ready(t)
		w.ask(60)
		time.Sleep(time.Second)
		w.start("2", "").ready(t)
		w.until("all have ended", 10*time.Minute, w.ended)
		over := 0
		for id, row := range w.rows() {
			switch {
			case row.Unsure == 0 && row.State == schemas.Failed && row.Tries == 1 && row.Code == 550 && w.times(id) == 0:
			case row.Unsure == 1 && row.State == schemas.Sent && row.Tries == 2 && row.Code == 250 && w.times(id) == 1:
				over++
			default:
				t.Errorf("taken %d times: %+v", w.times(id), row)
			}
		}
		if n := len(w.letters()); over == 0 || n != 60-over {
			t.Errorf("%d of 60 were taken over, %d dead letters", over, n)
		}
	})
}

// An instance gets back what another one has taken over and tried, and died at:
// what comes of its own first try is of no meaning any more. Until the two have found
// each other, it may change hands once more: each time is one unsure try.
func TestTakenOverAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.calendar()
		w.cfg.Mail.Concurrency, w.cfg.Mail.Timeout, w.cfg.Webhooks = 100, time.Hour, nil
		w.answer = func(_ string, n int) int {
			time.Sleep(20 * time.Minute)
			if n == 1 {
				return 550
			}
			return 0
		}
		w.mails()
		w.start("1", "").ready(t)
		w.ask(60)
		time.Sleep(time.Second)
		other := w.start("2", "").ready(t)
		time.Sleep(time.Minute)
		other.wire.Cut()
		w.until("all have ended", 2*time.Hour, w.ended)
		back := 0
		for id, row := range w.rows() {
			switch {
			case row.Unsure == 0 && row.State == schemas.Failed && row.Tries == 1 && w.times(id) == 0:
			case row.Unsure >= 2 && row.State == schemas.Sent && row.Tries == row.Unsure+1 && int64(w.times(id)) <= int64(row.Unsure):
				back++
			default:
				t.Errorf("taken %d times: %+v", w.times(id), row)
			}
		}
		if n := len(w.letters()); back == 0 || n != 60-back {
			t.Errorf("%d of 60 came back, %d dead letters", back, n)
		}
	})
}

// A step that was aborted, and whose row has gone to another instance since, has changed
// nothing here.
func TestStepOfARowTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.start("1", "").ready(t)
		st := &step{key: "eff_1", was: entered(schemas.Effect{EffectID: "eff_1"}, 0, 0, 0)}
		must(t, i.writer.write(t.Context(), i.Processor, st))
		if st.was.fate != stays {
			t.Errorf("%+v", st.was)
		}
	})
}

// Who shall end begins nothing more, and finishes what is being sent; what takes too
// long is left unsure, and sent again.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(_ string, n int) int {
			if n == 1 {
				time.Sleep(drain / 2)
			}
			return 0
		}
		w.mails()
		w.hooks()
		w.set(func() { w.hangs = true })
		i := w.start("1", "").ready(t)
		w.ask(20)
		time.Sleep(time.Second)
		began := time.Now()
		i.end(t)
		if took := time.Since(began); took < drain || took > drain+afterword+time.Second {
			t.Errorf("it took %v", took)
		}
		states := map[string]int{}
		for _, row := range w.rows() {
			states[row.Kind+" "+row.State]++
		}
		if want := map[string]int{"email sent": 4, "email pending": 16, "webhook sending": 4, "webhook pending": 16}; !maps.Equal(states, want) {
			t.Errorf("%v, want %v", states, want)
		}
		w.set(func() { w.hangs = false })
		w.start("1", "").ready(t)
		w.until("all are sent", 10*time.Minute, w.ended)
		unsure := 0
		for id, row := range w.rows() {
			unsure += int(row.Unsure)
			if row.State != schemas.Sent || w.times(id) != 1 || row.Kind == schemas.KindEmail && row.Unsure > 0 {
				t.Errorf("taken %d times: %+v", w.times(id), row)
			}
		}
		if unsure != 4 {
			t.Errorf("%d are unsure, want the four that were hung up on", unsure)
		}
	})
}
