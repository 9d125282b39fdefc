package dashboards

const oneGroup = `{job="$job", consumergroup=~"$consumergroup"}`

func lags() Board {
	return Board{UID: "orderlog-lag", Title: "orderlog / Lag", Description: "How far each consumer group of the cluster is behind, in records and in seconds, whether it catches up, and how long it may stay down.",
		Variables: []Variable{{Name: "consumergroup", Query: `label_values(kafka_consumergroup_members{job="$job"}, consumergroup)`, Many: true}},
		Rows: []Row{
			{"Groups", []Panel{
				{Kind: Table, Title: "Groups", Width: 24, Height: 10, Unit: "short",
					Says: "One line a group. Behind and not catching up: more load than it can take, or it is down (no members). Safe downtime is how long it may stay so before something is gone.",
					Queries: []Query{
						{Expr: `max by (consumergroup, state) (kafka_consumergroup_state` + oneGroup + ` == 1)`},
						{Expr: `max by (consumergroup) (kafka_consumergroup_members` + oneGroup + `)`, Name: "members", Unit: "short"},
						{Expr: `sum by (consumergroup) (max by (consumergroup, topic, partition) (kafka_consumergroup_lag_records` + oneGroup + `))`, Name: "records to come", Unit: "short"},
						{Expr: `max by (consumergroup) (kafka_consumergroup_lag_seconds` + oneGroup + `)`, Name: "behind", Unit: "s", Steps: rising(10, 60)},
						{Expr: `max by (consumergroup) (kafka_consumergroup_catch_up_seconds` + oneGroup + `)`, Name: "caught up in", Unit: "s", Steps: rising(60, 600)},
						{Expr: `min by (consumergroup) (kafka_consumergroup_safe_downtime_seconds` + oneGroup + `)`, Name: "safe downtime", Unit: "s", Steps: falling(86400, 172800)},
					}},
				{Kind: Lines, Title: "Behind, in seconds", Width: 12, Height: 9, Unit: "s", Steps: rising(10, 60),
					Says:    "Age of the first record that is not handled; 0 where nothing is left. A line that rises as the clock does: the group stands still. By the record's own timestamp: an import of old orders looks old.",
					Queries: []Query{{Expr: `max by (consumergroup) (kafka_consumergroup_lag_seconds` + oneGroup + `)`, Name: "{{consumergroup}}"}}},
				{Kind: Lines, Title: "Behind, in records", Width: 12, Height: 9, Unit: "short",
					Says:    "Records still to come, without transaction markers and what was aborted or compacted. Rising for long: runbook lag-growing.",
					Queries: []Query{{Expr: `sum by (consumergroup) (max by (consumergroup, topic, partition) (kafka_consumergroup_lag_records` + oneGroup + `))`, Name: "{{consumergroup}}"}}},
				{Kind: Lines, Title: "In and out", Width: 12, Height: 9, Unit: "suffix: offsets/s",
					Says: "What is written to a group's topics (dashed), and what it has done with. Out below in: it falls behind. Out 0 while in is not: it stands still, runbook no-progress.",
					Queries: []Query{
						{Expr: `sum by (consumergroup) (max by (consumergroup, topic, partition) (0 * kafka_consumergroup_current_offset` + oneGroup + `) + on (topic, partition) group_left () max by (topic, partition) (deriv(kafka_topic_partition_current_offset{job="$job"}[$__rate_interval])))`, Name: "{{consumergroup}}: in", Dashed: true},
						{Expr: `sum by (consumergroup) (max by (consumergroup, topic, partition) (clamp_min(deriv(kafka_consumergroup_current_offset` + oneGroup + `[$__rate_interval]), 0)))`, Name: "{{consumergroup}}: out"},
					}},
				{Kind: Lines, Title: "Caught up in", Width: 6, Height: 9, Unit: "s", Steps: rising(60, 600),
					Says:    "Seconds until nothing is left, at the rates of now; infinite (not drawn) if the group does not catch up. More than you can wait: run more instances, at most one a partition.",
					Queries: []Query{{Expr: `max by (consumergroup) (kafka_consumergroup_catch_up_seconds` + oneGroup + `)`, Name: "{{consumergroup}}"}}},
				{Kind: Lines, Title: "Safe downtime", Width: 6, Height: 9, Unit: "s", Steps: falling(86400, 172800),
					Says:    "How long a group may stay down from now on. Falling: it is behind, or down. Below a day, and below half of what it is for a group that has read all: runbook safe-downtime-short.",
					Queries: []Query{{Expr: `min by (consumergroup) (kafka_consumergroup_safe_downtime_seconds` + oneGroup + `)`, Name: "{{consumergroup}}"}}},
			}},
			{"Partitions", []Panel{
				{Kind: Cells, Title: "Behind by partition, in seconds", Width: 24, Height: 14, Unit: "s", Steps: rising(10, 60),
					Says:    "A row for each partition that is behind. One row coloured and the others not: that partition waits for something, or a key has most of the load. All rows: the group is slow or down.",
					Queries: []Query{{Expr: `topk(40, max by (consumergroup, topic, partition) (kafka_consumergroup_lag_seconds` + oneGroup + `))`, Name: "{{consumergroup}} {{topic}}/{{partition}}"}}},
				{Kind: Lines, Title: "Offsets and records", Width: 8, Height: 9, Unit: "short",
					Says: "Lag as Kafka's own tool counts it (end - committed), and true records. The distance is markers and gaps: a lag of one or so a partition that never goes away is nothing.",
					Queries: []Query{
						{Expr: `sum(clamp_min(max by (consumergroup, topic, partition) (kafka_consumergroup_lag` + oneGroup + `), 0))`, Name: "lag"},
						{Expr: `sum(max by (consumergroup, topic, partition) (kafka_consumergroup_lag_records` + oneGroup + `))`, Name: "lag records"},
					}},
				{Kind: Lines, Title: "Members", Width: 8, Height: 9, Unit: "short",
					Says:    "Who shares the work of a group. 0: it is down. Fewer than usual: an instance is gone; see /livez and the log of that one.",
					Queries: []Query{{Expr: `max by (consumergroup) (kafka_consumergroup_members` + oneGroup + `)`, Name: "{{consumergroup}}"}}},
				{Kind: Lines, Title: "The exporter itself", Width: 8, Height: 9, Unit: "s", Steps: rising(60, 120),
					Says: "How old the figures of this board are, and how long reading them takes. Older than two minutes: believe none of them, runbook exporter-blind.",
					Queries: []Query{
						{Expr: `time() - max(orderlog_lag_exporter_last_success_timestamp_seconds{job="$job"})`, Name: "age"},
						{Expr: `max(orderlog_lag_exporter_duration_seconds{job="$job"})`, Name: "one round"},
					}},
			}},
		}}
}
