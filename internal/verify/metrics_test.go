package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestWriteMetrics(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "orderlog.prom")
	r := Report{Checks: []Check{{Name: "stock", Failed: 3}, {Name: "dead letters", OK: true}, {Name: "effects", OK: true, Skipped: "of the past"}}}
	for _, want := range []string{"orderlog_verify_ok 0\n", "orderlog_verify_ok 1\n"} { // the second replaces the first
		if err := r.WriteMetrics(file, time.UnixMilli(1_700_000_000_500)); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{want, "orderlog_verify_last_run_timestamp_seconds 1.7000000005e+09\n",
			"orderlog_verify_violations{check=\"stock\"} 3\n", "orderlog_verify_violations{check=\"dead letters\"} 0\n"} {
			if !strings.Contains(string(text), line) {
				t.Errorf("no line %q in\n%s", line, text)
			}
		}
		if strings.Contains(string(text), "effects") {
			t.Errorf("a check that was not made is told:\n%s", text)
		}
		if problems, err := promlint.New(strings.NewReader(string(text))).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		r.OK = true
	}
	if err := r.WriteMetrics(filepath.Join(dir, "missing", "x.prom"), time.Now()); err == nil {
		t.Error("written to a folder that is not there")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
