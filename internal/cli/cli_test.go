package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// TestScripts runs whole command lines, in process, each script beside a broker
// and a registry of its own. Beyond testscript's own commands there are:
//
//	orderlog ARG...            runs the command; its exit code goes to `code`
//	code N                     the last exit code was N
//	row ID STATE [CUSTOMER]    writes a row to the order log
//	raw TOPIC KEY FILE [TYPE]  writes a file, or hex:..., as a record; - is a tombstone
//	plain TOPIC KEY FILE TYPE  writes a file as a plain JSON command
//	dead FILE TOPIC PARTITION OFFSET CAUSE ERROR  writes a file as a dead letter of that position
//	letter GROUP KEY CAUSE ERROR [FILE]  writes a placement, or a file, as a dead letter of that group
//	parked KEY DUE CAUSE GROUP [SEQ]  writes an entry to the calendar's table
//	paused GROUP CAUSE         writes a pause there
//	noted TABLE KEY HEX        writes a note beside a row that is not there
//	topic NAME PARTITIONS [SETTING=VALUE]...  makes a topic
//	commit GROUP TOPIC OFFSET  commits that offset on every partition
//	asked FILE                 writes each line, JSON, as a record that asks for an effect
//	ledger FILE                writes each line, JSON, as a row of the effects' ledger
//	shop FILE                  runs all processors on a broker of their own, with these effects; $HOOKS is where webhooks go
//	answer HOOK CODE           has $HOOKS/HOOK answer so
//	calls HOOK                 prints the ID of each call of $HOOKS/HOOK
//	soon REGEXP ARG...         runs orderlog until it says so
//	let NAME REGEXP            sets a variable to the first group in what was printed last
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"orderlog": scriptOrderlog, "code": scriptCode, "row": scriptRow, "raw": scriptRaw, "plain": scriptPlain,
			"dead": scriptDead, "letter": scriptLetter, "parked": scriptParked, "paused": scriptPaused, "noted": scriptNoted, "topic": scriptTopic, "commit": scriptCommit,
			"asked": scriptAsked, "ledger": scriptLedger, "shop": scriptShop, "answer": scriptAnswer, "calls": scriptCalls, "soon": scriptSoon, "let": scriptLet,
		},
	})
}

func setup(env *testscript.Env) error {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return err
	}
	env.Defer(cluster.Close)
	registry := srfake.New()
	env.Defer(registry.Close)
	env.Setenv("ORDERLOG_BROKERS", cluster.ListenAddrs()[0])
	env.Setenv("ORDERLOG_REGISTRY", registry.URL())
	env.Setenv("ESC", "\x1b[2J")
	env.Setenv("ORDERLOG_AS", "ann")
	newHooks(env)
	return nil
}

func scriptOrderlog(ts *testscript.TestScript, neg bool, args []string) {
	code := Main(context.Background(), args, Env{
		Stdin: strings.NewReader(""), Stdout: ts.Stdout(), Stderr: ts.Stderr(),
		Dir: ts.MkAbs("."), ConfigDir: ts.MkAbs("xdg"), Getenv: ts.Getenv, Now: time.Now, Rand: rand.Reader,
	})
	ts.Setenv("code", strconv.Itoa(code))
	if neg == (code == exitDone) {
		ts.Fatalf("exit code %d", code)
	}
}

func scriptCode(ts *testscript.TestScript, _ bool, args []string) {
	if got := ts.Getenv("code"); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func produce(ts *testscript.TestScript, r *kgo.Record) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("ORDERLOG_BROKERS")))
	ts.Check(err)
	defer cl.Close()
	ts.Check(cl.ProduceSync(context.Background(), r).FirstErr())
}

func scriptRow(ts *testscript.TestScript, _ bool, args []string) {
	customer := "cus_1"
	if len(args) > 2 {
		customer = args[2]
	}
	produce(ts, orderRecord(scriptSerde(ts), someOrder(args[0], args[1], customer)))
}

// someOrder is an order with something in every part that is shown.
func someOrder(id, state, customer string) *schemas.Order {
	return &schemas.Order{
		OrderID: id, State: state, Version: 3, CustomerID: customer, Currency: "EUR", PlacedAt: 1767323045007, ChangedAt: 1767323046000, VATBP: 1900,
		Lines: []schemas.Line{{SKU: "sku_1", Quantity: 2, DiscountBP: 1550, UnitPrice: 1250, Net: 2112, VAT: 401, Stock: schemas.Granted}},
		Net:   2112, VAT: 401, Gross: 2513,
		Credit:   schemas.CreditAsk{Ask: schemas.Granted, Amount: 2513},
		Invoice:  schemas.InvoiceAsk{Ask: schemas.Granted, Number: "A-2026-000001"},
		Timeline: []schemas.TimelineEntry{{At: 1767323045007, Type: schemas.OrderPlaced}, {At: 1767323046000, Type: "order." + state, Detail: "why"}},
	}
}

