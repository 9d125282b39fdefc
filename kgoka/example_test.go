package kgoka_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/orderlog/orderlog/kgoka"
)

// A group counts the clicks on each page in its table and tells of each tenth;
// a view shows the table to the rest of the program.
func Example() {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "clicks", "tenths"))
	if err != nil {
		panic(err)
	}
	defer broker.Close()
	cfg := kgoka.Config{Brokers: broker.ListenAddrs(), Instance: "1", Origins: true, Log: slog.New(slog.DiscardHandler)}

	counter := goka.DefineGroup("counter",
		goka.Persist(new(codec.Int64)),
		goka.Input("clicks", new(codec.String), func(ctx goka.Context, _ any) {
			n, _ := ctx.Value().(int64)
			n++
			ctx.SetValue(n)
			if n%10 == 0 {
				ctx.Emit("tenths", ctx.Key(), n)
			}
		}),
		goka.Output("tenths", new(codec.Int64)))
	p, err := kgoka.NewProcessor(cfg, counter)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- p.Run(ctx) }() // nil once ctx has ended and the last transaction is committed

	clicks, err := kgoka.NewEmitter(cfg, "clicks", new(codec.String))
	if err != nil {
		panic(err)
	}
	for range 12 {
		if _, err := clicks.Emit("/home", "left"); err != nil {
			panic(err)
		}
	}
	if err := clicks.Finish(); err != nil {
		panic(err)
	}
	if err := p.WaitReady(ctx); err != nil { // its table is there from now on
		panic(err)
	}

	table, err := kgoka.NewView(cfg, goka.GroupTable("counter"), new(codec.Int64))
	if err != nil {
		panic(err)
	}
	go func() { ended <- table.Run(ctx) }()
	if err := table.WaitReady(ctx); err != nil {
		panic(err)
	}
	var n any
	for n != int64(12) { // what is committed arrives a moment later
		if n, err = table.Get("/home"); err != nil {
			panic(err)
		}
	}
	cancel()
	fmt.Println("/home", n, <-ended, <-ended)
	// Output: /home 12 <nil> <nil>
}
