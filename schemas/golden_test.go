package schemas

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/twmb/avro"
)

var update = flag.Bool("update", false, "write the golden file of each record's newest version")

// The bytes of each version of each record are kept: hex of the Avro body, one
// file per version. The newest one is what this build writes for sampleOf; every
// one of them is read as this build's record.
func TestGoldenBytes(t *testing.T) {
	everyRecord(t, func(t *testing.T, r *Record) {
		versions := history(t, r.Name)
		sample := sampleOf(r.Name)
		raw, err := r.Schema.Encode(sample)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			writeGolden(t, goldenFile(r, len(versions)), raw)
		}
		for i, text := range versions {
			kept := readGolden(t, goldenFile(r, i+1))
			if i == len(versions)-1 && !bytes.Equal(raw, kept) {
				t.Errorf("writes\n%x\nand used to write\n%x", raw, kept)
			}
			resolved, err := avro.Resolve(avro.MustParse(text), r.Schema)
			if err != nil {
				t.Fatal(err)
			}
			body := r.New()
			rest, err := resolved.Decode(kept, body)
			if err != nil || len(rest) > 0 {
				t.Errorf("version %d: %d bytes left, error %v", i+1, len(rest), err)
			}
			if i == len(versions)-1 && !reflect.DeepEqual(body, sample) {
				t.Errorf("reads %+v\nwant  %+v", body, sample)
			}
		}
	})
}

func goldenFile(r *Record, version int) string {
	return fmt.Sprintf("testdata/golden/%s.%d.hex", r.Name, version)
}

func writeGolden(t *testing.T, file string, raw []byte) {
	var text []byte
	for len(raw) > 0 {
		n := min(len(raw), 40)
		text = append(hex.AppendEncode(text, raw[:n]), '\n')
		raw = raw[n:]
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func readGolden(t *testing.T, file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(string(bytes.ReplaceAll(text, []byte("\n"), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
