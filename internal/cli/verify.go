package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/verify"
)

func newVerify(s *session) *cobra.Command {
	var cfg verify.Config
	var at, checkpoint, key, metrics string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that nothing was lost and nothing done twice, or say what was",
		Long: `Reads the order log and the commands, computes from them alone what stock, credit,
invoices and vouchers must be, and compares that with what the processors wrote. It
fails if anything differs, and names the orders concerned. It waits until the log
stands still; while orders are in flight it answers with bounds and says so.

With --at it looks at the books as of then: at a time, or where logs ended. What an
earlier ` + "`orderlog verify -o json`" + ` printed is such a moment, too. Orders' amounts and history
can be checked of any time, as far as compaction has left them; orders, stock, credit,
invoices and vouchers as long as it has left every order's version of then, and product
by product, customer by customer, where it has left the row. Effects, and what was
parked, cannot: the log does not say when they were handled. What a group had read then
is known from what it wrote; what moved within half a minute has bounds.

With --checkpoint it goes on from what an earlier run has folded and left in FILE, and
leaves what the next run needs. All checks are made, of all orders; only the reading is
spared. The file is signed: one that was changed is refused, and so is one of another
log. Commands and dead letters that are past their retention are still known.

With --metrics-file it leaves what it found for node_exporter's textfile collector, so
that Prometheus can tell somebody: see docs/runbooks/verify-failed.md.`,
		Args: nothing(),
		Example: example("orderlog verify", "orderlog verify --wait 2m -o json",
			"orderlog verify --at 2026-01-31T08:00:00Z", "orderlog verify --at order-table:0=1200,order-table:1=1187",
			"orderlog verify --checkpoint books.checkpoint", "orderlog verify --metrics-file /var/lib/node_exporter/orderlog.prom"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Wait < 0 || cfg.StuckAfter <= 0 {
				return usagef("--wait and --stuck-after want a time to come")
			}
			if at != "" && checkpoint != "" {
				return usagef("--checkpoint is of now: it does not go with --at")
			}
			if at != "" && metrics != "" {
				return usagef("--metrics-file is of now: it does not go with --at")
			}
			if key != "" && checkpoint == "" {
				return usagef("--checkpoint-key is of a --checkpoint")
			}
			if at != "" {
				var err error
				if cfg.At, err = s.verifyAt(at); err != nil {
					return err
				}
			}
			if checkpoint != "" {
				var err error
				if cfg.Checkpoint, err = s.checkpoint(checkpoint, key); err != nil {
					return err
				}
			}
			return s.verify(cmd.Context(), cfg, metrics)
		},
	}
	fs := cmd.Flags()
	fs.DurationVar(&cfg.Wait, "wait", 20*time.Second, "how long to wait until nothing is in flight")
	fs.DurationVar(&cfg.StuckAfter, "stuck-after", 5*time.Minute, "an order that has waited so long for a verdict is stuck")
	fs.Var(newMoney(&cfg.OpeningLimit, 100_000), "opening-credit", "credit of a customer who is new, as orderlog run has it, `AMOUNT`")
	fs.StringVar(&at, "at", "", "the books as of then: a time, OFFSETS as TOPIC:PARTITION=OFFSET,..., or a file of them or of a report: `MOMENT`")
	fs.StringVar(&checkpoint, "checkpoint", "", "go on from `FILE`, and leave there what the next run needs")
	fs.StringVar(&key, "checkpoint-key", "", "sign it with what is in `FILE`, 32 bytes or more (default the checkpoint's name and .key; made where neither is there)")
	fs.StringVar(&metrics, "metrics-file", "", "leave what was found in `FILE`, as metrics, and replace it whole")
	settable(cmd, "opening-credit")
	return cmd
}

// verify also leaves what it found in a file of metrics, if it is to.
func (s *session) verify(ctx context.Context, cfg verify.Config, metrics string) error {
	serde, err := s.online(ctx)
	if err != nil {
		return err
	}
	b := s.bar("reading the log", 0)
	cfg.Serde, cfg.Client, cfg.Namespace, cfg.Now, cfg.Log, cfg.Progress = serde, s.kafka(), s.set.namespace, s.env.Now, s.log, b.at
	report, err := verify.Run(ctx, cfg)
	b.end()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case errors.Is(err, verify.ErrAt):
			return err
		case errors.Is(err, verify.ErrCheckpoint):
			return hinted(err, "if you know why, remove it: the next run reads all")
		}
		return hinted(err, "`orderlog doctor` checks brokers, topics and registry")
	}
	if metrics != "" {
		if err := report.WriteMetrics(s.env.path(metrics), s.env.Now()); err != nil {
			return err
		}
	}
	if err := s.show(report, func(w io.Writer) error { return report.Text(w, s.outStyle().on) }); err != nil {
		return err
	}
	if !report.OK {
		return failedQuietly("the log does not hold")
	}
	return nil
}
