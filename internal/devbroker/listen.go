package devbroker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// ports is what addresses.json remembers from one start to the next.
type ports struct {
	Broker   int `json:"broker"`
	Registry int `json:"registry"`
}

// listenBoth opens the broker's and the registry's listener and remembers their
// ports in the data folder.
func listenBoth(cfg Config) (kafka, registry net.Listener, err error) {
	listen := cfg.Listen
	if listen == nil {
		listen = net.Listen
	}
	last := readPorts(cfg.Dir)
	if kafka, err = listenOn(listen, "broker", cfg.Port, last.Broker, 9092); err != nil {
		return nil, nil, err
	}
	if registry, err = listenOn(listen, "schema registry", cfg.RegistryPort, last.Registry, 8081); err != nil {
		kafka.Close()
		return nil, nil, err
	}
	if err = writePorts(cfg.Dir, ports{portOf(kafka), portOf(registry)}); err != nil {
		kafka.Close()
		registry.Close()
		return nil, nil, err
	}
	return kafka, registry, nil
}

// listenOn takes the wanted port; else the last one or, if that is taken, a free one.
func listenOn(listen func(network, address string) (net.Listener, error), who string, want, last, fixed int) (net.Listener, error) {
	if want == 0 && last != 0 {
		if ln, err := listen("tcp", address(last)); err == nil {
			return ln, nil
		}
	}
	ln, err := listen("tcp", address(want))
	if err == nil && portOf(ln) == 0 { // a network without free ports
		ln.Close()
		ln, err = listen("tcp", address(fixed))
	}
	if err != nil {
		return nil, fmt.Errorf("listening for the %s: %w", who, err)
	}
	return ln, nil
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func hostPort(ln net.Listener) string { return address(portOf(ln)) }

func portOf(ln net.Listener) int {
	_, p, _ := net.SplitHostPort(ln.Addr().String())
	n, _ := strconv.Atoi(p)
	return n
}

// readPorts answers zeros where nothing is remembered: it is only a wish.
func readPorts(dir string) (p ports) {
	if dir != "" {
		if raw, err := os.ReadFile(filepath.Join(dir, "addresses.json")); err == nil {
			_ = json.Unmarshal(raw, &p)
		}
	}
	return p
}

func writePorts(dir string, p ports) error {
	if dir == "" {
		return nil
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "addresses.json"), append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("remembering ports: %w", err)
	}
	return nil
}

// listener hands connections to kfake and can drop them all at once, so that an
// answer that is already on its way does not leave.
type listener struct {
	net.Listener
	mu    sync.Mutex
	conns map[*conn]struct{} // nil once aborted
}

type conn struct {
	net.Conn
	of *listener
}

func newListener(ln net.Listener) *listener {
	return &listener{Listener: ln, conns: map[*conn]struct{}{}}
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		c.Close()
		return nil, errors.New("listener closed")
	}
	wrapped := &conn{c, l}
	l.conns[wrapped] = struct{}{}
	return wrapped, nil
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// abort closes the listener and every connection; safe twice.
func (l *listener) abort() {
	l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Conn.Close()
	}
	l.conns = nil
}
