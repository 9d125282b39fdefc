package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watcher is a session whose looks count, fail where they are told to, and are as
// many lines high.
func watcher(out io.Writer, in io.Reader, terminal bool, output string) *session {
	s := &session{env: Env{Stdin: in, Stdout: out, Stderr: io.Discard, StdoutTerminal: terminal, Getenv: func(string) string { return "" }}}
	s.set.output = output
	s.log = s.newLog()
	return s
}

func counting(lines int, fails ...int) func(context.Context) (view, error) {
	n := 0
	return func(context.Context) (view, error) {
		n++
		for _, f := range fails {
			if n == f {
				return view{}, errors.New("nobody there")
			}
		}
		of := n
		return view{map[string]int{"n": of}, func(w io.Writer, width int) error {
			for i := range lines {
				fmt.Fprintf(w, "look %d line %d of width %d\n", of, i, width)
			}
			return nil
		}}, nil
	}
}

// Without a terminal each look is printed; one that fails is left out.
func TestReprint(t *testing.T) {
	for _, c := range []struct{ name, output, want string }{
		{"text", outputText, "look 1 line 0 of width 0\n\nlook 3 line 0 of width 0\n"},
		{"json", outputJSON, "{\"n\":1}\n{\"n\":3}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				var out bytes.Buffer
				err := watcher(&out, nil, false, c.output).watch(ctx, time.Second, counting(1, 2))
				if err != nil || out.String() != c.want {
					t.Errorf("%v, %q, want %q", err, out.String(), c.want)
				}
			})
		})
	}
}

func TestFirstLookFails(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		err := watcher(&out, strings.NewReader(""), terminal, outputText).watch(t.Context(), time.Second, counting(1, 1))
		if err == nil || out.Len() > 0 {
			t.Errorf("error %v after %q", err, out.String())
		}
	}
}

// On a terminal views are drawn over each other, q ends it, and the screen is given
// back. What fails later is said below what is old.
func TestRedraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, keys := io.Pipe()
		defer in.Close()
		var out shared
		ended := make(chan error)
		go func() {
			ended <- watcher(&out, in, true, outputText).watch(t.Context(), time.Second, counting(30, 3))
		}()
		drawn := func(want, not string) {
			t.Helper()
			synctest.Wait()
			all := out.String()
			frame := all[strings.LastIndex(all, "\x1b[H"):]
			if !strings.Contains(frame, want) || not != "" && strings.Contains(frame, not) {
				t.Errorf("no %q, or %q, in %q", want, not, frame)
			}
			if n := strings.Count(frame, "\r\n"); n != 23 {
				t.Errorf("%d lines on a screen of 24", n+1)
			}
		}
		drawn("look 1 line 0 of width 80", "line 23")
		drawn("lines 1 to 23 of 30", "")
		io.WriteString(keys, "\x1b[Bj")
		drawn("lines 3 to 25 of 30", "look 1 line 1 ")
		time.Sleep(1100 * time.Millisecond)
		drawn("look 2 line 2 ", "look 1")
		io.WriteString(keys, " ")
		drawn("lines 8 to 30 of 30", "")
		time.Sleep(time.Second)
		drawn("old: nobody there", "")
		drawn("look 2", "")
		time.Sleep(time.Second)
		drawn("look 4", "old:")
		io.WriteString(keys, "gq")
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(out.String(), "\x1b[?1049h") || !strings.HasSuffix(out.String(), "\x1b[?1049l") {
			t.Errorf("the screen is not given back: %q", out.String())
		}
	})
}

// Who has nothing to type still sees.
func TestRedrawWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var looks atomic.Int32
		var out bytes.Buffer
		err := watcher(&out, strings.NewReader(""), true, outputText).watch(ctx, time.Second, func(ctx context.Context) (view, error) {
			looks.Add(1)
			return counting(1)(ctx)
		})
		if err != nil || looks.Load() != 2 {
			t.Errorf("%v after %d looks", err, looks.Load())
		}
	})
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		line    string
		columns int
		want    string
	}{
		{"short", 10, "short"},
		{"exactly", 7, "exactly"},
		{"too long", 3, "too"},
		{"↑↓↑↓", 2, "↑↓"},
		{"\x1b[31mred\x1b[0m and not", 5, "\x1b[31mred\x1b[0m a"},
		{"\x1b[31mred\x1b[0m", 2, "\x1b[31mre\x1b[0m"},
		{"broken \x1b[31", 20, "broken "},
	} {
		if got := clip(c.line, c.columns); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.line, c.columns, got, c.want)
		}
	}
}

func TestGrid(t *testing.T) {
	var b strings.Builder
	loud := func(s string) string { return "<" + s + ">" }
	err := grid(&b, [][]cell{
		{{text: "GROUP"}, {text: "LAG", right: true}},
		{{text: "order", paint: loud}, {text: "1,000", right: true, paint: loud}},
		{{text: "→"}, {text: "2", right: true}},
	})
	want := "GROUP    LAG\n<order>  <1,000>\n→          2\n"
	if err != nil || b.String() != want {
		t.Errorf("%v, %q, want %q", err, b.String(), want)
	}
}

func TestMeterAndSpark(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct{ got, want string }{
		{meter(0, 4), "    "},
		{meter(0.0001, 4), "▏   "},
		{meter(0.5, 4), "██  "},
		{meter(0.53, 4), "██▏ "},
		{meter(1, 4), "████"},
		{meter(7, 4), "████"},
		{spark(nil, 3), "   "},
		{spark([]float64{0, 0}, 3), " ▁▁"},
		{spark([]float64{9, 0, 4, 8}, 3), "▁▄█"},
		{spark([]float64{1, nan, 2}, 3), "▄ █"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
