// Command orderlog takes orders, keeps them on a log and proves that it did.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/orderlog/orderlog/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(cli.Main(ctx, os.Args[1:], cli.OS()))
}
