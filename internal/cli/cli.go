// Package cli is the orderlog command: one file per verb. It reads flags and
// settings, calls the packages that do the work and shows what they return.
package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/cwriter"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Env is the world as a command sees it. Tests give their own.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	StdoutTerminal bool // a person looks at Stdout: colour is welcome
	StderrTerminal bool // a person looks at Stderr: progress bars are welcome

	Getenv    func(string) string
	Dir       string // where relative paths start, "" for the working folder
	ConfigDir string // where the user's settings are kept, "" if nowhere
	User      string // who types, as the operating system says; "" if it does not
	Now       func() time.Time
	Rand      io.Reader

	// Dial and Listen are the network; nil is the machine's.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Listen func(network, address string) (net.Listener, error)
}

// OS is the world that this process was started in.
func OS() Env {
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		StdoutTerminal: cwriter.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: cwriter.IsTerminal(int(os.Stderr.Fd())),
		Getenv:         os.Getenv,
		ConfigDir:      configDir(),
		User:           userName(),
		Now:            time.Now,
		Rand:           rand.Reader,
	}
}

// path is where a file is that the user names.
func (e Env) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(e.Dir, name)
}

// configDir is $XDG_CONFIG_HOME, or what the operating system has in its place.
func configDir() string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) && runtime.GOOS != "windows" {
		return dir
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return dir
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return os.Getenv("USER")
	}
	return u.Username
}

// Main runs one command line and returns its exit code: 0 done, 1 failed,
// 2 wrong use. It ends soon after ctx does.
func Main(ctx context.Context, args []string, env Env) int {
	s := &session{env: env}
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	s.end()
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	s.complain(err)
	var wrong *usageError
	if errors.As(err, &wrong) || !s.started {
		return exitUsage
	}
	return exitFailed
}

// complain writes an error for a person, and its hint if it has one.
func (s *session) complain(err error) {
	var q *quietError
	if errors.As(err, &q) {
		return
	}
	fmt.Fprintf(s.env.Stderr, "%s %v\n", s.errStyle().bad("orderlog:"), err)
	var h *hintedError
	if errors.As(err, &h) {
		fmt.Fprintf(s.env.Stderr, "%s %s\n", s.errStyle().dim("hint:"), h.hint)
	}
}

// usageError is a command line that cannot be obeyed: exit code 2.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// hintedError says what could be done about it.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// hinted adds a way out to err; an empty hint or no error adds nothing.
func hinted(err error, format string, args ...any) error {
	if err == nil || format == "" {
		return err
	}
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

// quietError fails a command whose output has already said why.
type quietError struct{ error }

func failedQuietly(why string) error { return &quietError{errors.New(why)} }

// needsVerb makes a command that only groups others.
func needsVerb(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return hinted(usagef("%s needs a command after it", cmd.CommandPath()), "%s --help lists them", cmd.CommandPath())
		}
		return unknownCommand(cmd, args[0])
	}
	return cmd
}
