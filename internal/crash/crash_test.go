package crash

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/content"
)

var (
	kills  = flag.Int("crash.kills", 3, "how often `orderlog up` is killed")
	orders = flag.Int("crash.orders", 2000, "orders produced meanwhile")
	told   = flag.String("crash.effects", "", "who is told, as `orderlog up --effects` takes it; without it every mail becomes a file")
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
	cmd := exec.Command(exe, "up", "--data", dir, "--port", "0", "--registry-port", "0", "--effects", *told, "-o", "json")
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
	return Settle(t, p.at, *orders)
}

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("crash: skipped with -short: it builds and kills processes")
		return
	}
	os.Exit(m.Run())
}
