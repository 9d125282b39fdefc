// Package crash holds no code: its test kills orderlog at random moments, as a
// process, and compares what is left with a run that nobody disturbed.
package crash

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/track"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/schemas"
)

var (
	kills  = flag.Int("crash.kills", 3, "how often `orderlog up` is killed")
	orders = flag.Int("crash.orders", 2000, "orders produced meanwhile")
	seed   = flag.Uint64("crash.seed", uint64(time.Now().UnixNano()), "of the moments; printed on failure")
)

// Whatever moment a process dies at, the business ends up as if it had not:
// nothing lost, nothing done twice. Stock and credit are ample, so that the
// order of events decides nothing.
func TestKill(t *testing.T) {
	exe := build(t)
	calm := run(t, exe, 0, nil)
	t.Logf("crash.seed=%d", *seed)
	disturbed := run(t, exe, *kills, rand.New(rand.NewPCG(*seed, 0)))
	for _, d := range content.Diff(calm, disturbed, 5) {
		t.Errorf("differs after kills: %s", d)
	}
	if n := len(calm["order-table"]); n != *orders {
		t.Errorf("%d orders in the undisturbed run, want %d", n, *orders)
	}
}

func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "orderlog")
	if out, err := exec.Command("go", "build", "-o", exe, "github.com/orderlog/orderlog/cmd/orderlog").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

// process is one `orderlog up`.
type process struct {
	cmd *exec.Cmd
	at  app.Addresses
}

func up(t *testing.T, exe, dir string) process {
	t.Helper()
	cmd := exec.Command(exe, "up", "--data", dir, "--port", "0", "--registry-port", "0", "-o", "json")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	p := process{cmd: cmd}
	if err := json.NewDecoder(out).Decode(&p.at); err != nil {
		p.kill()
		t.Fatalf("up did not come up: %v", err)
	}
	return p
}

func (p process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func run(t *testing.T, exe string, kills int, rng *rand.Rand) content.Content {
	t.Helper()
	dir := t.TempDir()
	p := up(t, exe, dir)
	defer func() { p.kill() }()
	produce := exec.Command(exe, "produce", "--orders", strconv.Itoa(*orders), "--seed", "7",
		"--rate", strconv.Itoa(*orders/max(5, 3*kills/2)), "--deliver", // so that the kills fall into the work
		"--brokers", p.at.Brokers[0], "--registry", p.at.Registry)
	produce.Stderr, produce.Stdout = t.Output(), t.Output()
	must(t, produce.Start())
	produced := make(chan error, 1)
	go func() { produced <- produce.Wait() }()
	defer func() { _ = produce.Process.Kill() }()

	for i := range kills {
		alive := time.Duration(50+rng.IntN(2000)) * time.Millisecond
		select {
		case <-time.After(alive):
		case err := <-produced: // it is done early: go on killing what is left to do
			must(t, err)
			produced <- nil
		}
		p.kill()
		before := p.at
		p = up(t, exe, dir)
		if p.at.Brokers[0] != before.Brokers[0] {
			t.Fatalf("kill %d: the broker moved from %s to %s", i, before.Brokers[0], p.at.Brokers[0])
		}
	}
	must(t, <-produced)
	return settle(t, p.at)
}

// settle waits until nothing moves, has the log prove itself and reads it.
func settle(t *testing.T, at app.Addresses) content.Content {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	opts := []kgo.Opt{kgo.SeedBrokers(at.Brokers...)}
	serde, err := schemas.NewSerde(ctx, schemas.SerdeConfig{Registry: at.Registry, HTTPClient: http.DefaultClient})
	must(t, err)
	tracker, err := track.Start(opts, "", time.Now)
	must(t, err)
	defer tracker.Stop()
	_, err = tracker.Wait(ctx, func(s map[string]int) bool { return s[schemas.Delivered] >= *orders })
	must(t, err)
	c, err := client.New(client.Config{Opts: opts, Serde: serde})
	must(t, err)
	defer c.Close()
	must(t, c.WaitRead(ctx, app.Names()...))
	report, err := verify.Run(ctx, verify.Config{Client: opts, Serde: serde, Wait: time.Minute})
	must(t, err)
	t.Logf("%v, verify ok: %v", tracker.States(), report.OK)
	if !report.OK {
		report.Text(t.Output(), false)
		t.Error("the log does not hold")
	}
	all, err := content.Read(ctx, opts, serde, "")
	must(t, err)
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("crash: skipped with -short: it builds and kills processes")
		return
	}
	os.Exit(m.Run())
}
