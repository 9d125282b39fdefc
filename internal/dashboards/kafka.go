package dashboards

const oneInstance = `{job="$job", instance=~"$instance"}`

func kafka() Board {
	client := func(by, metric string) string {
		return `sum by (` + by + `) (rate(orderlog_kafka_client_` + metric + oneInstance + `[$__rate_interval]))`
	}
	failed := func(metric string) string { // which has no series before the first
		return `(sum(rate(orderlog_kafka_client_` + metric + oneInstance + `[$__rate_interval])) or vector(0))`
	}
	return Board{UID: "orderlog-kafka", Title: "orderlog / Kafka and clients", Description: "The brokers as orderlog's clients see them, and the processes themselves.",
		Variables: []Variable{{Name: "instance", Query: `label_values(orderlog_transactions_total{job="$job"}, instance)`, Many: true}},
		Rows: []Row{
			{"Instances", []Panel{
				{Kind: Stat, Title: "Answering", Width: 4, Height: 5, Unit: "short", Steps: []Step{{Means: Bad}, {1, Well}},
					Says:    "Instances whose metrics Prometheus gets. Fewer than there should be: see /livez and the log of the missing one.",
					Queries: []Query{{Expr: `sum(up{job="$job"})`, Name: "up"}}},
				{Kind: Stat, Title: "Started", Width: 4, Height: 5, Unit: "s",
					Says:    "How long ago the youngest instance started. Short again and again: it dies and is started; see its log.",
					Queries: []Query{{Expr: `time() - max(process_start_time_seconds` + oneInstance + `)`, Name: "age"}}},
				{Kind: Table, Title: "Builds", Width: 16, Height: 5, Unit: "short",
					Says:    "What runs where. Two versions for longer than a deployment takes: it is stuck half way.",
					Queries: []Query{{Expr: `max by (instance, version, revision, goversion) (orderlog_build_info` + oneInstance + `)`}}},
			}},
			{"Clients", []Panel{
				{Kind: Lines, Title: "Written to brokers", Width: 8, Height: 9, Unit: "Bps",
					Says:    "Bytes by node. One node without any: it leads nothing, or cannot be reached.",
					Queries: []Query{{Expr: client("node_id", "write_bytes_total"), Name: "node {{node_id}}"}}},
				{Kind: Lines, Title: "Read from brokers", Width: 8, Height: 9, Unit: "Bps",
					Says:    "Bytes by node. Much more than written: tables are recovering, or standbys catch up.",
					Queries: []Query{{Expr: client("node_id", "read_bytes_total"), Name: "node {{node_id}}"}}},
				{Kind: Lines, Title: "Connections", Width: 8, Height: 9, Unit: "suffix: /s",
					Says: "Made and failed. Failed ones: a node is away; `orderlog doctor` says which and why.",
					Queries: []Query{{Expr: `sum(rate(orderlog_kafka_client_connects_total` + oneInstance + `[$__rate_interval]))`, Name: "made"},
						{Expr: failed("connect_errors_total"), Name: "failed"},
						{Expr: failed("read_errors_total") + ` + ` + failed("write_errors_total"), Name: "broken"}}},
				{Kind: Lines, Title: "Requests, p99", Width: 12, Height: 9, Unit: "s",
					Says:    "Until the broker's answer is read; a fetch waits there for records. EndTxn and Produce long: brokers are slow, disks or replication; every transaction waits for both.",
					Queries: []Query{{Expr: `histogram_quantile(0.99, sum by (le, request) (rate(orderlog_kafka_client_request_duration_e2e_seconds_bucket` + oneInstance + `[$__rate_interval])))`, Name: "{{request}}"}}},
				{Kind: Lines, Title: "Records in hand", Width: 12, Height: 9, Unit: "short",
					Says: "Fetched and not handled, and written and not sent. Fetched always high: the rule or the table is what is slow; written high: the brokers are.",
					Queries: []Query{{Expr: `sum(orderlog_kafka_client_buffered_fetch_records` + oneInstance + `)`, Name: "fetched"},
						{Expr: `sum(orderlog_kafka_client_buffered_produce_records` + oneInstance + `)`, Name: "written"}}},
			}},
			{"Topics", []Panel{
				{Kind: Lines, Title: "Written, by topic", Width: 12, Height: 9, Unit: "suffix: offsets/s",
					Says:    "Growth of topics by everybody, not orderlog alone. Commands without anything after them: order does not run.",
					Queries: []Query{{Expr: `topk(15, sum by (topic) (max by (topic, partition) (deriv(kafka_topic_partition_current_offset{job="$job"}[$__rate_interval]))))`, Name: "{{topic}}"}}},
				{Kind: Lines, Title: "Kept, by topic", Width: 12, Height: 9, Unit: "suffix: offsets",
					Says:    "From the oldest offset to the end. Falling to near 0: retention is short; see Safe downtime before changing it.",
					Queries: []Query{{Expr: `topk(15, sum by (topic) (max by (topic, partition) (kafka_topic_partition_current_offset{job="$job"}) - max by (topic, partition) (kafka_topic_partition_oldest_offset{job="$job"})))`, Name: "{{topic}}"}}},
			}},
			{"Processes", []Panel{
				{Kind: Lines, Title: "CPU", Width: 6, Height: 9, Unit: "suffix: cores",
					Says:    "At the machine's number: no more can be had here; run another instance.",
					Queries: []Query{{Expr: `sum by (instance) (rate(process_cpu_seconds_total` + oneInstance + `[$__rate_interval]))`, Name: "{{instance}}"}}},
				{Kind: Lines, Title: "Memory", Width: 6, Height: 9, Unit: "bytes",
					Says:    "Resident. Rising without end: rows in memory grow (Processor, State), or something leaks; take a heap profile.",
					Queries: []Query{{Expr: `max by (instance) (process_resident_memory_bytes` + oneInstance + `)`, Name: "{{instance}}"}}},
				{Kind: Lines, Title: "Goroutines", Width: 6, Height: 9, Unit: "short",
					Says:    "Flat when all is well. Rising without end: something waits for ever; restart, and report what /livez said.",
					Queries: []Query{{Expr: `max by (instance) (go_goroutines` + oneInstance + `)`, Name: "{{instance}}"}}},
				{Kind: Lines, Title: "Open files", Width: 6, Height: 9, Unit: "percentunit", Steps: rising(0.7, 0.9),
					Says:    "Share of what the system allows, connections among them. Near 1: raise the limit (ulimit -n).",
					Queries: []Query{{Expr: `max by (instance) (process_open_fds` + oneInstance + ` / process_max_fds` + oneInstance + `)`, Name: "{{instance}}"}}},
			}},
		}}
}
