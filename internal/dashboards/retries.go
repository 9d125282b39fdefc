package dashboards

const retriesUID = "orderlog-retries"

func retries() Board {
	return Board{UID: retriesUID, Title: "orderlog / Retries and dead letters", Description: "What could not be handled: what comes back by itself, what waits for a person, and what the world has not been told.", Rows: []Row{
		{"Now", []Panel{
			{Kind: Stat, Title: "Parked for another try", Width: 4, Height: 4, Unit: "short", Idle: "0",
				Says:    "Records that come back when they are due: `orderlog retries list`.",
				Queries: []Query{{Expr: `sum(orderlog_calendar_entries{job="$job", kind="retry"})`, Name: "retry"}}},
			{Kind: Stat, Title: "Deadlines", Width: 4, Height: 4, Unit: "short", Idle: "0",
				Says:    "Orders that wait, each with an hour at most. As many as are placed or approved.",
				Queries: []Query{{Expr: `sum(orderlog_calendar_entries{job="$job", kind="deadline"})`, Name: "deadline"}}},
			{Kind: Stat, Title: "Overdue", Width: 4, Height: 4, Unit: "short", Steps: rising(1, 10), Idle: "0",
				Says:    "Due, not paused, and not back yet. More than none for a minute: the group retry does not keep up, runbook retry-overdue.",
				Queries: []Query{{Expr: `sum(orderlog_calendar_overdue{job="$job", paused="false"})`, Name: "overdue"}}},
			{Kind: Stat, Title: "Paused", Width: 4, Height: 4, Unit: "short", Idle: "0",
				Says:    "Entries that somebody holds back: `orderlog retries list` says who and why; `orderlog retries resume` when it is over.",
				Queries: []Query{{Expr: `sum(orderlog_calendar_entries{job="$job", paused="true"})`, Name: "paused"}}},
			{Kind: Stat, Title: "Dead letters", Width: 4, Height: 4, Unit: "short", Steps: rising(1, 10), Idle: "0",
				Says:    "Open ones: `orderlog dlq list` says what and why, then redrive or discard.",
				Queries: []Query{{Expr: `sum(max by (processor, cause) (orderlog_dead_letters_open{job="$job"}))`, Name: "open"}}},
			{Kind: Stat, Title: "Oldest dead letter", Width: 4, Height: 4, Unit: "s", Steps: rising(86400, 604800), Idle: "none",
				Says:    "How long the oldest open one has waited. They are kept for the topic's retention only: deal with them before.",
				Queries: []Query{{Expr: `time() - min(orderlog_dead_letters_oldest_open_timestamp_seconds{job="$job"})`, Name: "age"}}},
		}},
		{"Retries", []Panel{
			{Kind: Stacked, Title: "Parked, by processor and cause", Width: 12, Height: 9, Unit: "short",
				Says:    "What waits to be tried again. One cause that rises: what it names is away; all comes back by itself once it is there.",
				Queries: []Query{{Expr: `sum by (processor, cause) (orderlog_calendar_entries{job="$job", kind="retry"})`, Name: "{{processor}} {{cause}}"}}},
			{Kind: Lines, Title: "Come back", Width: 12, Height: 9, Unit: "suffix: entries/s",
				Says:    "Retries and deadlines that were due. Deadlines: orders that nobody answered for an hour.",
				Queries: []Query{{Expr: `sum by (kind) (rate(orderlog_calendar_dispatched_total{job="$job"}[$__rate_interval]))`, Name: "{{kind}}"}}},
			{Kind: Heat, Title: "How late they come back", Width: 12, Height: 9, Unit: "s",
				Says:    "After the time they were due. Seconds are nothing; minutes: the group retry is overloaded or was down, or entries were paused.",
				Queries: []Query{{Expr: `sum by (le) (increase(orderlog_calendar_dispatch_delay_seconds_bucket{job="$job"}[$__rate_interval]))`}}},
			{Kind: Lines, Title: "Overdue, by processor", Width: 12, Height: 9, Unit: "short", Steps: rising(1, 10),
				Says:    "Whose entries are late, paused ones left out. One processor only: it is paused by hand or its topic is full; all: runbook retry-overdue.",
				Queries: []Query{{Expr: `sum by (processor) (orderlog_calendar_overdue{job="$job", paused="false"})`, Name: "{{processor}}"}}},
		}},
		{"Dead letters", []Panel{
			{Kind: Stacked, Title: "Open, by processor and cause", Width: 12, Height: 9, Unit: "short",
				Says:    "Never falls by itself: somebody redrives or discards. Cause panic: a defect, see the log; refused: a command that its order could not take; undecodable: bytes that nobody can read.",
				Queries: []Query{{Expr: `sum by (processor, cause) (max by (processor, cause) (orderlog_dead_letters_open{job="$job"}))`, Name: "{{processor}} {{cause}}"}}},
			{Kind: Lines, Title: "Arrived in an hour", Width: 12, Height: 9, Unit: "short",
				Says:    "New ones. A burst after a deployment: roll it back, then redrive.",
				Queries: []Query{{Expr: `max by (processor, cause) (increase(orderlog_dead_letters_total{job="$job"}[1h]))`, Name: "{{processor}} {{cause}}"}}},
		}},
		{"Effects", []Panel{
			{Kind: Lines, Title: "Mails and webhooks", Width: 8, Height: 9, Unit: "suffix: effects/s",
				Says: "Sent, given up, and unsure (sent or not, repeated). Failed above 0: each is a dead letter; `orderlog effects list` says what the endpoint answered.",
				Queries: []Query{{Expr: `sum(rate(orderlog_effects_sent_total{job="$job"}[$__rate_interval]))`, Name: "sent"}, {Expr: `sum(rate(orderlog_effects_failed_total{job="$job"}[$__rate_interval]))`, Name: "failed"},
					{Expr: `sum(rate(orderlog_effects_unsure_total{job="$job"}[$__rate_interval]))`, Name: "unsure"}}},
			{Kind: Stacked, Title: "Not sent yet, by endpoint", Width: 8, Height: 9, Unit: "short",
				Says:    "What waits. Rising at one endpoint: it is slow or down; others do not wait for it.",
				Queries: []Query{{Expr: `sum by (endpoint) (orderlog_effects_pending{job="$job"})`, Name: "{{endpoint}}"}}},
			{Kind: Lines, Title: "Oldest not sent, by endpoint", Width: 8, Height: 9, Unit: "s", Steps: rising(60, 300),
				Says:    "How long the oldest has waited. Above 5 minutes with nothing sent: runbook effect-endpoint-down.",
				Queries: []Query{{Expr: `max by (endpoint) (orderlog_effects_oldest_pending_seconds{job="$job"})`, Name: "{{endpoint}}"}}},
		}},
	}}
}
