package cli

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
)

// Who runs a group of which records are gone is told of the way out that orderlog has.
func TestRunOfAGroupThatHasLostRecords(t *testing.T) {
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a, err := app.New(app.Config{Partitions: 1, Namespace: "cli"})
	ok(err)
	ok(a.StartPlatform(t.Context()))
	defer func() { ok(a.Stop()) }()
	cl, err := kgo.NewClient(a.ClientOpts()...)
	ok(err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	at := func(n int64) kadm.Offsets {
		os := kadm.Offsets{}
		os.AddOffset("cli.inventory-commands", 0, n, -1)
		return os
	}
	ok(adm.CommitAllOffsets(t.Context(), "cli.inventory", at(0)))
	ok(cl.ProduceSync(t.Context(), &kgo.Record{Topic: "cli.inventory-commands", Key: []byte("k"), Value: []byte("v")}).FirstErr())
	_, err = adm.DeleteRecords(t.Context(), at(1))
	ok(err)
	code, _, said := run(t, Env{}, "run", "inventory", "--brokers", a.Addresses().Brokers[0], "--registry", a.Addresses().Registry, "--namespace", "cli")
	if code == exitDone || !strings.Contains(said, "hint: `orderlog replay plan inventory --to-earliest`") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
