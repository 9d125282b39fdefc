package dashboards

// Meaning is what a colour says.
type Meaning string

// The colours are those of Okabe and Ito, which people who cannot tell red from
// green, or blue from yellow, tell apart; they stand out from white and from black
// grounds. Text and numbers always say the same as a colour.
const (
	Well Meaning = "#0072B2" // blue
	Warn Meaning = "#E69F00" // orange
	Bad  Meaning = "#D55E00" // vermilion
)

const (
	blue      = string(Well)
	orange    = string(Warn)
	vermilion = string(Bad)
	green     = "#009E73"
	sky       = "#56B4E9"
	pink      = "#CC79A7"
	yellow    = "#F0E442"
	grey      = "#999999"
)

// fixed are the colours of series by name, the same on every panel. Other names get
// Grafana's palette.
var fixed = []struct {
	color string
	names []string
}{
	{blue, []string{"placed", "order", "consumed", "sent", "p50", "ok", "in", "retry", "committed", "active"}},
	{sky, []string{"approved", "inventory", "skipped", "deadline", "standby"}},
	{green, []string{"invoiced", "credit", "produced", "out", "lag records"}},
	{yellow, []string{"delivered", "effects"}},
	{vermilion, []string{"rejected", "invoicing", "failed", "p99", "aborted", "lag"}},
	{orange, []string{"expired", "voucher", "unsure", "low", "without transaction"}},
	{pink, []string{"cancelled", "notification"}},
	{grey, []string{"none", "unknown"}},
}
