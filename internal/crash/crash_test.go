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

func up(t *testing.T, exe, dir string, flags ...string) process {
	t.Helper()
	return begin(t, exec.Command(exe, append([]string{"up", "--data", dir, "--port", "0", "--registry-port", "0", "-o", "json"}, flags...)...))
}

// begin starts a process and waits until it says where it is.
func begin(t *testing.T, cmd *exec.Cmd) process {
	t.Helper()
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
	p := up(t, exe, t.TempDir(), "--effects", *told)
	defer func() { p.kill() }()
	produced := produce(t, exe, p.at, *orders, *orders/max(5, 3*kills/2))
	for range kills {
		alive := time.Duration(50+rng.IntN(2000)) * time.Millisecond
		select {
		case <-time.After(alive):
		case err := <-produced: // it is done early: go on killing what is left to do
			must(t, err)
			produced <- nil
		}
		p = p.again(t)
	}
	must(t, <-produced)
	return Settle(t, p.at, *orders)
}

// again kills a process and starts it anew, where it was.
func (p process) again(t *testing.T) process {
	t.Helper()
	p.kill()
	cmd := exec.Command(p.cmd.Path, p.cmd.Args[1:]...)
	cmd.Env = p.cmd.Env
	next := begin(t, cmd)
	if next.at.Brokers[0] != p.at.Brokers[0] {
		next.kill()
		t.Fatalf("the broker moved from %s to %s", p.at.Brokers[0], next.at.Brokers[0])
	}
	return next
}

// produce has orders placed and delivered, so many a second: so that the kills fall
// into the work. What it returns tells how that ended.
func produce(t *testing.T, exe string, at app.Addresses, orders, rate int) chan error {
	t.Helper()
	cmd := exec.Command(exe, "produce", "--orders", strconv.Itoa(orders), "--seed", "7", "--rate", strconv.Itoa(rate), "--deliver",
		"--brokers", at.Brokers[0], "--registry", at.Registry)
	cmd.Stderr, cmd.Stdout = t.Output(), t.Output()
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return ended
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(faultyDir); dir != "" {
		faulty(dir)
	}
	flag.Parse()
	if testing.Short() {
		fmt.Println("crash: skipped with -short: it builds and kills processes")
		return
	}
	os.Exit(m.Run())
}
