package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/build"
	"github.com/orderlog/orderlog/topics"
)

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
	var v build.Info
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
