package superstore

import (
	"bufio"
	"bytes"
	"io"
)

// maxRow is the longest row in bytes. It bounds what an opening quote that is
// never closed can swallow.
const maxRow = 64 << 10

// rows splits a CSV file as RFC 4180 has it, with LF or CRLF. A quote inside an
// unquoted field is an ordinary character. After a row that cannot be split it
// goes on with the next line of the file, even if a quoted field hid that.
type rows struct {
	line int // where the row last read begins

	src   *bufio.Reader
	err   error // that reading ended with, once it has
	ahead int   // line that is read next

	text  []byte // of the row's fields, without their quotes
	ends  []int  // of each field in text
	cells []string
}

// fault is why a row cannot be split.
type fault struct {
	field  int // index
	reason string
}

func (f *fault) Error() string { return f.reason }

func newRows(r io.Reader) *rows {
	src := bufio.NewReaderSize(r, maxRow)
	if mark, _ := src.Peek(3); string(mark) == "\ufeff" {
		src.Discard(len(mark))
	}
	return &rows{src: src, ahead: 1}
}

// next returns the fields of the next row that is not empty, valid until it is
// called again; a *fault; or what reading failed with, io.EOF at the end.
func (r *rows) next() ([]string, error) {
	for {
		n, f, err := r.find()
		if err != nil {
			return nil, err
		}
		r.line = r.ahead
		if f != nil {
			return nil, r.skipLine(f)
		}
		data, _ := r.src.Peek(n)
		blank := len(bytes.TrimRight(data, "\r\n")) == 0
		r.take(n)
		if !blank {
			return r.fields(), nil
		}
	}
}

// find looks for the end of the row, reading on as long as it needs to.
func (r *rows) find() (n int, f *fault, err error) {
	data, _ := r.src.Peek(r.src.Buffered())
	for {
		if n, f = r.split(data, r.err == io.EOF); n > 0 || f != nil {
			return n, f, nil
		}
		switch had := len(data); {
		case had == maxRow:
			return 0, &fault{len(r.ends), "the row is longer than 64 KiB: is a quote not closed?"}, nil
		case r.err != nil:
			return 0, nil, r.err
		default: // twice as much each time: what is there is split again
			data, r.err = r.src.Peek(min(max(2*had, 4096), maxRow))
		}
	}
}

// split takes the row apart that data begins with and returns its length, 0 if
// data ends within it. If this is the last data of the file, it does not.
func (r *rows) split(data []byte, last bool) (n int, f *fault) {
	r.text, r.ends = r.text[:0], r.ends[:0]
	if len(data) == 0 {
		return 0, nil
	}
	for i := 0; ; i++ { // over the comma
		quoted := i < len(data) && data[i] == '"'
		if quoted {
			i, f = r.quoted(data, i+1, last)
		} else {
			i = r.plain(data, i)
		}
		rest := data[max(i, 0):]
		if i < 0 || f != nil || !last && (len(rest) == 0 || string(rest) == "\r") {
			return 0, f
		}
		field := len(r.ends)
		r.ends = append(r.ends, len(r.text))
		switch {
		case len(rest) == 0 || rest[0] == '\n':
			return min(i+1, len(data)), nil
		case string(rest) == "\r" || bytes.HasPrefix(rest, []byte("\r\n")):
			return min(i+2, len(data)), nil
		case rest[0] != ',':
			return 0, &fault{field, "text after the closing quote"}
		}
	}
}

// plain takes an unquoted field and returns where it ends.
func (r *rows) plain(data []byte, from int) int {
	i := from
	for i < len(data) && data[i] != ',' && data[i] != '\n' {
		i++
	}
	if i > from && data[i-1] == '\r' && (i == len(data) || data[i] == '\n') {
		i--
	}
	r.text = append(r.text, data[from:i]...)
	return i
}

// quoted takes a field behind its opening quote and returns where the closing
// one is passed, -1 if data ends before that is known.
func (r *rows) quoted(data []byte, from int, last bool) (int, *fault) {
	for i := from; ; {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			if last {
				return -1, &fault{len(r.ends), "the quote is not closed"}
			}
			return -1, nil
		}
		r.text = append(r.text, data[i:i+n]...)
		i += n + 1
		if i == len(data) || data[i] != '"' {
			return i, nil
		}
		r.text = append(r.text, '"')
		i++
	}
}

// fields is what split found. They share one string.
func (r *rows) fields() []string {
	text, from := string(r.text), 0
	r.cells = r.cells[:0]
	for _, end := range r.ends {
		r.cells = append(r.cells, text[from:end])
		from = end
	}
	return r.cells
}

func (r *rows) take(n int) {
	data, _ := r.src.Peek(n)
	r.ahead += bytes.Count(data, []byte{'\n'})
	r.src.Discard(n)
}

// skipLine drops the rest of this line, however long it is, and returns f.
func (r *rows) skipLine(f *fault) error {
	for {
		_, err := r.src.ReadSlice('\n')
		switch err {
		case bufio.ErrBufferFull:
			continue
		case nil:
			r.ahead++
			return f
		case io.EOF: // the last line: the next call says so
			return f
		}
		return err
	}
}
