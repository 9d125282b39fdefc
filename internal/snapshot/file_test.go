package snapshot

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func sample() []*kgo.Record {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	return []*kgo.Record{
		{Topic: "t", Partition: 2, Offset: 0, Timestamp: at(-1), Key: nil, Value: nil},
		{Topic: "t", Partition: 2, Offset: 7, Timestamp: at(1_790_000_000_000), Key: []byte{}, Value: []byte{}, Headers: []kgo.RecordHeader{{Key: "", Value: nil}, {Key: "h", Value: []byte{0}}}},
		{Topic: "t", Partition: 2, Offset: 1 << 40, Timestamp: at(0), Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 100_000)},
	}
}

// What is written is read as it was, nil and empty apart.
func TestFile(t *testing.T) {
	data, err := encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(bytes.NewReader(data), "t", 2)
	if want := sample(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
	if none, err := decode(bytes.NewReader(data[:len(data)/2]), "t", 2); err == nil {
		t.Errorf("half a file: %d records", len(none))
	}
}

// Whatever a file holds, decode returns; what it takes it writes again as it was.
func FuzzDecode(f *testing.F) {
	for _, r := range sample() {
		data, _ := encode([]*kgo.Record{r})
		z, _ := gzip.NewReader(bytes.NewReader(data))
		var raw bytes.Buffer
		_, _ = raw.ReadFrom(z)
		f.Add(raw.Bytes()[:min(raw.Len(), 100)])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var data bytes.Buffer
		z := gzip.NewWriter(&data)
		_, _ = z.Write(raw)
		z.Close()
		rs, err := decode(&data, "t", 0)
		if err != nil {
			return
		}
		again, err := encode(rs)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(bytes.NewReader(again), "t", 0); err != nil || !reflect.DeepEqual(got, rs) {
			t.Errorf("%v, %v, want %v", got, err, rs)
		}
	})
}

// A file that is not what the manifest says is found out.
func TestDamage(t *testing.T) {
	ctx := context.Background()
	fill := func(t *testing.T) (Folder, *Manifest, string) {
		to, id := Folder(t.TempDir()), "20260101T000000.000Z"
		p, err := save(ctx, to, id, &part{topic: "t"}, sample())
		if err != nil {
			t.Fatal(err)
		}
		m := &Manifest{ID: id, Topics: []Topic{{Name: "t", Parts: []Part{p}}}}
		if err := m.Check(ctx, to); err != nil {
			t.Fatal(err)
		}
		return to, m, filepath.Join(string(to), id, p.File)
	}
	for name, damage := range map[string]func(path string, m *Manifest) error{
		"a byte":        func(path string, _ *Manifest) error { return flip(path) },
		"its end":       func(path string, _ *Manifest) error { return os.Truncate(path, 20) },
		"all of it":     func(path string, _ *Manifest) error { return os.Truncate(path, 0) },
		"another count": func(_ string, m *Manifest) error { m.Topics[0].Parts[0].Records++; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			to, m, path := fill(t)
			if err := damage(path, m); err != nil {
				t.Fatal(err)
			}
			if err := m.Check(ctx, to); !errors.Is(err, ErrDamage) {
				t.Errorf("it passes for whole: %v", err)
			}
		})
	}
	to, m, path := fill(t)
	if err := errors.Join(os.Remove(path), m.Check(ctx, to)); !errors.Is(err, ErrNone) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func flip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(path, data, 0o600)
}
