package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statushistory"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

const (
	wide      = 24 // of Grafana's grid
	maxCells  = 60 // columns of Cells
	repo      = "https://github.com/orderlog/orderlog/blob/main/"
	sourceVar = "${datasource}"
)

// JSON is a board as Grafana provisions it.
func (b Board) JSON() ([]byte, error) {
	d := dashboard.NewDashboard()
	d.Uid, d.Title, d.Description = ptr(b.UID), ptr(b.Title), ptr(b.Description)
	d.Tags, d.Editable, d.Timezone = []string{"orderlog"}, ptr(false), ptr("browser")
	d.GraphTooltip = ptr(dashboard.DashboardCursorSyncCrosshair)
	d.Refresh, d.Time = ptr("10s"), &dashboard.DashboardDashboardTime{From: "now-1h", To: "now"}
	d.Links, d.Templating.List, d.Annotations.List = links(b.UID), variables(b.Variables), []dashboard.AnnotationQuery{firing()}
	for _, row := range b.place() {
		d.Panels = append(d.Panels, dashboard.PanelOrRowPanel{RowPanel: &dashboard.RowPanel{Type: "row", Title: ptr(row.title), Id: row.id, GridPos: &row.at, Panels: []dashboard.Panel{}}})
		for _, p := range row.panels {
			d.Panels = append(d.Panels, dashboard.PanelOrRowPanel{Panel: p.json()})
		}
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", b.UID, err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return out.Bytes(), err
}

// placed is a panel in the grid.
type placed struct {
	Panel
	id uint32
	at dashboard.GridPos
}

type placedRow struct {
	title  string
	id     uint32
	at     dashboard.GridPos
	panels []placed
}

// place lays a board out: headlines take a line, and a panel that does not fit into
// a line begins the next.
func (b Board) place() (rows []placedRow) {
	id, y := uint32(0), uint32(0)
	next := func() uint32 { id++; return id }
	for _, r := range b.Rows {
		row := placedRow{title: r.Title, id: next(), at: dashboard.GridPos{H: 1, W: wide, Y: y}}
		y++
		x, height := uint32(0), uint32(0)
		for _, p := range r.Panels {
			if x+uint32(p.Width) > wide {
				x, y = 0, y+height
			}
			height = uint32(p.Height)
			row.panels = append(row.panels, placed{p, next(), dashboard.GridPos{X: x, Y: y, W: uint32(p.Width), H: height}})
			x += uint32(p.Width)
		}
		y += height
		rows = append(rows, row)
	}
	return rows
}

func source() *common.DataSourceRef {
	return &common.DataSourceRef{Type: ptr("prometheus"), Uid: ptr(sourceVar)}
}

func (p placed) json() *dashboard.Panel {
	j := &dashboard.Panel{Type: string(p.Kind), Id: &p.id, Title: ptr(p.Title), Description: ptr(p.Says), GridPos: &p.at, Datasource: source(),
		FieldConfig: &dashboard.FieldConfigSource{Defaults: p.field(), Overrides: []dashboard.DashboardFieldConfigSourceOverrides{}}}
	for i, q := range p.Queries {
		j.Targets = append(j.Targets, p.target(i, q))
	}
	legend := common.VizLegendOptions{DisplayMode: common.LegendDisplayModeTable, Placement: common.LegendPlacementBottom, ShowLegend: true, Calcs: []string{"lastNotNull", "max"}}
	tooltip := common.VizTooltipOptions{Mode: common.TooltipDisplayModeMulti, Sort: common.SortOrderDescending}
	switch p.Kind {
	case Lines, Stacked:
		j.Type = string(Lines)
		o := timeseries.NewOptions()
		o.Legend, o.Tooltip = legend, tooltip
		j.Options, j.FieldConfig.Overrides = o, colors()
		for i, q := range p.Queries {
			if q.Dashed {
				j.FieldConfig.Overrides = append(j.FieldConfig.Overrides, dashboard.DashboardFieldConfigSourceOverrides{Matcher: dashboard.MatcherConfig{Id: "byFrameRefID", Options: ref(i)},
					Properties: []dashboard.DynamicConfigValue{{Id: "custom.lineStyle", Value: common.LineStyle{Fill: ptr(common.LineStyleFillDash), Dash: []float64{10, 10}}}}})
			}
		}
	case Stat:
		o := stat.NewOptions()
		o.ReduceOptions.Calcs = []string{"lastNotNull"}
		o.Orientation = common.VizOrientationAuto
		j.Options = o
	case Heat:
		o := heatmap.NewOptions()
		o.Color.Scheme, o.Color.Mode, o.Color.Steps = "Viridis", ptr(heatmap.HeatmapColorModeScheme), 64
		o.Color.Fill, o.YAxis.Unit, o.Legend.Show, o.Tooltip.Mode = string(Warn), ptr(p.Unit), true, common.TooltipDisplayModeSingle
		o.ShowValue, o.Exemplars.Color = common.VisibilityModeNever, vermilion
		j.Options = o
	case Cells:
		o := statushistory.NewOptions()
		o.ShowValue, o.PerPage = common.VisibilityModeNever, nil
		o.Legend, o.Tooltip = legend, common.VizTooltipOptions{Mode: common.TooltipDisplayModeSingle, Sort: common.SortOrderNone}
		j.Options, j.MaxDataPoints = o, ptr(float64(maxCells))
	case Table:
		j.Options, j.Transformations, j.FieldConfig.Overrides = p.columns()
	}
	return j
}

func (p placed) target(i int, q Query) variants.Dataquery {
	t := prometheus.NewDataquery()
	t.Expr, t.RefId, t.LegendFormat, t.Datasource = q.Expr, ptr(ref(i)), ptr(q.Name), source()
	t.EditorMode = ptr(prometheus.QueryEditorModeCode)
	t.Format, t.Range, t.Instant = ptr(prometheus.PromQueryFormatTimeSeries), ptr(true), ptr(false)
	switch p.Kind {
	case Heat:
		t.Format, t.LegendFormat, t.Exemplar = ptr(prometheus.PromQueryFormatHeatmap), ptr("{{le}}"), ptr(true)
	case Table:
		t.Format, t.Range, t.Instant = ptr(prometheus.PromQueryFormatTable), ptr(false), ptr(true)
	}
	return t
}

func ref(i int) string { return string(rune('A' + i)) }

func (p placed) field() dashboard.FieldConfig {
	f := dashboard.FieldConfig{Unit: ptr(p.Unit), Color: &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdPaletteClassic}}
	if p.Idle != "" {
		f.NoValue = ptr(p.Idle)
		f.Mappings = []dashboard.ValueMapping{{SpecialValueMap: &dashboard.SpecialValueMap{Type: "special", Options: dashboard.DashboardSpecialValueMapOptions{
			Match: dashboard.SpecialValueMatchNullAndNan, Result: dashboard.ValueMappingResult{Text: ptr(p.Idle), Color: ptr(grey)}}}}}
	}
	f.Thresholds = thresholds(p.Steps)
	switch {
	case p.Kind == Lines || p.Kind == Stacked:
		c := common.GraphFieldConfig{DrawStyle: ptr(common.GraphDrawStyleLine), LineWidth: ptr(2.0), FillOpacity: ptr(0.0), ShowPoints: ptr(common.VisibilityModeNever), AxisSoftMin: ptr(0.0)}
		if p.Kind == Stacked {
			c.FillOpacity, c.Stacking = ptr(40.0), &common.StackingConfig{Mode: ptr(common.StackingModeNormal)}
		}
		if p.Steps != nil {
			c.ThresholdsStyle = &common.GraphThresholdsStyleConfig{Mode: common.GraphThresholdsStyleModeDashed}
		}
		f.Custom = c
	case p.Steps != nil:
		f.Color.Mode = dashboard.FieldColorModeIdThresholds
	case p.Kind == Stat:
		f.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdFixed, FixedColor: ptr(blue)}
	}
	return f
}