func orderRecord(serde *schemas.Serde, o *schemas.Order) *kgo.Record {
	value, err := serde.Encode(nil, topics.OrderTable, o)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{Topic: topics.OrderTable, Key: []byte(o.OrderID), Value: value, Headers: event.Append(nil, event.DefaultSource, event.Avro, flow.Message{
		ID: "evt_" + o.OrderID, Type: "order." + o.State, At: o.ChangedAt, Correlation: o.OrderID})}
}

func scriptRaw(ts *testscript.TestScript, _ bool, args []string) {
	r := &kgo.Record{Topic: args[0], Key: []byte(args[1])}
	switch text, isHex := strings.CutPrefix(args[2], "hex:"); {
	case isHex:
		value, err := hex.DecodeString(text)
		ts.Check(err)
		r.Value = value
	case args[2] != "-":
		r.Value = []byte(ts.ReadFile(args[2]))
	}
	if len(args) > 3 {
		r.Headers = []kgo.RecordHeader{{Key: event.Type, Value: []byte(args[3])}}
	}
	produce(ts, r)
}

func scriptPlain(ts *testscript.TestScript, _ bool, args []string) {
	produce(ts, &kgo.Record{Topic: args[0], Key: []byte(args[1]), Value: []byte(ts.ReadFile(args[2])), Headers: []kgo.RecordHeader{
		{Key: event.Type, Value: []byte(args[3])}, {Key: event.ContentType, Value: []byte(event.JSON)}}})
}

func scriptDead(ts *testscript.TestScript, _ bool, args []string) {
	r := &kgo.Record{Topic: topics.DeadLetter, Key: []byte("ord_1"), Value: []byte(ts.ReadFile(args[0]))}
	for i, key := range []string{letter.HeaderTopic, letter.HeaderPartition, letter.HeaderOffset, letter.HeaderCause, letter.HeaderError} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(args[i+1])})
	}
	produce(ts, r)
}

func scriptSerde(ts *testscript.TestScript) *schemas.Serde {
	serde, err := schemas.NewSerde(context.Background(), schemas.SerdeConfig{Registry: ts.Getenv("ORDERLOG_REGISTRY")})
	ts.Check(err)
	return serde
}

// failure is what went wrong with a placement of that key.
func failure(ts *testscript.TestScript, group, key, cause, text string) letter.Letter {
	value, err := scriptSerde(ts).Encode(nil, topics.OrderCommands, &schemas.PlaceOrder{OrderID: key, CustomerID: "cus_1", Currency: "EUR",
		Lines: []schemas.PlaceLine{{SKU: "sku_1", Quantity: 2}}})
	ts.Check(err)
	l := letter.Of(&kgo.Record{Topic: topics.OrderCommands, Offset: 7, Timestamp: time.UnixMilli(1767323045007), Key: []byte(key), Value: value,
		Headers: event.Append(nil, event.DefaultSource, event.Avro, flow.Message{ID: "evt_" + key, Type: schemas.OrdersOrderPlace, At: 1767323045007})})
	l.Group = group
	return l.Failed(1767323045008, letter.Transient, cause, text, "goroutine 7\n\tdecide.go:12")
}

func scriptLetter(ts *testscript.TestScript, _ bool, args []string) {
	l := failure(ts, args[0], args[1], args[2], args[3])
	if len(args) > 4 {
		l.Value = []byte(ts.ReadFile(args[4]))
	}
	produce(ts, &kgo.Record{Topic: topics.DeadLetter, Key: l.Key, Value: l.Value, Headers: l.Headers()})
}

func scriptParked(ts *testscript.TestScript, _ bool, args []string) {
	l := failure(ts, args[3], args[0], args[2], "a bug in the rule")
	due, err := time.Parse(time.RFC3339, args[1])
	ts.Check(err)
	l.Due = due.UnixMilli()
	if len(args) > 4 {
		l.Seq, err = strconv.ParseInt(args[4], 10, 64)
		ts.Check(err)
	}
	if l.Cause == "deadline" {
		l = letter.Letter{Group: l.Group, Cause: l.Cause, Due: l.Due, Key: l.Key, Own: l.Own, Value: l.Value}
	}
	value, err := scriptSerde(ts).Encode(nil, topics.RetryTable, l.Parked(topics.Loop(l.Group)))
	ts.Check(err)
	produce(ts, &kgo.Record{Topic: topics.RetryTable, Key: []byte(retry.Key(l.Due, fmt.Sprintf("%08d.%s.%s", l.Seq, l.Group, l.Key))), Value: value})
}

