package cli

import (
	"strings"
	"testing"
)

func TestBenchRefuses(t *testing.T) {
	code, _, stderr := run(t, Env{}, "bench", "--broker-pid", "1")
	if code != exitUsage || !strings.Contains(stderr, "--broker-pid is for --brokers") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