func thresholds(steps []Step) *dashboard.ThresholdsConfig {
	if steps == nil {
		steps = []Step{{Means: Well}}
	}
	t := &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute}
	for i, s := range steps {
		j := dashboard.Threshold{Color: string(s.Means)}
		if i > 0 {
			j.Value = ptr(s.From)
		}
		t.Steps = append(t.Steps, j)
	}
	return t
}

// columns makes one table of a panel's queries: a row for each set of labels, a
// column for each query.
func (p placed) columns() (*table.Options, []dashboard.DataTransformerConfig, []dashboard.DashboardFieldConfigSourceOverrides) {
	o := table.NewOptions()
	o.Footer = nil
	var over []dashboard.DashboardFieldConfigSourceOverrides
	hidden := map[string]bool{"Time": true}
	for i, q := range p.Queries {
		value := "Value #" + ref(i)
		if len(p.Queries) == 1 { // as Grafana then calls it
			value = "Value"
		}
		if q.Name == "" { // its labels are the column
			hidden[value] = true
			continue
		}
		set := []dashboard.DynamicConfigValue{{Id: "displayName", Value: q.Name}, {Id: "unit", Value: q.Unit}}
		if q.Steps != nil {
			set = append(set, dashboard.DynamicConfigValue{Id: "thresholds", Value: thresholds(q.Steps)},
				dashboard.DynamicConfigValue{Id: "color", Value: dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}},
				dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: map[string]string{"type": "color-text"}})
		}
		over = append(over, dashboard.DashboardFieldConfigSourceOverrides{Matcher: dashboard.MatcherConfig{Id: "byName", Options: value}, Properties: set})
	}
	return o, []dashboard.DataTransformerConfig{{Id: "merge", Options: map[string]any{}}, {Id: "organize", Options: map[string]any{"excludeByName": hidden}}}, over
}