func scriptPaused(ts *testscript.TestScript, _ bool, args []string) {
	c := schemas.RetryCommand{Entry: retry.PauseKey(args[0], args[1]), Group: args[0], Cause: args[1], Who: "bob", Reason: "a test"}
	value, err := scriptSerde(ts).Encode(nil, topics.RetryTable, &c)
	ts.Check(err)
	produce(ts, &kgo.Record{Topic: topics.RetryTable, Key: []byte(c.Entry), Value: value})
}

func scriptNoted(ts *testscript.TestScript, _ bool, args []string) {
	note, err := hex.DecodeString(args[2])
	ts.Check(err)
	produce(ts, &kgo.Record{Topic: args[0], Key: []byte(args[1]), Value: []byte{}, Headers: []kgo.RecordHeader{{Key: kgoka.NoteHeader, Value: note}}})
}

func scriptTopic(ts *testscript.TestScript, _ bool, args []string) {
	adm, err := kadm.NewOptClient(kgo.SeedBrokers(ts.Getenv("ORDERLOG_BROKERS")))
	ts.Check(err)
	defer adm.Close()
	partitions, err := strconv.ParseInt(args[1], 10, 32)
	ts.Check(err)
	settings := map[string]*string{}
	for _, arg := range args[2:] {
		name, value, _ := strings.Cut(arg, "=")
		settings[name] = &value
	}
	_, err = adm.CreateTopic(context.Background(), int32(partitions), 1, settings, args[0])
	ts.Check(err)
}

func scriptCommit(ts *testscript.TestScript, _ bool, args []string) {
	adm, err := kadm.NewOptClient(kgo.SeedBrokers(ts.Getenv("ORDERLOG_BROKERS")))
	ts.Check(err)
	defer adm.Close()
	at, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	listed, err := adm.ListEndOffsets(context.Background(), args[1])
	ts.Check(err)
	var offsets kadm.Offsets
	for p := range listed[args[1]] {
		offsets.AddOffset(args[1], p, at, -1)
	}
	ts.Check(adm.CommitAllOffsets(context.Background(), args[0], offsets))
}

// shared is what a command writes to, and its clients: those may still log when the
// command has ended.
type shared struct {
	mu      sync.Mutex
	written bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.String()
}

// run is one command line with nothing around it.
func run(t *testing.T, env Env, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out bytes.Buffer
	var errs shared
	env.Stdout, env.Stderr = &out, &errs
	if env.Stdin == nil {
		env.Stdin = strings.NewReader("")
	}
	if env.Getenv == nil {
		env.Getenv = func(string) string { return "" }
	}
	env.Now, env.Rand = time.Now, rand.Reader
	code = Main(t.Context(), args, env)
	return code, out.String(), errs.String()
}

// allCommands lists cmd and everything below it.
func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		all = append(all, allCommands(c)...)
	}
	return all
}

// commandLines lists every command, hidden ones too.
func commandLines() (lines [][]string) {
	root := newRoot(&session{env: Env{}})
	for _, c := range allCommands(root) {
		lines = append(lines, strings.Fields(c.CommandPath())[1:])
	}
	return lines
}

func TestHelpOfEveryCommandEndsInAnExample(t *testing.T) {
	for _, line := range commandLines() {
		code, out, _ := run(t, Env{}, append(slices.Clone(line), "--help")...)
		if code != exitDone {
			t.Errorf("%v --help: exit code %d", line, code)
		}
		_, last, found := strings.Cut(out, "\nExample:\n")
		if !found || !strings.Contains(last, "orderlog") {
			t.Errorf("%v: help does not end in an example that can be typed:\n%s", line, out)
		}
		for _, l := range strings.Split(strings.TrimRight(last, "\n"), "\n") {
			if l != "" && !strings.HasPrefix(l, "  ") {
				t.Errorf("%v: %q follows the example", line, l)
			}
		}
	}
}

