package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"

	"github.com/orderlog/orderlog/kgoka"
)

func neverReady(t *testing.T) (*App, *kgoka.Processor) {
	t.Helper()
	nop := func(goka.Context, any) {}
	p, err := kgoka.NewProcessor(kgoka.Config{Brokers: []string{"127.0.0.1:1"}, Instance: "x"},
		goka.DefineGroup("x", goka.Persist(kgoka.Bytes{}), goka.Input("in", kgoka.Bytes{}, nop)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	a.procs["x"] = p
	return a, p
}

// TestEndedBeforeItWasReady: a processor may be seen to have ended before its error is.
func TestEndedBeforeItWasReady(t *testing.T) {
	a, p := neverReady(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(over); err != nil {
		t.Fatal(err)
	}
	if err := a.waitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("got %v", err)
	}
}

// TestManyFailuresAtStart: processors that fail at the same time do not keep
// waitReady from telling.
func TestManyFailuresAtStart(t *testing.T) {
	a, _ := neverReady(t)
	boom := errors.New("boom")
	deadline := time.After(10 * time.Second)
	for range 2000 { // it takes a moment between two instructions
		done := make(chan error, 1)
		go func() { done <- a.waitReady(context.Background()) }()
		for ready := false; !ready; {
			select {
			case a.failed <- boom:
			default:
			}
			select {
			case err := <-done:
				if ready = true; err == nil {
					t.Fatal("it is ready")
				}
			case <-deadline:
				t.Fatal("waitReady does not return")
			default:
			}
		}
	}
}
