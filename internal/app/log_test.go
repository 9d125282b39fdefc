package app_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/internal/app"
)

// TestLogNamesAGroupOnce: a processor's lines carry its group one time.
func TestLogNamesAGroupOnce(t *testing.T) {
	var out bytes.Buffer // the handler locks; read after Stop
	cfg := config(t)
	cfg.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := app.New(cfg)
	must(t, err)
	must(t, a.Start(context.Background()))
	must(t, a.Stop())
	named := 0
	for line := range strings.Lines(out.String()) {
		switch strings.Count(line, " group=") {
		case 0:
		case 1:
			named++
		default:
			t.Fatalf("twice: %s", line)
		}
	}
	if named == 0 {
		t.Error("no line names a group")
	}
}
