package cli

import (
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bar shows how far some work is, and how fast, where a person looks at stderr.
// Elsewhere it is silent. The zero value is silent too.
type bar struct {
	all *mpb.Progress
	one *mpb.Bar
}

// bar begins one; a total of 0 is not known yet.
func (s *session) bar(name string, total int64) *bar {
	if !s.env.StderrTerminal {
		return &bar{}
	}
	all := mpb.New(mpb.WithOutput(s.env.Stderr), mpb.WithWidth(80), mpb.WithAutoRefresh())
	one := all.New(total, mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"), mpb.BarWidth(30),
		mpb.PrependDecorators(decor.Name(name, decor.WC{W: 24, C: decor.DindentRight}), decor.CountersNoUnit("%d / %d ", decor.WC{W: 18})),
		mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f/s")))
	return &bar{all, one}
}

// at moves it. Once done is total it is complete.
func (b *bar) at(done, total int64) {
	if b.one != nil {
		b.one.SetTotal(max(total, 1), false)
		b.one.SetCurrent(done)
	}
}

// end leaves it as it is and waits until it is drawn.
func (b *bar) end() {
	if b.one != nil {
		b.one.Abort(false)
		b.all.Wait()
	}
}
