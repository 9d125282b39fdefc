// Package dashboards has what Grafana shows of orderlog, as Go: boards of panels, and
// their JSON (deploy/grafana/dashboards). Nothing of the program imports it.
//
// Every instance tells of the whole cluster's groups, dead letters and topics, so
// queries take the maximum over instances of those; what an instance tells of its
// own partitions is added up.
package dashboards

//go:generate go run ./generate ../../deploy/grafana/dashboards

// Board is one dashboard. Its UID never changes: links and bookmarks have it.
type Board struct {
	UID, Title, Description string
	Variables               []Variable // beside those of every board: datasource and job
	Rows                    []Row
}

// Variable is chosen by whoever looks; its values are those of a label.
type Variable struct {
	Name, Query string
	Many        bool // or all of them
}

// Row is a headline and what stands below it, from the left to the right, line by
// line: each is 24 wide, and its panels have one height.
type Row struct {
	Title  string
	Panels []Panel
}

// Kind is how a panel draws.
type Kind string

// Kinds, by the names of Grafana's panels.
const (
	Stat    Kind = "stat"           // one number, and its past behind
	Lines   Kind = "timeseries"     // over time
	Stacked Kind = "stacked"        // the same, one on the other: what sums up
	Heat    Kind = "heatmap"        // a histogram over time
	Cells   Kind = "status-history" // a row of coloured cells for each series
	Table   Kind = "table"          // a column for each query
)

// Panel is one chart.
type Panel struct {
	Kind          Kind
	Title         string
	Says          string // what it shows, and what to do about it
	Width, Height int
	Unit          string // as Grafana calls it
	Steps         []Step // none: colours tell series apart
	Queries       []Query
	Idle          string // shown where there is nothing; "" : No data
}

// Step is what a value means from From on; the first has no From.
type Step struct {
	From  float64
	Means Meaning
}

// Query is one in PromQL, and how its series, or its column, are called.
type Query struct {
	Expr, Name string
	Dashed     bool   // drawn so: beside another of the same name
	Unit       string // of a table's column
	Steps      []Step // of a table's column
}

// rising is well below warn, and bad from bad on.
func rising(warn, bad float64) []Step { return []Step{{Means: Well}, {warn, Warn}, {bad, Bad}} }

// falling is bad below bad, and well from warn on.
func falling(bad, warn float64) []Step { return []Step{{Means: Bad}, {bad, Warn}, {warn, Well}} }

// Boards are all there are.
func Boards() []Board {
	return []Board{overview(), lags(), processor(), retries(), kafka()}
}
