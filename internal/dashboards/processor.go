package dashboards

import "fmt"

const oneProcessor = `{job="$job", instance=~"$instance", processor="$processor"}`

// quantiles draws two of a histogram.
func quantiles(metric string) []Query {
	q := func(of float64, name string) Query {
		return Query{Expr: fmt.Sprintf(`histogram_quantile(%g, sum by (le) (rate(%s_bucket%s[$__rate_interval])))`, of, metric, oneProcessor), Name: name}
	}
	return []Query{q(0.5, "p50"), q(0.99, "p99")}
}

func processor() Board {
	rate := func(metric string) string {
		return `sum(rate(` + metric + oneProcessor + `[$__rate_interval]))`
	}
	const aborted = `(sum(rate(orderlog_transactions_aborted_total` + oneProcessor + `[$__rate_interval])) or vector(0))`
	return Board{UID: "orderlog-processor", Title: "orderlog / Processor", Description: "One processor: what it does, how long it takes, what goes wrong, and the state of its tables.",
		Variables: []Variable{
			{Name: "processor", Query: `label_values(orderlog_transactions_total{job="$job"}, processor)`},
			{Name: "instance", Query: `label_values(orderlog_transactions_total{job="$job", processor="$processor"}, instance)`, Many: true},
		},
		Rows: []Row{
			{"$processor", []Panel{
				{Kind: Stat, Title: "Consumed", Width: 4, Height: 4, Unit: "suffix: records/s",
					Says:    "Records it has handled. 0 while others write to its topics: runbook no-progress.",
					Queries: []Query{{Expr: rate("orderlog_records_consumed_total"), Name: "consumed"}}},
				{Kind: Stat, Title: "Transactions", Width: 4, Height: 4, Unit: "suffix: txn/s",
					Says:    "Commits. Few and large under load, many and small else: it adapts.",
					Queries: []Query{{Expr: rate("orderlog_transactions_total"), Name: "committed"}}},
				{Kind: Stat, Title: "Aborted", Width: 4, Height: 4, Unit: "percentunit", Steps: rising(0.01, 0.05), Idle: "none",
					Says:    "Share of batches that were aborted and repeated. A few come with rebalances and restarts; more than 5 of 100 for minutes: runbook transactions-aborting.",
					Queries: []Query{{Expr: aborted + ` / (` + rate("orderlog_transactions_total") + ` + ` + rate("orderlog_commits_total") + ` + ` + aborted + `)`, Name: "aborted"}}},
				{Kind: Stat, Title: "Behind", Width: 4, Height: 4, Unit: "s", Steps: rising(10, 60), Idle: "unknown",
					Says:    "Age of the first record that its group has not handled. Above a minute: the board Lag says on which partitions.",
					Queries: []Query{{Expr: `max(kafka_consumergroup_lag_seconds{job="$job", consumergroup=~"(.+[.])?$processor"})`, Name: "lag"}}},
				{Kind: Stat, Title: "Tables recovering", Width: 4, Height: 4, Unit: "short", Steps: rising(1, 1000), Idle: "0",
					Says:    "Tables that must read their log before they can be used. Not 0 for ten minutes: runbook recovery-long.",
					Queries: []Query{{Expr: `sum(orderlog_table_recovering` + oneProcessor + `)`, Name: "recovering"}}},
				{Kind: Stat, Title: "Rows", Width: 4, Height: 4, Unit: "short", Idle: "0",
					Says:    "Rows of its own tables, standbys not counted. Growing without end: rows are never deleted, plan memory and disk.",
					Queries: []Query{{Expr: `sum(orderlog_table_rows{job="$job", instance=~"$instance", processor="$processor", role="active"})`, Name: "rows"}}},
			}},
			{"Work", []Panel{
				{Kind: Lines, Title: "Records", Width: 12, Height: 9, Unit: "suffix: records/s",
					Says: "In, out, and skipped because the row has seen them before. Skipped above 0 for long: somebody has rewound offsets, or a client repeats itself.",
					Queries: []Query{{Expr: rate("orderlog_records_consumed_total"), Name: "consumed"}, {Expr: rate("orderlog_records_produced_total"), Name: "produced"},
						{Expr: rate("orderlog_records_skipped_total"), Name: "skipped"}}},
				{Kind: Lines, Title: "Commits", Width: 12, Height: 9, Unit: "suffix: commits/s",
					Says:    "Transactions, and commits of offsets alone (nothing to write). Both 0 with lag: it hangs; /livez says since when.",
					Queries: []Query{{Expr: rate("orderlog_transactions_total"), Name: "committed"}, {Expr: rate("orderlog_commits_total"), Name: "without transaction"}}},
				{Kind: Lines, Title: "Transaction, duration", Width: 8, Height: 9, Unit: "s", Steps: rising(1, 5),
					Says:    "From the first record to the commit. Long with few records: brokers are slow (Kafka and clients). Long with many: under load it batches; latency pays.",
					Queries: quantiles("orderlog_transaction_duration_seconds")},
				{Kind: Lines, Title: "Transaction, records", Width: 8, Height: 9, Unit: "short",
					Says:    "Records consumed by one. At its limit all the time: no more can be had from this instance.",
					Queries: quantiles("orderlog_transaction_records")},
				{Kind: Lines, Title: "Decide, duration", Width: 8, Height: 9, Unit: "s",
					Says:    "What the rule takes for one record; one of some is timed. Rising: rows have grown, or the rule has changed.",
					Queries: quantiles("orderlog_decide_duration_seconds")},
			}},
			{"Errors", []Panel{
				{Kind: Lines, Title: "Transactions aborted", Width: 8, Height: 9, Unit: "suffix: txn/s",
					Says:    "By cause, mostly the broker's error. What names a rebalance, a generation or a producer comes with restarts; timeouts: brokers are slow or away.",
					Queries: []Query{{Expr: `sum by (cause) (rate(orderlog_transactions_aborted_total` + oneProcessor + `[$__rate_interval]))`, Name: "{{cause}}"}}},
				{Kind: Lines, Title: "Rebalances and rebuilt clients", Width: 8, Height: 9, Unit: "short",
					Says: "In five minutes. Some with each deployment; without one: an instance comes and goes, see its log.",
					Queries: []Query{{Expr: `sum(increase(orderlog_rebalances_total` + oneProcessor + `[5m]))`, Name: "rebalances"},
						{Expr: `sum(increase(orderlog_clients_rebuilt_total` + oneProcessor + `[5m]))`, Name: "clients rebuilt"}}},
				{Kind: Lines, Title: "Written, by type", Width: 8, Height: 9, Unit: "suffix: msg/s",
					Says:    "What it has written. Refusals above the usual: see Overview, Why orders die.",
					Queries: []Query{{Expr: `sum by (type) (rate(orderlog_events_total` + oneProcessor + `[$__rate_interval]))`, Name: "{{type}}"}}},
			}},
			{"State", []Panel{
				{Kind: Lines, Title: "Table behind its log", Width: 8, Height: 9, Unit: "suffix: offsets",
					Says:    "Changelog offsets that tables have not read: recovery (active) and standby lag. A standby far behind: taking over takes as long as reading that.",
					Queries: []Query{{Expr: `sum by (role) (clamp_min(orderlog_table_end_offset` + oneProcessor + ` - orderlog_table_offset` + oneProcessor + ` - 1, 0))`, Name: "{{role}}"}}},
				{Kind: Lines, Title: "Recovery, time left", Width: 8, Height: 9, Unit: "s", Steps: rising(60, 600),
					Says:    "Of the slowest table, at the rate of now. Long: keep the data folder between restarts, or run with --standby.",
					Queries: []Query{{Expr: `max by (instance) (orderlog_table_recovery_seconds_left` + oneProcessor + `)`, Name: "{{instance}}"}}},
				{Kind: Lines, Title: "Table size", Width: 8, Height: 9, Unit: "bytes",
					Says:    "Bytes of its tables, as far as cheaply known. Near the disk's or the memory's size: more instances, or more room.",
					Queries: []Query{{Expr: `sum by (table, role) (orderlog_table_bytes` + oneProcessor + `)`, Name: "{{table}} {{role}}"}}},
			}},
		}}
}
