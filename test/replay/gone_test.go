package replay

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/topics"
)

// gone deletes records that somebody wants to go back to.
func gone(w *world) {
	w.scene(time.Now().Add(-4 * time.Hour))
	const partition = 1 // 10 records, 5 of them handled
	deleted := func(upTo int64) {
		topic := w.name(topics.OrderCommands)
		rs, err := w.adm.DeleteRecords(w.t.Context(), kadm.Offsets{topic: {partition: {Topic: topic, Partition: partition, At: upTo}}})
		must(w.t, err)
		must(w.t, rs.Error())
	}
	to := func(kind replay.Kind, n int64) replay.Spec {
		return replay.Spec{Groups: []string{"order"}, Target: replay.Target{Kind: kind, N: n}, Only: []replay.Selection{{Topic: topics.OrderCommands, Partitions: []int32{partition}}}}
	}
	hash := func(spec replay.Spec) replay.How {
		w.t.Helper()
		p, err := w.replayer(nil).Plan(w.t.Context(), spec)
		must(w.t, err)
		return replay.How{Hash: p.Hash, Wait: 20 * time.Second}
	}
	refused := func(why error, what string, spec replay.Spec, how replay.How, step func(replay.Step) error) {
		w.t.Helper()
		how.Wait = 20 * time.Second
		before := w.committed()
		if _, err := w.replayer(step).Run(w.t.Context(), spec, how); !errors.Is(err, why) || !strings.Contains(err.Error(), what) {
			w.t.Errorf("%v, want %v, of %s", err, why, what)
		}
		if after := w.committed(); !slices.Equal(before, after) {
			w.t.Errorf("offsets %v, and they were %v", after, before)
		}
		must(w.t, w.emptied())
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"after the plan", func() {
			how := hash(to(replay.ToOffset, 1))
			deleted(2)
			refused(replay.ErrProblem, "before the start", to(replay.ToOffset, 1), how, nil)
			refused(replay.ErrProblem, "before the start", to(replay.ShiftBy, -4), replay.How{}, nil)
		}},
		{"while the group is held", func() {
			refused(replay.ErrProblem, "before the start", to(replay.ToOffset, 2), hash(to(replay.ToOffset, 2)), func(s replay.Step) error {
				if s == replay.Seated {
					deleted(3)
				}
				return nil
			})
		}},
		{"what is left can be had", func() {
			_, err := w.replayer(nil).Run(w.t.Context(), to(replay.ToEarliest, 0), replay.How{Wait: 20 * time.Second})
			must(w.t, err)
			if at := w.committed()[partition].Offset; at != 3 {
				w.t.Errorf("offset %d, want 3", at)
			}
			_, err = w.replayer(nil).Undo(w.t.Context(), "order", replay.How{Wait: 20 * time.Second})
			must(w.t, err)
		}},
		{"before it is undone", func() {
			_, err := w.replayer(nil).Run(w.t.Context(), to(replay.ToLatest, 0), hash(to(replay.ToLatest, 0)))
			must(w.t, err)
			deleted(7)
			if _, err := w.replayer(nil).Undo(w.t.Context(), "order", replay.How{Wait: 20 * time.Second}); !errors.Is(err, replay.ErrProblem) || !strings.Contains(err.Error(), "offset 5 has gone") {
				w.t.Error(err)
			}
			must(w.t, w.emptied())
		}},
		{"before the group came to it", func() {
			_, err := w.replayer(nil).Run(w.t.Context(), to(replay.ToEarliest, 0), replay.How{Wait: 20 * time.Second})
			must(w.t, err)
			deleted(9)
			refused(replay.ErrProblem, "offset 7 has gone", to(replay.ToCurrent, 0), replay.How{}, nil)
			refused(replay.ErrWarned, "2 offsets had gone", to(replay.ToEarliest, 0), replay.How{}, nil)
			_, err = w.replayer(nil).Run(w.t.Context(), to(replay.ToEarliest, 0), hash(to(replay.ToEarliest, 0)))
			must(w.t, err)
			if at := w.committed()[partition].Offset; at != 9 {
				w.t.Errorf("offset %d, want 9", at)
			}
		}},
	} {
		if !w.t.Run(c.name, func(t *testing.T) {
			was := w.t
			defer func() { w.t = was }()
			w.t = t
			c.do()
		}) {
			return
		}
	}
}
