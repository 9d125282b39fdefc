package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// policy lets the browser run what is embedded here, ask this process again, and
// nothing else.
var policy = fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	digest(pageCSS), digest(pageJS))

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Handler serves the page at / and its figures at /status.json: the last sample, and
// with ?since=MS, Unix milliseconds, those after that.
func (r *Recorder) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", r.servePage)
	mux.HandleFunc("GET /status.json", r.serveJSON)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.look()
		mux.ServeHTTP(w, req)
	})
}

func (r *Recorder) serveJSON(w http.ResponseWriter, req *http.Request) {
	now := r.Now()
	if now == nil {
		starting(w)
		return
	}
	st := Status{Now: *now}
	if since := req.FormValue("since"); since != "" {
		ms, err := strconv.ParseInt(since, 10, 64)
		if err != nil {
			http.Error(w, "since: want Unix milliseconds, or 0 for all samples that there are", http.StatusBadRequest)
			return
		}
		for _, s := range r.Since(time.UnixMilli(ms)) {
			st.Past = append(st.Past, *s)
		}
	}
	body, err := json.Marshal(st)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	head(w, "application/json")
	w.Write(append(body, '\n'))
}

func starting(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "starting: there is no sample yet", http.StatusServiceUnavailable)
}

func head(w http.ResponseWriter, content string) {
	h := w.Header()
	h.Set("Content-Type", content)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// page is what page.html shows.
type page struct {
	Style template.CSS
	JS    template.JS
	*Sample
	Bad    bool // one of the problems is
	Charts []chart
	Groups []group
	Bars   []stateBar
	Window string
	Kept   string
	Wide   int
	High   int
	Mid    int
}

// group is a processor with small pictures of its last minutes.
type group struct {
	Processor
	FlowPath, BehindPath string
}

type stateBar struct {
	State
	Percent string // of the most frequent state
}

func (r *Recorder) servePage(w http.ResponseWriter, _ *http.Request) {
	samples := r.Since(time.Time{})
	if len(samples) == 0 {
		starting(w)
		return
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newPage(samples)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	head(w, "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Write(b.Bytes())
}

func newPage(samples []*Sample) page {
	now := samples[len(samples)-1]
	p := page{Style: template.CSS(pageCSS), JS: template.JS(pageJS), Sample: now, Window: Figure(Window.Seconds()).Duration(), Kept: Figure(Kept.Seconds()).Duration(),
		Wide: wide, High: high, Mid: high / 2, Bad: len(now.Problems) > 0 && now.Problems[0].Bad}
	p.Charts = []chart{
		newChart("flow", "Orders per second", rates, samples,
			series{"placed", true, func(s *Sample) Figure { return s.Orders.Placed }},
			series{"invoiced", false, func(s *Sample) Figure { return s.Orders.Invoiced }},
			series{"rejected", false, func(s *Sample) Figure { return s.Orders.Rejected }}),
		newChart("latency", "Placed to invoiced", times, samples,
			series{"99 % within", true, func(s *Sample) Figure { return s.Orders.P99 }},
			series{"half within", false, func(s *Sample) Figure { return s.Orders.P50 }}),
		newChart("behind", "Behind, the worst processor", times, samples,
			series{"behind", true, (*Sample).Behind}),
	}
	for _, proc := range now.Processors {
		flow, behind := figureOf(proc.Name, func(p Processor) Figure { return p.In }), figureOf(proc.Name, func(p Processor) Figure { return p.Behind })
		p.Groups = append(p.Groups, group{proc, path(samples, flow, max(1, peak(samples, flow)), 5), path(samples, behind, max(1, peak(samples, behind)), 5)})
	}
	most := 0.0
	for _, s := range now.States {
		most = max(most, float64(s.Orders))
	}
	for _, s := range now.States {
		p.Bars = append(p.Bars, stateBar{s, strconv.FormatFloat(100*float64(s.Orders)/max(1, most), 'f', 1, 64) + "%"})
	}
	return p
}

// figureOf finds one of a processor's figures in a sample.
func figureOf(name string, figure func(Processor) Figure) func(*Sample) Figure {
	return func(s *Sample) Figure {
		for _, p := range s.Processors {
			if p.Name == name {
				return figure(p)
			}
		}
		return unknown
	}
}