// The examples in the help must be command lines that exist, with flags that do.
func TestExamplesParse(t *testing.T) {
	for _, c := range allCommands(newRoot(&session{env: Env{}})) {
		for _, line := range strings.Split(c.Example, "\n") {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0] != "orderlog" {
				continue
			}
			root := newRoot(&session{env: Env{}})
			found, rest, err := root.Find(fields[1:])
			if err == nil && found == root {
				err = unknownCommand(root, fields[1])
			}
			if err == nil {
				rest = slices.DeleteFunc(rest, func(f string) bool { return f == "&&" || f == "|" })
				err = found.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	}
}

func TestDocsAreCurrent(t *testing.T) {
	var want strings.Builder
	writeDocs(&want, newRoot(&session{env: Env{}}))
	got, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil || string(got) != want.String() {
		t.Errorf("docs/cli.md is not what the commands say: run `orderlog docs docs` (%v)", err)
	}
}

// Colour is for terminals, and only where nobody has asked for none.
func TestColour(t *testing.T) {
	none := func(string) string { return "" }
	tests := []struct {
		name   string
		env    Env
		args   []string
		colour bool
	}{
		{"no terminal", Env{Getenv: none}, nil, false},
		{"terminal", Env{Getenv: none, StderrTerminal: true}, nil, true},
		{"stdout is one, stderr is not", Env{Getenv: none, StdoutTerminal: true}, nil, false},
		{"--no-color", Env{Getenv: none, StderrTerminal: true}, []string{"--no-color"}, false},
		{"NO_COLOR", Env{StderrTerminal: true, Getenv: func(n string) string {
			if n == "NO_COLOR" {
				return "1"
			}
			return ""
		}}, nil, false},
		{"-o json", Env{Getenv: none, StderrTerminal: true}, []string{"-o", "json"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, stderr := run(t, tt.env, append([]string{"completion", "none"}, tt.args...)...)
			if got := strings.Contains(stderr, "\x1b["); got != tt.colour {
				t.Errorf("coloured: %v, want %v: %q", got, tt.colour, stderr)
			}
		})
	}
}

func TestJSONIsOneDocument(t *testing.T) {
	_, out, _ := run(t, Env{}, "version", "-o", "json")
	dec := json.NewDecoder(strings.NewReader(out))
	var v version
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.Go == "" || v.Version == "" {
		t.Errorf("%+v says too little", v)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Errorf("something follows the document: %v", err)
	}
}

// lines is a Stdout that hands on what is written, write by write.
type lines chan string

func (l lines) Write(p []byte) (int, error) { l <- string(p); return len(p), nil }

func TestTailFollowsUntilInterrupted(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics.OrderTable))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	registry := srfake.New()
	defer registry.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	write := func(text string) {
		t.Helper()
		r := &kgo.Record{Topic: topics.OrderTable, Key: []byte(text), Value: []byte(text)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, code := make(lines, 100), make(chan int, 1)
	env := Env{Stdin: strings.NewReader(""), Stdout: out, Stderr: io.Discard, Getenv: func(string) string { return "" }, Now: time.Now, Rand: rand.Reader}
	go func() {
		code <- Main(ctx, []string{"tail", "--follow", "--from", "earliest", "--brokers", cluster.ListenAddrs()[0], "--registry", registry.URL()}, env)
	}()
	if line := <-out; !strings.Contains(line, " before ") {
		t.Errorf("first came %q", line)
	}
	write("after")
	if line := <-out; !strings.Contains(line, " after ") {
		t.Errorf("then came %q", line)
	}
	interrupt()
	if c := <-code; c != exitDone {
		t.Errorf("exit code %d after the interrupt that ends it", c)
	}
}

func TestInterruptIsAFailureElsewhere(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var errs shared
	env := Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs, Getenv: func(string) string { return "" }, Now: time.Now, Rand: rand.Reader}
	if code := Main(ctx, []string{"topics", "list", "--brokers", "127.0.0.1:1"}, env); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if got := errs.String(); got != "orderlog: interrupted\n" {
		t.Errorf("said %q", got)
	}
}

func TestBarsAreForTerminals(t *testing.T) {
	draw := func(terminal bool) string {
		var out bytes.Buffer
		s := &session{env: Env{Stderr: &out, StderrTerminal: terminal}}
		b := s.bar("orders", 10)
		b.at(7, 10)
		b.end()
		return out.String()
	}
	if got := draw(true); !strings.Contains(got, "orders") || !strings.Contains(got, "7 / 10") || !strings.Contains(got, "/s") {
		t.Errorf("on a terminal: %q", got)
	}
	if got := draw(false); got != "" {
		t.Errorf("elsewhere: %q", got)
	}
}