// colors gives series of known names their colours, whatever namespace stands before
// the name, and direction or currency behind it.
func colors() (over []dashboard.DashboardFieldConfigSourceOverrides) {
	for _, c := range fixed {
		over = append(over, dashboard.DashboardFieldConfigSourceOverrides{Matcher: dashboard.MatcherConfig{Id: "byRegexp", Options: "/^(.+[.])?(" + strings.Join(c.names, "|") + ")(: in|: out| [A-Z]{3})?$/"},
			Properties: []dashboard.DynamicConfigValue{{Id: "color", Value: dashboard.FieldColor{Mode: dashboard.FieldColorModeIdFixed, FixedColor: ptr(c.color)}}}})
	}
	return over
}

func variables(own []Variable) []dashboard.VariableModel {
	vs := []dashboard.VariableModel{{Type: dashboard.VariableTypeDatasource, Name: "datasource", Label: ptr("Prometheus"), Query: &dashboard.StringOrMap{String: ptr("prometheus")}}}
	for _, v := range slices.Insert(slices.Clone(own), 0, Variable{Name: "job", Query: "label_values(orderlog_transactions_total, job)"}) {
		m := dashboard.VariableModel{Type: dashboard.VariableTypeQuery, Name: v.Name, Label: ptr(v.Name), Query: &dashboard.StringOrMap{String: ptr(v.Query)}, Definition: ptr(v.Query),
			Datasource: source(), Refresh: ptr(dashboard.VariableRefreshOnTimeRangeChanged), Sort: ptr(dashboard.VariableSortAlphabeticalAsc), Multi: ptr(v.Many), IncludeAll: ptr(v.Many)}
		if v.Many {
			m.AllValue = ptr(".*")
			m.Current = &dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{String: ptr("All")}, Value: dashboard.StringOrArrayOfString{String: ptr("$__all")}}
		}
		vs = append(vs, m)
	}
	return vs
}

// firing marks on every panel since when an alert has fired.
func firing() dashboard.AnnotationQuery {
	return dashboard.AnnotationQuery{Name: "alerts", Enable: true, IconColor: vermilion, Datasource: source(), Expr: ptr(alerts),
		TitleFormat: ptr("{{alertname}}"), TextFormat: ptr("{{consumergroup}}{{processor}}{{endpoint}}"), Step: ptr("30s")}
}

const alerts = `ALERTS{alertname=~"Orderlog.+", alertstate="firing"}`

// links lead to the other boards, with the same time and variables, and to what tells
// more of one order than a chart can.
func links(from string) (ls []dashboard.DashboardLink) {
	for _, to := range Boards() {
		if to.UID != from {
			ls = append(ls, link(strings.TrimPrefix(to.Title, "orderlog / "), "/d/"+to.UID, "Another board, same time", false))
		}
	}
	return append(ls, link("Why?", repo+"docs/cli.md#orderlog-why", "`orderlog why ORDER` tells what has become of one order, and where it waits", true),
		link("Runbooks", repo+"docs/runbooks/README.md", "What each alert means, and what to do", true))
}

func link(title, url, tip string, outside bool) dashboard.DashboardLink {
	icon := "dashboard"
	if outside {
		icon = "doc"
	}
	return dashboard.DashboardLink{Title: title, Type: dashboard.DashboardLinkTypeLink, Icon: icon, Tooltip: tip, Url: ptr(url), Tags: []string{}, TargetBlank: outside, IncludeVars: !outside, KeepTime: !outside}
}

func ptr[T any](v T) *T { return &v }
