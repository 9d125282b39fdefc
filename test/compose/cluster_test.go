package compose

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/test/kafka"
)

// TestCluster runs what the compose file says, each service as a process: three
// nodes of Kafka with its settings, its commands, and its health checks. Only
// addresses and folders are others, and the registry is the embedded one.
func TestCluster(t *testing.T) {
	if !kafka.Wanted() {
		t.Skip("needs Apache Kafka: set ORDERLOG_TEST_KAFKA=1")
	}
	all := services(t)
	settings := serverProperties(t, kafkas(all))
	nodes := kafka.Run(t, kafka.Options{Nodes: 3, Config: settings})
	checkSettings(t, nodes, settings)
	registry, err := devbroker.Start(t.Context(), devbroker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Stop()
	p := &place{t: t, binary: build(t), brokers: nodes.Brokers(), registry: registry.RegistryURL()}

	for i, s := range kafkas(all) {
		p.healthy(s, "127.0.0.1:9092", nodes.Brokers()[i])
	}
	p.healthy(all["registry"], "http://127.0.0.1:8081", registry.RegistryURL())

	p.run(all["topics"], all["topics"].Command...)
	var instances []*instance
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if s := all[name]; ours(s) && lasting(s) {
			instances = append(instances, p.start(s))
		}
	}
	for _, i := range instances {
		i.waitHealthy()
	}
	any := instances[0].service
	p.run(any, "produce", "--orders", "300", "--deliver", "--cancels", "0.05", "--duplicates", "0.05")
	p.run(any, "verify")
	out := p.run(any, "doctor")
	for _, want := range []string{"3 of 3 brokers answer", "all 3 controllers keep up", "all its copies in sync", "topics are as the catalogue says, with 8 partitions each",
		"every group has members and a stable assignment", "nothing is wrong"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}

	// Any one node and any one instance may fail.
	if err := nodes.Kill(2); err != nil {
		t.Fatal(err)
	}
	instances[1].kill()
	p.run(any, "produce", "--orders", "300", "--seed", "2", "--deliver")
	p.run(any, "verify")
	for _, i := range []*instance{instances[0], instances[2]} {
		i.stop()
	}
}

// Settings that are addresses, folders or names of this very cluster.
var addresses = []string{"node.id", "process.roles", "listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name",
	"controller.listener.names", "controller.quorum.voters", "log.dirs"}

// serverProperties has the code that the image runs make each node's settings of
// its environment, and format its folder, which refuses what does not go
// together. It returns those that all nodes share.
func serverProperties(t *testing.T, nodes []types.ServiceConfig) map[string]string {
	t.Helper()
	var shared map[string]string
	for _, s := range nodes {
		dir := t.TempDir()
		for _, d := range []string{"default", "mounted", "final"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []string{"default/server.properties", "default/log4j2.yaml", "default/tools-log4j2.yaml", "final/server.properties"} {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd, err := kafka.Command(t.Context(), "kafka.docker.KafkaDockerWrapper", "setup", "-D", filepath.Join(dir, "default"),
			"-M", filepath.Join(dir, "mounted"), "-F", filepath.Join(dir, "final"))
		if errors.Is(err, kafka.ErrUnavailable) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		env := environment(s)
		env["KAFKA_LOG_DIRS"] = filepath.Join(dir, "data")
		delete(env, "KAFKA_HEAP_OPTS") // for the JVM alone
		cmd.Env = os.Environ()
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, out)
		}
		common := readProperties(t, filepath.Join(dir, "final/server.properties"))
		for _, name := range addresses {
			if common[name] == "" {
				t.Errorf("%s: %s is missing", s.Name, name)
			}
			delete(common, name)
		}
		if shared != nil && !maps.Equal(shared, common) {
			t.Errorf("%s has the settings %v, another node %v", s.Name, common, shared)
		}
		shared = common
	}
	return shared
}

func readProperties(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			all[name] = value
		}
	}
	return all
}

// checkSettings asks the nodes what they have understood: of a setting that they
// do not know they do not tell the value.
func checkSettings(t *testing.T, c *kafka.Cluster, want map[string]string) {
	t.Helper()
	adm, err := kadm.NewOptClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	configs, err := adm.DescribeBrokerConfigs(t.Context(), 1, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range configs {
		got := map[string]string{}
		for _, c := range node.Configs {
			got[c.Key] = c.MaybeValue()
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("node %s: %s is %q, want %q: does Kafka know it?", node.Name, name, got[name], value)
			}
		}
	}
}

// build runs the Dockerfile's own build line, with another output.
func build(t *testing.T) string {
	t.Helper()
	line := regexp.MustCompile(`^(.*go build.*)-o (\S+)(.*)$`)
	out := filepath.Join(t.TempDir(), "orderlog")
	for _, i := range dockerfile(t) {
		m := line.FindStringSubmatch(i.rest)
		if i.word != "RUN" || m == nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", m[1]+"-o "+out+m[3])
		cmd.Dir = root
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", i.rest, err, text)
		}
		checkStatic(t, out)
		return out
	}
	t.Fatal("the Dockerfile builds nothing")
	return ""
}

