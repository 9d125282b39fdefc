package faults

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/cli"
	"github.com/orderlog/orderlog/internal/crash"
	"github.com/orderlog/orderlog/internal/devbroker"
)

// With the variable set, this binary is orderlog.
const orderlogVar = "ORDERLOG_TEST_FAULTS_ORDERLOG"

func orderlog() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, os.Args[1:], cli.OS())
}

// program is orderlog with arguments. Its output goes to a file, over and over.
type program struct {
	log  string
	args []string
}

func (s *scene) program(name string, args ...string) program {
	p := program{log: filepath.Join(s.dir, name+".log"), args: args}
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("log of orderlog %s:\n%s", strings.Join(args, " "), tail(p.log, 12<<10))
		}
	})
	return p
}

// run runs the program until it ends, or kills it when ctx does.
func (p program) run(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, os.Args[0], p.args...)
	cmd.Env = append(os.Environ(), orderlogVar+"=1")
	cmd.Stdout, cmd.Stderr = log, log
	in, err := cmd.StdinPipe() // its end is the test's
	if err != nil {
		return err
	}
	defer in.Close()
	return cmd.Run()
}

// ready says whether the program has shown where it runs, which is when it does.
func (p program) ready() bool {
	text, err := os.ReadFile(p.log)
	return err == nil && strings.Contains(string(text), `"brokers"`)
}

// service is a program that is started again whenever it ends, as a service
// manager does it.
type service struct {
	program
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	kill   context.CancelFunc // the process at hand
	killed int
	starts int
}

func (s *scene) service(p program) *service {
	ctx, stop := context.WithCancel(context.Background())
	v := &service{program: p, stop: stop}
	v.done.Go(func() {
		for ctx.Err() == nil {
			life, kill := context.WithCancel(ctx)
			v.mu.Lock()
			v.kill = kill
			v.starts++
			v.mu.Unlock()
			_ = v.run(life) // how it ended is in its log
			kill()
		}
	})
	s.Cleanup(func() { stop(); v.done.Wait() })
	return v
}

// strike kills the process at hand.
func (v *service) strike() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kill()
	v.killed++
}

// deserted is how often the process ended by itself.
func (v *service) deserted() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.starts - 1 - v.killed
}

// why shows the errors that processes ended with.
func (v *service) why(s *scene) {
	text, err := os.ReadFile(v.log)
	must(s, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "orderlog: ") {
			s.Log(strings.TrimSpace(line))
		}
	}
}

// orders runs the order pipeline in three processes, and kills them and the
// brokers while orders are placed and delivered. The log proves itself then.
func orders(s *scene) {
	registry, err := devbroker.Start(s.Context(), devbroker.Config{}) // for its registry
	must(s, err)
	s.Cleanup(func() { _ = registry.Stop() })
	at := app.Addresses{Brokers: s.kafka.Brokers(), Registry: registry.RegistryURL()}
	here := func(args ...string) []string {
		return append(args, "--brokers", strings.Join(at.Brokers, ","), "--registry", at.Registry, "-o", "json")
	}
	must(s, s.program("apply", here("topics", "apply", "--partitions", strconv.Itoa(nparts))...).run(s.Context()))
	var vs []*service
	for _, name := range []string{"x", "y", "z"} {
		vs = append(vs, s.service(s.program(name, here("run", "all", "--instance", name, "--data", filepath.Join(s.dir, name))...)))
	}
	for _, v := range vs {
		s.until("the processors run", func() any { return nil }, v.ready)
	}
	placed, perSecond := s.times(2000, 30000), s.times(100, 150)
	load := s.program("produce", here("produce", "--deliver", "--orders", strconv.Itoa(placed), "--rate", strconv.Itoa(perSecond),
		"--seed", strconv.FormatUint(s.rnd.Uint64()>>1, 10))...)
	produced := make(chan error, 1)
	go func() { produced <- load.run(s.Context()) }()
	instances, nodes := 0, 0
	for over := false; !over; {
		select {
		case err := <-produced:
			if err != nil { // what became of the orders says more than what did not come
				_ = s.program("lag", here("lag")...).run(s.Context())
				_ = s.program("verify", here("verify")...).run(s.Context())
			}
			must(s, err)
			over = true
		case <-time.After(time.Duration(500+s.rnd.IntN(4000)) * time.Millisecond): // the moment
			if s.rnd.IntN(3) < 2 {
				vs[s.rnd.IntN(len(vs))].strike()
				instances++
				continue
			}
			i := s.rnd.IntN(s.nodes)
			must(s, s.kafka.Kill(i))
			time.Sleep(time.Duration(s.rnd.IntN(4000)) * time.Millisecond)
			must(s, s.kafka.StartNode(s.Context(), i))
			s.inSync()
			nodes++
		}
	}
	crash.Settle(s, at, placed)
	deserted := 0
	for _, v := range vs {
		deserted += v.deserted()
		v.why(s)
	}
	s.note("%d orders placed and delivered at %d/s, %d instances and %d brokers killed, %d instances ended by themselves; verified",
		placed, perSecond, instances, nodes, deserted)
}
