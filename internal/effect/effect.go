// Package effect does what must happen outside Kafka: it sends e-mails and calls
// webhooks. Each call is one try and says what came of it; when to try again, and
// what was tried before, is for its caller. It knows nothing of Kafka.
package effect

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/schemas"
)

// Class says what to do after a try.
type Class string

const (
	Sent      Class = "sent"      // it was taken
	Transient Class = "transient" // it was not, or nobody knows: try again later, and count this try
	Permanent Class = "permanent" // no later try of the same would end otherwise
	// Away: the endpoint could not be reached, or is known to be in trouble. It was
	// not told of this effect, whose fault that cannot be: nobody's try is counted.
	Away Class = "away"
)

// Outcome is what came of one try.
type Outcome struct {
	Class      Class
	Code       int           // of the answer, SMTP or HTTP; 0: there was none
	Text       string        // of the answer, or what went wrong; at most maxText bytes
	At         time.Time     // when that was known
	RetryAfter time.Duration // not before; a hint, 0: none
	Sick       bool          // the endpoint is in trouble, not only with this effect
}

// maxText is how much of an answer is kept, in bytes.
const maxText = 500

func (o Outcome) String() string {
	if o.Code == 0 {
		return fmt.Sprintf("%s: %s", o.Class, o.Text)
	}
	return fmt.Sprintf("%s: %d %s", o.Class, o.Code, o.Text)
}

func outcome(c Class, code int, format string, args ...any) Outcome {
	text := fmt.Sprintf(format, args...)
	if len(text) > maxText {
		text = text[:maxText]
	}
	text = strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), string(utf8.RuneError)))
	return Outcome{Class: c, Code: code, Text: text, At: time.Now()}
}

// sick marks an outcome as its endpoint's trouble.
func (o Outcome) sick() Outcome {
	o.Sick = true
	return o
}

// Sender tries once to send an effect. The end of ctx ends the try: what it was
// cannot be told from a lost connection.
type Sender interface {
	Send(ctx context.Context, e schemas.Effect) Outcome
}

// Endpoints are all senders of a configuration, each behind a gate of its own.
type Endpoints struct {
	gates map[string]*gate // by lane
	close []func()
}

// Options are what a configuration does not say.
type Options struct {
	Dir string // where mails are written to, if no SMTP server is configured

	// Dial and TLS are the network and whom to trust; nil is the machine's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	TLS  *tls.Config

	Report report.Reporter // told of panics, which are one effect's trouble; nil: nobody
}

// New makes what c describes, and connects to nothing yet.
func New(c Config, o Options) (*Endpoints, error) {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{}
	}
	es := &Endpoints{gates: map[string]*gate{}}
	switch {
	case c.Mail.Server != "":
		es.gates[schemas.KindEmail] = newGate(newSMTP(c.Mail, o), c.Mail.Concurrency)
	case c.Mail.To != "" || o.Dir != "":
		f, err := newFolder(o.Dir, c.Mail.From)
		if err != nil {
			return nil, err
		}
		es.gates[schemas.KindEmail] = newGate(f, c.Mail.Concurrency)
	}
	for _, w := range c.Webhooks {
		s := newWebhook(w, o)
		es.gates[webhookLane(w.Name)] = newGate(s, w.Concurrency)
		es.close = append(es.close, s.close)
	}
	if o.Report != nil {
		for _, g := range es.gates {
			g.report = o.Report
		}
	}
	return es, nil
}

// Close lets go of idle connections. No Send may be under way.
func (es *Endpoints) Close() {
	for _, c := range es.close {
		c()
	}
}

// Lane names what an effect shares with others: effects of one lane wait for each
// other where their endpoint is slow, effects of different lanes never.
func Lane(e schemas.Effect) string {
	if e.Kind == schemas.KindEmail {
		return e.Kind
	}
	return e.Kind + " " + e.To
}

func webhookLane(name string) string {
	return Lane(schemas.Effect{Kind: schemas.KindWebhook, To: name})
}

// Width is how many tries of a lane can be under way at once.
func (es *Endpoints) Width(lane string) int {
	if g := es.gates[lane]; g != nil {
		return cap(g.slots)
	}
	return 1
}

// Closed is for how long no try of a lane would be let through.
func (es *Endpoints) Closed(lane string) time.Duration {
	if g := es.gates[lane]; g != nil {
		return g.closed()
	}
	return 0
}

// Send is one try at the endpoint that e is for.
func (es *Endpoints) Send(ctx context.Context, e schemas.Effect) Outcome {
	g := es.gates[Lane(e)]
	switch {
	case !plain(e.EffectID):
		return outcome(Permanent, 0, "%q is no effect's ID: want letters, digits, - and _", e.EffectID)
	case e.Kind != schemas.KindEmail && e.Kind != schemas.KindWebhook:
		return outcome(Permanent, 0, "this program knows no effects of kind %q", e.Kind)
	case g == nil && e.Kind == schemas.KindEmail:
		return outcome(Permanent, 0, "no mail server and no folder for mails are configured any more")
	case g == nil:
		return outcome(Permanent, 0, "no webhook called %q is configured: add it again, then send this once more", e.To)
	}
	return g.Send(ctx, e)
}

// plain says that an ID can stand in a file name, a Message-ID and a webhook-id,
// where a point would make signatures ambiguous.
func plain(id string) bool {
	return id != "" && len(id) <= 100 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
