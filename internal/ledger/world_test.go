package ledger

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/mail"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/wire"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const (
	nparts   = 4
	smtpAddr = "127.0.0.1:2525"
	httpAddr = "127.0.0.1:8082"
	session  = 4 * time.Minute
	later    = -1 // what a server answers: try again
)

// world is a broker, an SMTP server and a webhook's receiver on one network, and
// the effects that a test has asked for. It is for synctest.
type world struct {
	t     testing.TB
	net   kfake.VirtualNetwork
	addrs []string
	cl    *kgo.Client
	serde *schemas.Serde
	cfg   effect.Config
	all   []schemas.Effect

	mu     sync.Mutex
	took   map[string]int             // by effect: how often a server took it
	refuse map[string]int             // SMTP code by recipient
	tries  map[string]int             // by effect: how often one came
	answer func(id string, n int) int // to the n-th try of that effect, in its time: a code, 0 if it is well
	taken  func()                     // called after a server took something, before it says so
	hangs  bool                       // the receiver, until its caller gives up
	over   time.Duration              // for which a server that ends is waited for
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, serde: schemas.NewLocalSerde(), took: map[string]int{}, tries: map[string]int{}, refuse: map[string]int{}, taken: func() {}, answer: func(string, int) int { return 0 }, over: time.Hour}
	w.cfg = effect.Default()
	w.cfg.Mail.To, w.cfg.Mail.From = "{customer}@shop.example", mail.Address{Address: "orders@shop.example"}
	w.cfg.Mail.Server, w.cfg.Mail.TLS = smtpAddr, effect.NoTLS
	w.cfg.Webhooks = []effect.Webhook{{Name: "erp", URL: "http://" + httpAddr + "/", Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 4}}
	var names []string
	for _, tp := range topics.All() {
		names = append(names, tp.Name)
	}
	c, err := kfake.NewCluster(kfake.ListenFn(w.net.Listen), kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(nparts, names...))
	must(t, err)
	t.Cleanup(c.Close)
	w.addrs = c.ListenAddrs()
	w.cl, err = kgo.NewClient(w.opts(w.net.DialContext)...)
	must(t, err)
	t.Cleanup(w.cl.Close)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) opts(d wire.Dial) []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(w.addrs...), kgo.Dialer(d), kgo.MetadataMinAge(10 * time.Millisecond), kgo.FetchMaxWait(time.Minute), kgo.DisableClientMetrics()}
}

// ask writes effects for so many orders: a mail and a webhook for each.
func (w *world) ask(orders int) []schemas.Effect {
	w.t.Helper()
	rule := notification.New(w.cfg.Rule())
	var es []schemas.Effect
	var rs []*kgo.Record
	for range orders {
		id := fmt.Sprintf("ord_%d", len(w.all)+len(es))
		at := int64(1_767_607_200_000) + int64(len(w.all)+len(es))*1000
		o := schemas.Order{OrderID: id, CustomerID: "cus_" + id[4:], Currency: "EUR", Gross: 119, Timeline: []schemas.TimelineEntry{{At: at, Type: schemas.OrderDelivered}}}
		_, outs := rule.Decide(schemas.Notices{}, flow.Message{Body: &o})
		for _, m := range outs {
			e := *m.Body.(*schemas.Effect)
			es = append(es, e)
			rs = append(rs, w.record(topics.Effects, e))
		}
	}
	w.set(func() { w.all = append(w.all, es...) }) // before the servers hear of them
	w.produce(rs...)
	return es
}

func (w *world) record(topic string, e schemas.Effect, hs ...kgo.RecordHeader) *kgo.Record {
	w.t.Helper()
	v, err := w.serde.Encode(nil, topics.Effects, &e)
	must(w.t, err)
	return &kgo.Record{Topic: topic, Key: []byte(e.EffectID), Value: v, Headers: hs}
}

func (w *world) produce(rs ...*kgo.Record) {
	w.t.Helper()
	must(w.t, w.cl.ProduceSync(context.Background(), rs...).FirstErr())
}

func (w *world) read(topic string) (rs []*kgo.Record) {
	w.t.Helper()
	must(w.t, content.EachRecord(context.Background(), w.opts(w.net.DialContext), topic, func(r *kgo.Record) error {
		rs = append(rs, r)
		return nil
	}))
	return rs
}

func (w *world) letters() (ls []letter.Letter) {
	for _, r := range w.read(topics.DeadLetter) {
		ls = append(ls, letter.Parse(r))
	}
	return ls
}

// rows is the ledger, by effect.
func (w *world) rows() map[string]schemas.LedgerEntry {
	w.t.Helper()
	rows := map[string]schemas.LedgerEntry{}
	for _, r := range w.read(topics.EffectsTable) {
		var row schemas.LedgerEntry
		if len(r.Value) == 0 { // of an input that was refused
			continue
		}
		must(w.t, w.serde.DecodeInto(context.Background(), topics.EffectsTable, r.Value, &row))
		rows[string(r.Key)] = row
	}
	return rows
}

