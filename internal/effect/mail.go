package effect

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	htmltemplate "html/template"
	"net/mail"
	"strings"
	"sync"
	"text/template"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
)

// The templates of a mail are named after the event, in the text file also with
// " subject" behind it.
//
//go:embed mail.txt mail.html
var mailFiles embed.FS

type mailTemplates struct {
	text *template.Template
	html *htmltemplate.Template
}

var templates = sync.OnceValue(func() mailTemplates {
	funcs := map[string]any{"money": schemas.Money, "percent": schemas.Percent, "day": day}
	return mailTemplates{
		template.Must(template.New("").Funcs(funcs).ParseFS(mailFiles, "mail.txt")),
		htmltemplate.Must(htmltemplate.New("").Funcs(funcs).ParseFS(mailFiles, "mail.html")),
	}
})

// day is the day of an RFC 3339 time, in UTC.
func day(timestamp string) string {
	d, _, _ := strings.Cut(timestamp, "T")
	return d
}

// compose makes the mail of an effect. Its Message-ID is the effect's, at every
// try; its Date is that of the try. An invoice comes along as PDF, and the
// effect's payload as it is, for machines.
func compose(from mail.Address, e schemas.Effect) (*gomail.Msg, error) {
	var n notification.Notice
	if err := json.Unmarshal([]byte(e.Payload), &n); err != nil {
		return nil, fmt.Errorf("reading the payload: %w", err)
	}
	to, err := mail.ParseAddress(e.To)
	if err != nil || to.Name != "" || to.Address != e.To {
		return nil, fmt.Errorf("%q is no mail address", e.To)
	}
	subject, text, html, err := render(n)
	if err != nil {
		return nil, err
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(&from)
	m.ToMailAddress(to)
	m.SetMessageIDWithValue(e.EffectID + from.Address[strings.LastIndexByte(from.Address, '@'):])
	m.SetDateWithValue(time.Now().UTC())
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's absence answers it
	m.Subject(subject)
	m.SetBodyString(gomail.TypeTextPlain, text)
	m.AddAlternativeString(gomail.TypeTextHTML, html)
	if n.Data.Invoice == nil {
		return m, nil
	}
	pdf, err := invoicePDF(from.Name, n.Data)
	if err != nil {
		return nil, fmt.Errorf("drawing the invoice: %w", err)
	}
	m.AttachReadSeeker(n.Data.Invoice.Number+".pdf", bytes.NewReader(pdf), gomail.WithFileContentType("application/pdf"))
	m.AttachReadSeeker(n.Data.Invoice.Number+".json", strings.NewReader(e.Payload), gomail.WithFileContentType("application/json"))
	return m, nil
}

func render(n notification.Notice) (subject, text, html string, err error) {
	ts := templates()
	if ts.html.Lookup(n.Type) == nil {
		return "", "", "", fmt.Errorf("there is no mail about %q", n.Type)
	}
	var s, t, h bytes.Buffer
	for _, err := range []error{
		ts.text.ExecuteTemplate(&s, n.Type+" subject", n),
		ts.text.ExecuteTemplate(&t, n.Type, n),
		ts.html.ExecuteTemplate(&h, n.Type, n),
	} {
		if err != nil {
			return "", "", "", fmt.Errorf("composing: %w", err)
		}
	}
	return s.String(), strings.TrimSpace(t.String()) + "\n", strings.TrimSpace(h.String()) + "\n", nil
}
