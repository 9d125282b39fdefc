package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Clock differences that matter: deadlines are minutes, and the registry's Date
// has whole seconds.
const (
	skewWarn = 5 * time.Second
	skewFail = time.Minute
)

func (s *session) examineRegistry(ctx context.Context, f *findings) {
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	const away = "start it, or name yours with --registry or ORDERLOG_REGISTRY"
	u, err := url.Parse(s.set.registry)
	if err != nil || u.Host == "" {
		f.fail("want one like http://127.0.0.1:8081", "--registry is no URL")
		return
	}
	user := u.User
	u.User = nil
	if err := s.examineClock(ctx, f, u, user); err != nil {
		f.fail(cmp.Or(s.access.hint(err), away), "the schema registry at %s does not answer: %v", u, err)
		return
	}
	opts := []sr.ClientOpt{sr.URLs(u.String()), sr.HTTPClient(s.httpClient())}
	if user != nil {
		password, _ := user.Password()
		opts = append(opts, sr.BasicAuth(user.Username(), password))
	}
	cl, err := sr.NewClient(opts...)
	if err != nil {
		f.fail("", "%v", err)
		return
	}
	if err := s.examineSchemas(ctx, f, cl); err != nil {
		f.fail(away, "the schema registry at %s: %v", u, err)
	}
}

func (s *session) examineSchemas(ctx context.Context, f *findings, cl *sr.Client) error {
	var missing []string
	total := 0
	for _, t := range topics.All() {
		for _, name := range t.Records {
			r, ok := schemas.Find(name)
			if !ok {
				continue
			}
			total++
			subject := s.name(t.Name) + "-" + r.FullName()
			_, err := cl.LookupSchema(ctx, subject, sr.Schema{Schema: r.Avsc, Type: sr.TypeAvro})
			var answer *sr.ResponseError
			switch {
			case err == nil:
			case errors.As(err, &answer) && sr.IsNotFoundError(answer.ErrorCode):
				missing = append(missing, subject)
			default:
				return err
			}
		}
	}
	if len(missing) == 0 {
		f.ok("all %d schemas are registered", total)
		return nil
	}
	f.warn("the first start of `orderlog run` or any command registers them", "%d of %d schemas are not registered as this build has them: %s",
		len(missing), total, some(missing))
	return nil
}

// examineClock compares our clock with the registry's Date. The error says that
// nobody answered.
func (s *session) examineClock(ctx context.Context, f *findings, u *url.URL, user *url.Userinfo) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("subjects").String(), nil)
	if err != nil {
		return err
	}
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	sent := s.env.Now()
	resp, err := s.httpClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	f.ok("the schema registry answers at %s", u)
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		f.warn("", "the clock could not be compared: the schema registry answers without a Date")
		return nil
	}
	// Date is cut to the second: the middle of that second is the best guess.
	skew := sent.Sub(date.Add(500 * time.Millisecond)).Round(time.Second)
	switch abs := max(skew, -skew); {
	case abs >= skewFail:
		f.fail("set the clock: event times and deadlines follow it", "this clock differs from the schema registry's by %v", skew)
	case abs >= skewWarn:
		f.warn("is the time synchronised here and there?", "this clock differs from the schema registry's by %v", skew)
	default:
		f.ok("this clock agrees with the schema registry's")
	}
	return nil
}