// until waits, a minute of its own clock at a time.
func (w *world) until(what string, within time.Duration, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(min(within/100, time.Minute)) {
		if time.Now().After(end) {
			w.t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// ended tells whether all effects that were asked for are sent or have failed.
func (w *world) ended() bool {
	rows := w.rows()
	n := 0
	for _, row := range rows {
		if row.State == schemas.Sent || row.State == schemas.Failed {
			n++
		}
	}
	return n == len(w.all)
}

// in counts the rows of a kind that are in a state.
func (w *world) in(kind, state string) (n int) {
	for _, row := range w.rows() {
		if row.Kind == kind && row.State == state {
			n++
		}
	}
	return n
}

// set changes how the servers behave.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) times(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.took[id]
}

// take is one effect that a server has got whole, and what it answers.
func (w *world) take(id string, good int) int {
	w.mu.Lock()
	w.tries[id]++
	n, answer, taken := w.tries[id], w.answer, w.taken
	w.mu.Unlock()
	code := cmp.Or(answer(id, n), good)
	if code == later {
		code = map[int]int{250: 451, 200: http.StatusRequestTimeout}[good]
	}
	if code == good {
		w.set(func() { w.took[id]++ })
	}
	taken()
	return code
}

// onTaken sets what is called after a server took something, before it says so.
func (w *world) onTaken(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var mu sync.Mutex
	w.taken = func() {
		mu.Lock()
		defer mu.Unlock()
		f()
	}
}

// mails runs the SMTP server until what it returns is called, or the test ends.
func (w *world) mails() (stop func()) {
	w.t.Helper()
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{w: w}, nil }))
	s.ErrorLog = log.New(io.Discard, "", 0)
	return w.serve(smtpAddr, s.Serve, s.Close)
}

// hooks runs the webhook's receiver.
func (w *world) hooks() (stop func()) {
	w.t.Helper()
	s := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.mu.Lock()
		hangs := w.hangs
		w.mu.Unlock()
		if hangs {
			<-r.Context().Done()
			return
		}
		rw.WriteHeader(w.take(r.Header.Get("webhook-id"), http.StatusOK))
	})}
	return w.serve(httpAddr, s.Serve, s.Close)
}

func (w *world) serve(addr string, serve func(net.Listener) error, end func() error) (stop func()) {
	l, err := w.net.Listen("tcp", addr)
	must(w.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(l)
	}()
	stop = sync.OnceFunc(func() {
		end()
		<-done
		time.Sleep(w.over)
	})
	w.t.Cleanup(stop)
	return stop
}

type mailSession struct{ w *world }

func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if code := s.w.refuse[to]; code != 0 {
		return &smtp.SMTPError{Code: code, Message: "not here"}
	}
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err == nil {
		_, err = io.Copy(io.Discard, m.Body)
	}
	if err != nil {
		return err
	}
	id, _, _ := strings.Cut(strings.Trim(m.Header.Get("Message-ID"), "<>"), "@")
	if code := s.w.take(id, 250); code != 250 {
		return &smtp.SMTPError{Code: code, Message: "not now"}
	}
	return nil
}

func (s *mailSession) Reset()        {}
func (s *mailSession) Logout() error { return nil }

// instance is a ledger at work, on a wire of its own.
type instance struct {
	*kgoka.Processor
	*Ledger
	wire *wire.Wire
	dir  string
	stop context.CancelFunc
	done chan error
}

func (w *world) log() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("ORDERLOG_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: level}))
}

func (w *world) runtime(name, dir string, d wire.Dial) kgoka.Config {
	return kgoka.Config{Brokers: w.addrs, ClientOpts: w.opts(d), Instance: name, Dir: dir, Log: w.log(),
		SessionTimeout: session, Heartbeat: session / 10, RebalanceTimeout: time.Minute, TransactionTimeout: 1500 * time.Millisecond}
}

func (w *world) start(name, dir string) *instance {
	w.t.Helper()
	i := &instance{wire: &wire.Wire{Dial: w.net.DialContext}, dir: dir, done: make(chan error, 1)}
	es, err := effect.New(w.cfg, effect.Options{Dial: i.wire.Connect})
	must(w.t, err)
	w.t.Cleanup(es.Close)
	i.Ledger = New(graph.Env{Serde: w.serde, Log: w.log()}, es)
	i.Processor, err = kgoka.NewProcessor(i.Runtime(w.runtime(name, dir, i.wire.Connect)), i.Graph())
	must(w.t, err)
	var ctx context.Context
	ctx, i.stop = context.WithCancel(context.Background())
	go func() { i.done <- i.Run(ctx, i.Processor) }()
	w.t.Cleanup(func() { i.end(w.t) })
	return i
}

// Run is the ledger's, not the processor's.
func (i *instance) Run(ctx context.Context, p *kgoka.Processor) error { return i.Ledger.Run(ctx, p) }

func (i *instance) ready(t testing.TB) *instance {
	t.Helper()
	must(t, i.WaitReady(context.Background()))
	return i
}

// end stops it in order; twice is once.
func (i *instance) end(t testing.TB) {
	t.Helper()
	i.stop()
	if err := <-i.done; err != nil {
		t.Errorf("the ledger ended: %v", err)
	}
	i.done <- nil
}

// calendar runs the group retry until the test ends.
func (w *world) calendar() {
	w.t.Helper()
	cal := calendar.New(graph.Env{Serde: w.serde, Log: w.log()})
	p, err := kgoka.NewProcessor(cal.Runtime(w.runtime("1", "", w.net.DialContext)), cal.Graph())
	must(w.t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cal.Run(ctx, p) }()
	w.t.Cleanup(func() {
		stop()
		must(w.t, <-done)
	})
	must(w.t, p.WaitReady(ctx))
}

// back sets the offsets of the group back to the start of its topics.
func (w *world) back() {
	w.t.Helper()
	adm := kadm.NewClient(w.cl)
	at, err := adm.FetchOffsets(context.Background(), Name)
	must(w.t, err)
	var zero kadm.Offsets
	at.Each(func(o kadm.OffsetResponse) { zero.AddOffset(o.Topic, o.Partition, 0, -1) })
	must(w.t, adm.CommitAllOffsets(context.Background(), Name, zero))
}
