package sim

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/scenario"
	"github.com/orderlog/orderlog/topics"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

// Stories are scenarios of all rules together. A step is a message from outside, or
//
//	lose GROUP      the next thing that it writes is lost
//	again TYPE KEY  records of that type and key are shown once more
//	rewind GROUP    it begins anew, its rows kept
//
// and below it stands what then became of the orders and their vouchers; what was lost
// is marked with "lost".
func TestStories(t *testing.T) {
	scenario.Run(t, *update, func() scenario.Player {
		w := New(Config{Rules: Rules(100_000), Partitions: 2, Pick: func(int) int { return 0 }, Guard: true})
		return func(n int, line string) (string, error) {
			seen := shown(w)
			w.Lost = nil
			if err := w.obey(n, line); err != nil {
				return "", err
			}
			w.Settle()
			var out strings.Builder
			for _, m := range w.Lost {
				fmt.Fprintf(&out, "  lost %s %s %s\n", m.Topic, m.Key, m.Type)
			}
			for _, m := range shown(w) {
				if !slices.Contains(seen, m) {
					fmt.Fprintf(&out, "  -> %s\n", m)
				}
			}
			return out.String(), nil
		}
	})
}

func (w *World) obey(n int, line string) error {
	switch words := strings.Fields(line); words[0] {
	case "lose":
		w.Lose(words[1])
	case "rewind":
		w.Rewind(words[1])
	case "again":
		return w.again(words[1], words[2])
	default:
		m, err := scenario.Message(n, line, "", time.Time{})
		if err != nil {
			return err
		}
		m.Topic = topicOf(m.Type)
		w.Send(m)
	}
	return nil
}

func topicOf(command string) string {
	service, _, _ := strings.Cut(command, ".")
	return strings.TrimSuffix(service, "s") + "-commands"
}

// again shows what a rule has written once more.
func (w *World) again(messageType, key string) error {
	found := false
	for _, t := range topics.All() {
		for _, r := range w.Records(t.Name) {
			if r.Type == messageType && r.Key == key && r.Origin != nil {
				w.append(r.Message, r.Origin)
				found = true
			}
		}
	}
	if !found {
		return fmt.Errorf("there is no %s of %s", messageType, key)
	}
	return nil
}

// shown is what a story tells of: each record, with its number, so that one that comes
// twice shows.
func shown(w *World) (all []string) {
	times := map[string]int{}
	for _, topic := range []string{topics.OrderTable, topics.VoucherTable, topics.Vouchers} {
		for _, r := range w.Records(topic) {
			s := describe(r.Message)
			if times[s]++; times[s] > 1 {
				s += fmt.Sprintf(" (%d times)", times[s])
			}
			all = append(all, s)
		}
	}
	return all
}

func describe(m flow.Message) string { return fmt.Sprintf("%s %s %s", m.Topic, m.Key, m.Type) }
