package kafka

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	osruntime "runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// node is one process, broker and controller both, and what is needed to start
// it again. Its folder and its ports stay.
type node struct {
	dir        string
	heap       string
	rt         runtime
	kafka      string // host:port of its listeners
	controller string
	behind     string // what the proxy connects to; "" without one
	proxy      *Proxy

	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone
}

// configure writes the node's settings and formats its folder.
func (n *node) configure(id int, clusterID, voters string, settings map[string]string) error {
	all := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        fmt.Sprint(id),
		"controller.quorum.voters":       voters,
		"controller.listener.names":      "CONTROLLER",
		"inter.broker.listener.name":     "PLAINTEXT",
		"listeners":                      "PLAINTEXT://" + n.kafka + ",CONTROLLER://" + n.controller,
		"advertised.listeners":           "PLAINTEXT://" + n.kafka,
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXY:PLAINTEXT",
		"log.dirs":                       filepath.Join(n.dir, "data"),
	}
	if n.proxy != nil {
		all["listeners"] += ",PROXY://" + n.behind
		all["advertised.listeners"] += ",PROXY://" + n.proxy.Addr()
	}
	maps.Copy(all, settings)
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s=%s\n", k, all[k])
	}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(n.settings(), []byte(text.String()), 0o644); err != nil {
		return err
	}
	cmd := n.rt.command(context.Background(), "128m", "WARN", "kafka.tools.StorageTool", "format", "--cluster-id", clusterID, "--config", n.settings())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting node %d: %w\n%s", id, err, out)
	}
	return nil
}

func (n *node) settings() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) log() string      { return filepath.Join(n.dir, "server.log") }

// start starts the process. The goroutine that starts it keeps its thread until
// the process is gone: the kernel takes the end of the thread for the death of
// the parent.
func (n *node) start() error {
	log, err := os.OpenFile(n.log(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := n.rt.command(context.Background(), n.heap, "INFO", "kafka.Kafka", n.settings())
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd)
	started, done := make(chan error), make(chan struct{})
	go func() {
		osruntime.LockOSThread()
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	n.cmd, n.done = cmd, done
	return nil
}

// running says whether the process lives.
func (n *node) running() bool {
	if n.done == nil {
		return false
	}
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// end sends a signal and waits until the process is gone; one that takes longer
// than patience is killed.
func (n *node) end(s os.Signal, patience time.Duration) error {
	if !n.running() {
		return nil
	}
	if err := n.cmd.Process.Signal(s); err != nil {
		return err
	}
	select {
	case <-n.done:
		return nil
	case <-time.After(patience):
	}
	err := fmt.Errorf("%s did not end it in %s: killed", s, patience)
	_ = n.cmd.Process.Kill()
	<-n.done
	return err
}

// complaints are the last lines of the node's log that are more than information.
func (n *node) complaints(most int) string {
	text, err := os.ReadFile(n.log())
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, " INFO ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-most):], "")
}

// command runs a class of the jars.
func (rt runtime) command(ctx context.Context, heap, logLevel, class string, args ...string) *exec.Cmd {
	jvm := []string{"-Xmx" + heap, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=" + logLevel,
		"-cp", filepath.Join(rt.jars, "*"), class}
	return exec.CommandContext(ctx, rt.java, append(jvm, args...)...)
}

var portsTaken atomic.Int64

// freeAddr finds a port that stays free while its node is down: below those that
// the system gives to outgoing connections, and in a range of this process's own.
func freeAddr() (string, error) {
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+(int64(os.Getpid())*32+portsTaken.Add(1))%12000)
		if ln, err := net.Listen("tcp", addr); err == nil {
			return addr, ln.Close()
		}
	}
	return "", fmt.Errorf("no free port between 20000 and 32000")
}
