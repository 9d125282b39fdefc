package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/devbroker"
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
	devbroker.WantNoMetrics(cluster)
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
