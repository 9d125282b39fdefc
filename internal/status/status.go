// Package status is a picture of one process of orderlog without anything beside it:
// a sample a second of what matters, kept for some minutes, as JSON and as a page. It
// reads what the process tells Prometheus and counts nothing itself.
package status

import (
	"time"

	"github.com/orderlog/orderlog/internal/figure"
)

// Figure is what samples are made of.
type Figure = figure.Figure

var unknown = figure.Unknown()

// Status is what /status.json says.
type Status struct {
	Now  Sample   `json:"now"`
	Past []Sample `json:"past,omitempty"` // those after the moment asked for, oldest first, Now the last of them
}

// Sample is how things stand at one moment. Rates and latencies are of the Window
// before it. Orders and states are of the partitions that this process has; lags, dead
// letters and the downtime are of the cluster.
type Sample struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Uptime  Figure    `json:"uptime_seconds"`

	Orders      Orders      `json:"orders"`
	States      []State     `json:"states"` // in the order in which an order has them; as last counted
	Processors  []Processor `json:"processors"`
	Calendar    Calendar    `json:"calendar"`
	DeadLetters DeadLetters `json:"dead_letters"`
	Effects     []Endpoint  `json:"effects"`
	Downtime    *Downtime   `json:"safe_downtime"` // the shortest; null: not known, or all for ever
	Problems    []Problem   `json:"problems"`      // the worst first; none: all is well

	counted map[string]Figure // how long ago, by what
}

// Behind is the lag in seconds of the processor that is furthest behind.
func (s *Sample) Behind() Figure {
	worst := unknown
	for _, p := range s.Processors {
		if p.Behind.Known() {
			worst = max(p.Behind, worst.Or(0))
		}
	}
	return worst
}

// Orders is how they flow.
type Orders struct {
	Placed   Figure `json:"placed_per_second"`
	Invoiced Figure `json:"invoiced_per_second"`
	Rejected Figure `json:"rejected_per_second"`
	P50      Figure `json:"invoiced_after_p50_seconds"` // placed to invoiced
	P99      Figure `json:"invoiced_after_p99_seconds"`
	Oldest   Figure `json:"oldest_open_seconds"` // since the oldest open order was placed
}

// State is how many orders are in it.
type State struct {
	Name   string `json:"name"`
	Orders Figure `json:"orders"`
}

// Processor is one of them, here or elsewhere.
type Processor struct {
	Name         string `json:"name"`
	Here         bool   `json:"here"`  // in this process, which alone tells rates
	State        string `json:"state"` // of its group: Stable, Empty ...; "" if not known
	In           Figure `json:"in_per_second"`
	Out          Figure `json:"out_per_second"`
	Transactions Figure `json:"transactions_per_second"`
	Aborts       Figure `json:"aborts_per_second"`
	Aborted      Figure `json:"aborted"`           // since it started
	Recovering   int    `json:"tables_recovering"` // partitions of tables that must be read before it goes on
	Left         Figure `json:"recovery_seconds_left"`
	Lag          Figure `json:"lag_records"`
	Behind       Figure `json:"lag_seconds"`
	CatchUp      Figure `json:"catch_up_seconds"` // "+Inf": it does not

	commits Figure // per second: batches that wrote nothing, which take no transaction
}

// Calendar is what waits for its time.
type Calendar struct {
	Parked    Figure `json:"parked"`
	Paused    Figure `json:"paused"` // of both
	Deadlines Figure `json:"deadlines"`
	Overdue   Figure `json:"overdue"`                // due, not paused, and still there
	Oldest    Figure `json:"oldest_overdue_seconds"` // since the oldest of those was due, 0 if there is none
}

// DeadLetters are those that nobody has dealt with.
type DeadLetters struct {
	Open   Figure `json:"open"`
	Oldest Figure `json:"oldest_seconds"` // 0 if there is none
}

// Endpoint is who is told by mails or webhooks.
type Endpoint struct {
	Name    string `json:"name"`
	Sent    Figure `json:"sent_per_second"`
	Failed  Figure `json:"failed"` // since the start
	Pending Figure `json:"pending"`
	Oldest  Figure `json:"oldest_pending_seconds"`
}

// Downtime is how long a group may stay down before something that it needs is gone.
type Downtime struct {
	Group string `json:"group"`
	Topic string `json:"topic"`
	Left  Figure `json:"seconds"`
}
