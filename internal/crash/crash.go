// Package crash looks at what is left after orderlog was killed. Its own test kills
// `orderlog up` at random moments and compares that with a run that nobody disturbed.
package crash

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/track"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/schemas"
)

// Settle waits until so many orders are delivered and nothing moves, has the log
// prove itself and reads it. The processors must run.
func Settle(t testing.TB, at app.Addresses, orders int) content.Content {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	opts, serde := reach(at), serde(t, at)
	tracker, err := track.Start(opts, "", time.Now)
	must(t, err)
	defer tracker.Stop()
	_, err = tracker.Wait(ctx, func(s map[string]int) bool { return s[schemas.Delivered] >= orders })
	must(t, err)
	c, err := client.New(client.Config{Opts: opts, Serde: serde})
	must(t, err)
	defer c.Close()
	must(t, c.WaitRead(ctx, app.Names()...))
	report, err := verify.Run(ctx, verify.Config{Client: opts, Serde: serde, Wait: time.Minute})
	must(t, err)
	t.Logf("%v, verify ok: %v", tracker.States(), report.OK)
	if !report.OK {
		report.Text(t.Output(), false)
		t.Error("the log does not hold")
	}
	all, err := content.Read(ctx, opts, serde, "")
	must(t, err)
	return all
}

func reach(at app.Addresses) []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(at.Brokers...)} }

func serde(t testing.TB, at app.Addresses) *schemas.Serde {
	t.Helper()
	s, err := schemas.NewSerde(t.Context(), schemas.SerdeConfig{Registry: at.Registry, HTTPClient: http.DefaultClient})
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
