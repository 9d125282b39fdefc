package crash

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// What a mail server and a webhook's receiver put off is parked, comes back and is
// sent, and the process is killed over and over meanwhile: each entry of the calendar
// is dispatched once, and each effect taken once, or once more for a try whose end
// nobody could write down, always the same.
func TestKillEffects(t *testing.T) {
	const rate, width = 40, 4
	rng := rand.New(rand.NewPCG(*seed, 1))
	t.Logf("crash.seed=%d", *seed)
	out := listen(t)
	exe, orders := build(t), rate*(1+*kills)
	p := up(t, exe, t.TempDir(), "--effects", out.config(t, width), "--retry-schedule", "effects="+strings.Repeat("1s,", retry.MaxAttempts-1)+"1s")
	defer func() { p.kill() }()
	produced := produce(t, exe, p.at, orders, rate)
	var killed []moment
	for range *kills {
		born := time.Now()
		time.Sleep(time.Duration(50+rng.IntN(3000)) * time.Millisecond)
		killed = append(killed, out.at(born))
		p = p.again(t)
	}
	must(t, <-produced)
	rows := sent(t, p.at)
	drained(t, p.at)
	out.check(t, rows, *kills*2*width)
	Settle(t, p.at, orders)
	fell(t, killed, onceEach(t, p.at), true)
}

// outside is a mail server and a webhook's receiver. They put off the first tries of
// some effects.
type outside struct {
	mail, hook string // addresses

	mu   sync.Mutex
	seen map[string]*visitor // by effect
	busy int
	last time.Time // of a try
}

// visitor is an effect, as the outside knows it.
type visitor struct {
	kind         string
	body         [sha256.Size]byte
	tries, taken int
	changed      bool // it came with another body
}

func listen(t *testing.T) *outside {
	o := &outside{seen: map[string]*visitor{}}
	quiet := log.New(io.Discard, "", 0)
	mails := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailbox{o: o}, nil }))
	mails.ErrorLog = quiet
	hooks := &http.Server{Handler: http.HandlerFunc(o.hooked), ErrorLog: quiet}
	serve := func(serve func(net.Listener) error, end func() error) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		var done sync.WaitGroup
		done.Go(func() { _ = serve(l) })
		t.Cleanup(func() { _ = end(); done.Wait() })
		return l.Addr().String()
	}
	o.mail, o.hook = serve(mails.Serve, mails.Close), serve(hooks.Serve, hooks.Close)
	return o
}

// config is a file for `orderlog up --effects`.
func (o *outside) config(t *testing.T, width int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "effects.yaml")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `
mail: {to: "{customer}@shop.example", from: orders@shop.example, server: %s, tls: none, concurrency: %d}
webhooks: [{name: erp, url: http://%s, secrets: [whsec_%s], concurrency: %d}]
`, o.mail, width, o.hook, strings.Repeat("A", 32), width), 0o600))
	return file
}

// take is a try of an effect. It is put off as often as its ID says, up to three times.
func (o *outside) take(id, kind string, body []byte) bool {
	h := fnv.New32a()
	h.Write([]byte(id))
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.seen[id]
	if v == nil {
		v = &visitor{kind: kind, body: sha256.Sum256(body)}
		o.seen[id] = v
	}
	v.changed = v.changed || v.kind != kind || v.body != sha256.Sum256(body)
	v.tries++
	o.last = time.Now()
	if v.tries <= int(h.Sum32()%4) {
		return false
	}
	v.taken++
	return true
}

// enter counts those that are under way. Answers take a while: kills shall fall into them.
func (o *outside) enter() (leave func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy++
	return func() {
		time.Sleep(5 * time.Millisecond)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.busy--
	}
}

// at is a kill, now, of a process that was born then.
func (o *outside) at(born time.Time) moment {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := moment{born: born, died: time.Now(), sending: o.busy, tried: o.last}
	for _, v := range o.seen {
		m.taken += v.taken
	}
	return m
}

func (o *outside) hooked(w http.ResponseWriter, r *http.Request) {
	defer o.enter()()
	body, err := io.ReadAll(r.Body)
	if err == nil && !o.take(r.Header.Get("webhook-id"), schemas.KindWebhook, body) {
		w.WriteHeader(http.StatusTooEarly) // what others would not be held up for
	}
}

// mailbox is a connection to the mail server.
type mailbox struct{ o *outside }

func (b *mailbox) Mail(string, *smtp.MailOptions) error { return nil }
func (b *mailbox) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (b *mailbox) Reset()                               {}
func (b *mailbox) Logout() error                        { return nil }

func (b *mailbox) Data(r io.Reader) error {
	defer b.o.enter()()
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	id, _, _ := strings.Cut(strings.Trim(m.Header.Get("Message-ID"), "<>"), "@")
	if !b.o.take(id, schemas.KindEmail, []byte(m.Header.Get("To")+m.Header.Get("Subject"))) { // its parts have borders of their own
		return &smtp.SMTPError{Code: 451, Message: "not now"}
	}
	return nil
}

// check compares what came with what the ledger says. Each kill leaves a few tries
// at most of which nobody knows the end.
func (o *outside) check(t *testing.T, rows map[string]schemas.LedgerEntry, most int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	taken, again, unsure := 0, 0, 0
	for id, row := range rows {
		v := o.seen[id]
		if v == nil || v.kind != row.Kind || v.changed || v.taken < 1 || v.taken > 1+int(row.Unsure) || v.tries > int(row.Tries) {
			t.Errorf("came as %+v: %+v", v, row)
			continue
		}
		taken += v.taken
		again += v.taken - 1
		unsure += int(row.Unsure)
	}
	for id := range o.seen {
		if _, ok := rows[id]; !ok {
			t.Errorf("%q came, and is not in the ledger", id)
		}
	}
	if unsure > most {
		t.Errorf("%d tries are unsure, want at most %d", unsure, most)
	}
	t.Logf("%d effects, taken %d times, %d of them again; %d tries are unsure", len(rows), taken, again, unsure)
}

// sent waits until all that was asked for is sent, and returns the ledger.
func sent(t *testing.T, at app.Addresses) map[string]schemas.LedgerEntry {
	t.Helper()
	serde := serde(t, at)
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		asked, rows, open := map[string]int64{}, map[string]schemas.LedgerEntry{}, 0
		eachRow(t, at, topics.NotificationTable, func(r *kgo.Record) {
			var n schemas.Notices
			must(t, serde.DecodeInto(t.Context(), topics.NotificationTable, r.Value, &n))
			asked[n.OrderID] = n.Asked
		})
		eachRow(t, at, topics.EffectsTable, func(r *kgo.Record) {
			var e schemas.LedgerEntry
			must(t, serde.DecodeInto(t.Context(), topics.EffectsTable, r.Value, &e))
			rows[e.EffectID] = e
		})
		for _, e := range rows {
			if e.State != schemas.Sent {
				open++
			}
		}
		total := 0
		for n := range maps.Values(asked) {
			total += int(n)
		}
		if total > 0 && total == len(rows) && open == 0 {
			return rows
		}
		if time.Now().After(end) {
			t.Fatalf("%d effects asked for, %d in the ledger, %d of them not sent", total, len(rows), open)
		}
	}
}
