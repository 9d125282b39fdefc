package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// view is one look at something that moves.
type view struct {
	value any                                // -o json prints it, a line for each look
	text  func(w io.Writer, width int) error // for a person, in width columns: what is longer is cut; 0: as wide as it likes
}

// looked is what came of one look.
type looked struct {
	view
	err error
}

// watch looks every so often and shows what it sees, until ctx ends: on a terminal in
// place, until q is pressed; elsewhere one view below the other. If the first look
// fails, so does watch; a later one is tried again.
func (s *session) watch(ctx context.Context, every time.Duration, look func(context.Context) (view, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	looks := make(chan looked)
	var looking sync.WaitGroup
	looking.Go(func() { repeat(ctx, every, look, looks) })
	defer looking.Wait()
	defer cancel()
	var first looked
	select {
	case first = <-looks:
	case <-ctx.Done():
		return nil
	}
	switch {
	case first.err != nil:
		return first.err
	case s.json() || !s.env.StdoutTerminal || s.env.Getenv("TERM") == "dumb":
		return s.reprint(ctx, first, looks)
	}
	return s.redraw(ctx, first, looks)
}

func repeat(ctx context.Context, every time.Duration, look func(context.Context) (view, error), looks chan<- looked) {
	for {
		v, err := look(ctx)
		select {
		case looks <- looked{v, err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
	}
}

// reprint leaves an empty line between views.
func (s *session) reprint(ctx context.Context, l looked, looks <-chan looked) error {
	for between := ""; ; {
		if l.err != nil {
			s.log.Warn("cannot look now, trying again", "error", l.err)
		} else if err := s.line(l.value, func(w io.Writer) error {
			if _, err := io.WriteString(w, between); err != nil {
				return err
			}
			return l.text(w, 0)
		}); err != nil {
			return err
		}
		between = "\n"
		select {
		case l = <-looks:
		case <-ctx.Done():
			return nil
		}
	}
}

// resizeEvery is how often the terminal is asked how large it is: not every
// operating system tells.
const resizeEvery = 200 * time.Millisecond

// redraw takes the whole terminal, and leaves it as it was.
func (s *session) redraw(ctx context.Context, now looked, looks <-chan looked) error {
	restore := s.rawKeys()
	defer restore()
	const enter, leave = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l" // another screen, without cursor
	io.WriteString(s.env.Stdout, enter)
	defer io.WriteString(s.env.Stdout, leave)
	keys := readKeys(ctx, s.env.Stdin)
	sc := screen{style: s.outStyle()}
	sc.columns, sc.rows = s.size()
	for resized := time.Tick(resizeEvery); ; {
		if err := sc.draw(s.env.Stdout, now); err != nil {
			return err
		}
	waiting:
		select {
		case l := <-looks:
			if now.err = l.err; l.err == nil {
				now = l
			}
		case k, more := <-keys:
			if !more {
				keys = nil // nobody types; the clock and ctx go on
			}
			if k == keyQuit {
				return nil
			}
			sc.move(k)
		case <-resized:
			columns, rows := s.size()
			if columns == sc.columns && rows == sc.rows {
				goto waiting
			}
			sc.columns, sc.rows = columns, rows
		case <-ctx.Done():
			return nil
		}
	}
}

// size is the terminal's, as far as it can be told.
func (s *session) size() (columns, rows int) {
	if f, ok := s.env.Stdout.(*os.File); ok {
		if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && rows > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// rawKeys has keys come as they are pressed. What it returns undoes that.
func (s *session) rawKeys() (restore func()) {
	f, ok := s.env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	before, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return func() {} // they come after Enter, then
	}
	return func() { term.Restore(int(f.Fd()), before) }
}

type key int

const (
	keyNone key = iota
	keyQuit
	keyUp
	keyDown
	keyPageUp
	keyPageDown
	keyHome
)

// pressed are the bytes that keys send, of those that are heeded.
var pressed = map[string]key{
	"q": keyQuit, "Q": keyQuit, "\x03": keyQuit,
	"k": keyUp, "\x1b[A": keyUp, "\x1bOA": keyUp,
	"j": keyDown, "\x1b[B": keyDown, "\x1bOB": keyDown,
	"\x1b[5~": keyPageUp, " ": keyPageDown, "\x1b[6~": keyPageDown,
	"g": keyHome, "\x1b[H": keyHome, "\x1b[1~": keyHome,
}

// readKeys reads until r or ctx ends. Nothing can end a read of a terminal: the
// goroutine may stay in it, and the process ends soon.
func readKeys(ctx context.Context, r io.Reader) <-chan key {
	keys := make(chan key)
	go func() {
		defer close(keys)
		typed := make([]byte, 64)
		for {
			n, err := r.Read(typed)
			for rest := string(typed[:n]); rest != ""; {
				k, size := firstKey(rest)
				rest = rest[size:]
				select {
				case keys <- k:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return keys
}

// firstKey returns what was typed first and how many bytes that takes.
func firstKey(typed string) (key, int) {
	for bytes, k := range pressed { // none begins another
		if strings.HasPrefix(typed, bytes) {
			return k, len(bytes)
		}
	}
	return keyNone, 1
}

// screen is the part of a view that a terminal has room for.
type screen struct {
	style
	columns, rows int
	top           int // first line shown
	lines         int // there were, when it was drawn last
}

// room is what the last line leaves, which says how to leave.
func (sc *screen) room() int { return max(1, sc.rows-1) }

func (sc *screen) move(k key) {
	page := sc.room()
	by := map[key]int{keyUp: -1, keyDown: 1, keyPageUp: -page, keyPageDown: page, keyHome: -sc.lines}[k]
	sc.top = max(0, min(sc.top+by, sc.lines-page))
}

// draw writes over what is there, all at once, so that nothing flickers.
func (sc *screen) draw(out io.Writer, now looked) error {
	var text strings.Builder
	if err := now.text(&text, sc.columns); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	sc.lines = len(lines)
	sc.move(keyNone)
	end := min(len(lines), sc.top+sc.room())
	last := sc.dim("q quits")
	if len(lines) > sc.room() {
		last += sc.dim(fmt.Sprintf("  ↑↓ lines %d to %d of %d", sc.top+1, end, len(lines)))
	}
	if now.err != nil {
		last += "  " + sc.bad("old: "+strings.ReplaceAll(now.err.Error(), "\n", " "))
	}
	// What is erased is erased before it is written: behind the last column it would take that along.
	const begin, home, line, rest, commit = "\x1b[?2026h", "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[?2026l"
	var b bytes.Buffer
	b.WriteString(begin + home)
	for _, l := range lines[sc.top:end] {
		b.WriteString(line + clip(l, sc.columns) + "\r\n")
	}
	b.WriteString(rest + clip(last, sc.columns) + commit)
	_, err := out.Write(b.Bytes())
	return err
}

// clip cuts a line to so many columns, and lets colours through.
func clip(line string, columns int) string {
	var b strings.Builder
	for line != "" {
		if strings.HasPrefix(line, "\x1b[") {
			end := strings.IndexByte(line, 'm') + 1
			b.WriteString(line[:end])
			line = line[end:]
			if end == 0 {
				break
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(line)
		if columns--; columns >= 0 {
			b.WriteRune(r)
		}
		line = line[size:]
	}
	return b.String()
}

// cell is one of a grid. Paint colours it, once its width is known; nil: not.
type cell struct {
	text  string
	right bool // against the right edge of its column, as numbers are
	paint func(string) string
}

// numeral is a cell with a number.
func numeral(text string) cell { return cell{text: text, right: true} }

// heading is the first row of a grid; > before a name has it stand over numbers.
func heading(paint func(string) string, names ...string) (row []cell) {
	for _, name := range names {
		text, right := strings.CutPrefix(name, ">")
		row = append(row, cell{text, right, paint})
	}
	return row
}

// grid prints rows in columns, two blanks between them.
func grid(w io.Writer, rows [][]cell) error {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			text := c.text
			if c.paint != nil && text != "" {
				text = c.paint(text)
			}
			if c.right {
				line.WriteString(pad + text)
			} else {
				line.WriteString(text + pad)
			}
			line.WriteString("  ")
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// meter is a bar of so many columns, share of it filled, to an eighth of a column.
func meter(share float64, columns int) string {
	eighths := int(min(max(share, 0), 1)*float64(columns*8) + 0.5)
	if share > 0 && eighths == 0 {
		eighths = 1 // something is not nothing
	}
	bar := strings.Repeat("█", eighths/8)
	if eighths%8 > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[eighths%8-1])
	}
	return bar + strings.Repeat(" ", columns-utf8.RuneCountInString(bar))
}

// spark draws values as a line of small columns, the last ones that there is room for,
// against the largest of them. What is not known (NaN) is left out.
func spark(values []float64, columns int) string {
	values = values[max(0, len(values)-columns):]
	most := 0.0
	for _, v := range values {
		if v == v {
			most = max(most, v)
		}
	}
	line := []rune(strings.Repeat(" ", columns-len(values)))
	for _, v := range values {
		switch {
		case v != v:
			line = append(line, ' ')
		case most == 0:
			line = append(line, '▁')
		default:
			line = append(line, []rune("▁▂▃▄▅▆▇█")[int(max(v, 0)/most*7.999)])
		}
	}
	return string(line)
}
