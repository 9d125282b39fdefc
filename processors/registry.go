// Package processors is the list of orderlog's processors, one line each. The
// rules are in the packages below it; graph puts them on a log.
package processors

import (
	"github.com/orderlog/orderlog/processors/credit"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/invoicing"
	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/processors/voucher"
)

// Config is what the rules can be told.
type Config struct {
	Series       string // of invoices: "A" gives A-2026-000001
	OpeningLimit int64  // credit of a customer who is new, minor units

	Notification notification.Config // who is told of events; zero: nobody
}

// All returns every processor.
func All(cfg Config) []graph.Rule {
	return []graph.Rule{
		graph.Of(order.New(order.Config{Series: cfg.Series})),
		graph.Of(inventory.New()),
		graph.Of(credit.New(credit.Config{OpeningLimit: cfg.OpeningLimit})),
		graph.Of(invoicing.New()),
		graph.Of(voucher.New()),
		graph.Of(notification.New(cfg.Notification)),
	}
}