// checkStatic wants a binary that runs where there is nothing else.
func checkStatic(t *testing.T, binary string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary wants a dynamic linker")
		}
	}
}

// place is where the services of orderlog run in this test.
type place struct {
	t        *testing.T
	binary   string
	brokers  []string
	registry string
}

// command is a service's command, or another one in the same environment.
func (p *place) command(ctx context.Context, s types.ServiceConfig, args ...string) *exec.Cmd {
	env := environment(s)
	env["ORDERLOG_BROKERS"], env["ORDERLOG_REGISTRY"] = strings.Join(p.brokers, ","), p.registry
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Dir = p.t.TempDir()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// patience is how long anything here may take on a busy machine.
const patience = 2 * time.Minute

func (p *place) run(s types.ServiceConfig, args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	out, err := p.command(ctx, s, args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("orderlog %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// healthy runs a service's health check as it stands there, with another address.
func (p *place) healthy(s types.ServiceConfig, address, with string) {
	p.t.Helper()
	if strings.HasPrefix(with, "127.") { // /dev/tcp/HOST/PORT
		address, with = strings.Replace(address, ":", "/", 1), strings.Replace(with, ":", "/", 1)
	}
	args := healthCommand(p.t, s)
	if _, err := exec.LookPath(args[0]); err != nil {
		p.t.Logf("%s: no %s here, its health check is not run", s.Name, args[0])
		return
	}
	check := func(with string) error {
		last := strings.Replace(args[len(args)-1], address, with, 1)
		if last == args[len(args)-1] {
			p.t.Fatalf("%s: health check %v does not ask %s", s.Name, args, address)
		}
		ctx, cancel := context.WithTimeout(p.t.Context(), time.Duration(*s.HealthCheck.Timeout))
		defer cancel()
		out, err := exec.CommandContext(ctx, args[0], append(slices.Clone(args[1:len(args)-1]), last)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	if err := check(with); err != nil {
		p.t.Errorf("%s: health check %v fails: %v", s.Name, args, err)
	}
	nobody := strings.NewReplacer("127.0.0.1", "127.0.0.9").Replace(with)
	if err := check(nobody); err == nil {
		p.t.Errorf("%s: health check %v finds somebody at %s, where nobody is", s.Name, args, nobody)
	}
}

// instance is a running service of orderlog.
type instance struct {
	*place
	service types.ServiceConfig
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // how it ended, once done is closed
}

func (p *place) start(s types.ServiceConfig) *instance {
	p.t.Helper()
	vars := map[string]string{"ORDERLOG_DATA": p.t.TempDir(), "ORDERLOG_HTTP": freeAddress(p.t)}
	s.Environment = maps.Clone(s.Environment)
	for name, value := range vars {
		s.Environment[name] = &value
	}
	i := &instance{place: p, service: s, cmd: p.command(context.Background(), s, s.Command...), done: make(chan struct{})}
	var log bytes.Buffer
	i.cmd.Stdout, i.cmd.Stderr = io.Discard, &log
	if err := i.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		i.err = i.cmd.Wait()
		close(i.done)
	}()
	p.t.Cleanup(func() {
		_ = i.cmd.Process.Kill() // it may be gone
		<-i.done
		if p.t.Failed() {
			text := log.String()
			p.t.Logf("%s, end of its log:\n%s", s.Name, text[max(0, len(text)-8<<10):])
		}
	})
	return i
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitHealthy runs the service's health check until it succeeds.
func (i *instance) waitHealthy() {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), time.Duration(*i.service.HealthCheck.StartPeriod))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := i.command(ctx, i.service, healthCommand(i.t, i.service)[1:]...).CombinedOutput()
		if err == nil {
			return
		}
		select {
		case <-i.done:
			i.t.Fatalf("%s ended: %v", i.service.Name, i.err)
		case <-ctx.Done():
			i.t.Fatalf("%s is not healthy: %v\n%s", i.service.Name, err, out)
		case <-tick.C:
		}
	}
}

func (i *instance) kill() {
	_ = i.cmd.Process.Kill()
	<-i.done
}

// stop has the instance finish what it does, as long as the compose file lets it.
func (i *instance) stop() {
	i.t.Helper()
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		i.t.Error(err)
	}
	select {
	case <-i.done:
	case <-time.After(time.Duration(*i.service.StopGracePeriod)):
		i.t.Errorf("%s did not end in time", i.service.Name)
		return
	}
	if i.err != nil {
		i.t.Errorf("%s ended with %v", i.service.Name, i.err)
	}
}
