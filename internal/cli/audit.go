package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func newAudit(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:     "audit",
		Short:   "Show what persons have done",
		Example: example("orderlog audit list --from -24h"),
	})
	cmd.AddCommand(newAuditList(s))
	return cmd
}

type auditFlags struct {
	tailFlags
	who, what, group, target string
}

func newAuditList(s *session) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what was done by whom, about what, and why",
		Long: `Lists what persons have done about what failed, the first first. Of a dead letter
that was edited, -o json has the bytes as they were and as they are, and both decoded.`,
		Args:    nothing(),
		Example: example("orderlog audit list --from -24h", "orderlog audit list --what 'dlq.*' --key ord_CA-2014-100006 -o json", "orderlog audit list --follow"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.audit(cmd.Context(), f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.who, "who", "", "only of this `NAME`")
	fs.StringVar(&f.what, "what", "", "only this `ACTION`, e.g. dlq.discard or 'retries.*'")
	fs.StringVar(&f.group, "group", "", "only about this `PROCESSOR`")
	fs.StringVar(&f.key, "key", "", "only about the row with this `KEY`")
	fs.StringVar(&f.target, "target", "", "only about this `RECORD`: dead-letter/2/17")
	f.readingFlags(fs)
	return cmd
}

// did is an action as it is printed.
type did struct {
	At string `json:"at"`
	*schemas.Audited
	BeforeBody json.RawMessage `json:"before_body,omitempty"`
	AfterBody  json.RawMessage `json:"after_body,omitempty"`
}

func (f *auditFlags) fits(a *schemas.Audited) bool {
	what, _ := path.Match(f.what, a.What)
	record, _, _ := strings.Cut(a.Target, "@")
	return (f.who == "" || f.who == a.Who) && (f.what == "" || what) && (f.group == "" || f.group == a.Group) &&
		(f.key == "" || f.key == a.Key) && (f.target == "" || f.target == a.Target || f.target == record)
}

func (s *session) audit(ctx context.Context, f auditFlags) error {
	if _, err := path.Match(f.what, ""); err != nil {
		return usagef("--what %q: %w", f.what, err)
	}
	var all []did
	add := func(d did) error { all = append(all, d); return nil }
	if f.follow {
		add = s.printDid
	}
	var seen int64
	err := s.readTopic(ctx, topics.Audit, &f.tailFlags, func(serde *schemas.Serde, r *kgo.Record) (bool, error) {
		a, err := mend.Audited(ctx, serde, r)
		if err != nil {
			return false, err
		}
		if !f.fits(a) {
			return true, nil
		}
		seen++
		d := did{At: rfc(a.At), Audited: a, BeforeBody: bodyOf(ctx, serde, a.Before), AfterBody: bodyOf(ctx, serde, a.After)}
		return !f.follow || f.limit == 0 || seen < f.limit, add(d)
	})
	if f.follow && errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b did) int { return cmp.Compare(a.Audited.At, b.Audited.At) })
	if f.limit > 0 && int64(len(all)) > f.limit {
		all = all[:f.limit]
	}
	for _, d := range all {
		if err := s.printDid(d); err != nil {
			return err
		}
	}
	return nil
}

func bodyOf(ctx context.Context, serde *schemas.Serde, value []byte) json.RawMessage {
	if _, body, err := serde.Describe(ctx, value); err == nil {
		return body
	}
	if len(value) > 0 && json.Valid(value) {
		return value
	}
	return nil
}

func (s *session) printDid(d did) error {
	st := s.outStyle()
	return s.line(d, func(w io.Writer) error {
		text := fmt.Sprintf("%s %s %s %s %s %s %s", st.dim(d.At), word(d.Who), st.bold(word(d.What)), word(d.Group), word(d.Key), word(d.Target), line(d.Why))
		_, err := fmt.Fprintln(w, strings.TrimRight(text, " "))
		return err
	})
}
