package effect

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
)

var shop = mail.Address{Name: "Shöp", Address: "orders@shop.example"}

// part is a leaf of a MIME message: its type, its file's name and its decoded body.
type part struct{ kind, name, body string }

// parts takes a message apart as a mail program does.
func parts(t *testing.T, header map[string][]string, body io.Reader) (structure string, leaves []part) {
	t.Helper()
	get := func(k string) string { return strings.Join(header[k], "") }
	kind, params, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil {
		t.Fatalf("content type %q: %v", get("Content-Type"), err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		switch get("Content-Transfer-Encoding") {
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		default:
			t.Fatalf("encoding %q", get("Content-Transfer-Encoding"))
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		_, disposition, _ := mime.ParseMediaType(get("Content-Disposition"))
		return kind, []part{{kind, disposition["filename"], string(text)}}
	}
	var inner []string
	for r := multipart.NewReader(body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return kind + "(" + strings.Join(inner, " ") + ")", leaves
		}
		if err != nil {
			t.Fatal(err)
		}
		s, ls := parts(t, p.Header, p)
		inner, leaves = append(inner, s), append(leaves, ls...)
	}
}

func read(t *testing.T, raw []byte) (*mail.Message, string, []part) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	structure, leaves := parts(t, m.Header, m.Body)
	return m, structure, leaves
}

func TestMails(t *testing.T) {
	dir := t.TempDir()
	es, err := New(Config{Mail: Mail{From: shop, Concurrency: 1}}, Options{Dir: filepath.Join(dir, "mails")})
	if err != nil {
		t.Fatal(err)
	}
	all := effects(t, notification.Config{Mail: "{customer}@shop.example"}, "ord_1")
	const both = "multipart/alternative(text/plain text/html)"
	for _, c := range []struct{ event, subject, structure, says string }{
		{schemas.OrderApproved, "Order ord_1 is confirmed", both, "total 140.41 EUR"},
		{schemas.OrderRejected, "Order ord_1x could not be accepted", both, "out_of_stock: line 1 sku_Bücherregal <b> (wanted 2, on hand 0)"},
		{schemas.OrderInvoiced, "Invoice A-2026-000001 for order ord_1", "multipart/mixed(" + both + " application/pdf application/json)", "1 x sku_b at 19.99 EUR less 10 %: 17.99 EUR"},
		{schemas.OrderDelivered, "Order ord_1 is delivered", both, "2026-01-05"},
		{schemas.VoucherGrantedEvent, "A voucher of 5.00 EUR", both, "vch_1"},
	} {
		e := about(t, all, c.event)
		var raw []byte
		for range 2 { // the second is the same file
			o := es.Send(t.Context(), e)
			if raw, err = os.ReadFile(o.Text); o.Class != Sent || err != nil {
				t.Fatalf("%s: %v, %v", c.event, o, err)
			}
		}
		m, structure, leaves := read(t, raw)
		subject, _ := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if subject != c.subject || structure != c.structure {
			t.Errorf("%s: %q, %s", c.event, subject, structure)
		}
		if got := m.Header.Get("Message-ID"); got != "<"+e.EffectID+"@shop.example>" {
			t.Errorf("%s: Message-ID %s", c.event, got)
		}
		for _, h := range []struct{ name, want string }{{"To", "<cus_1@shop.example>"}, {"From", "=?utf-8?q?Sh=C3=B6p?= <orders@shop.example>"}, {"Auto-Submitted", "auto-generated"}} {
			if got := m.Header.Get(h.name); got != h.want {
				t.Errorf("%s: %s is %q", c.event, h.name, got)
			}
		}
		if !strings.Contains(leaves[0].body, c.says) || strings.Contains(leaves[0].body, "<no value>") {
			t.Errorf("%s: text is\n%s", c.event, leaves[0].body)
		}
		if strings.Contains(leaves[1].body, "<b> ") || strings.Contains(leaves[1].body, "no value") {
			t.Errorf("%s: HTML is not escaped:\n%s", c.event, leaves[1].body)
		}
		if c.event == schemas.OrderInvoiced {
			checkInvoice(t, e, leaves[2:])
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "mails", "*"))
	if len(files) != len(all) {
		t.Errorf("%d files of %d mails: %v", len(files), len(all), files)
	}
}

func checkInvoice(t *testing.T, e schemas.Effect, attached []part) {
	t.Helper()
	pdf, machine := attached[0], attached[1]
	if pdf.name != "A-2026-000001.pdf" || machine.name != "A-2026-000001.json" || machine.body != e.Payload {
		t.Errorf("attached are %q, %q of %s", pdf.name, machine.name, machine.body)
	}
	if !strings.HasPrefix(pdf.body, "%PDF-1.") || !strings.HasSuffix(pdf.body, "%%EOF\n") {
		t.Errorf("not a PDF: %.20q ... %q", pdf.body, pdf.body[max(0, len(pdf.body)-20):])
	}
	for _, want := range []string{"(Invoice A-2026-000001)", "(Order ord_1)", "(sku_B\xfccherregal <b>)", "(100.00)", "(10 %)", "(140.41)", "/CreationDate (D:20260105", "/ModDate (D:20260105"} {
		if !strings.Contains(pdf.body, want) {
			t.Errorf("the PDF lacks %s", want)
		}
	}
}

// The same invoice is the same bytes, of any length.
func TestInvoiceIsTheSameBytes(t *testing.T) {
	d := notification.Data{OrderID: "ord_1", Currency: "EUR", VATBP: 1900, Invoice: &notification.Invoice{Number: "A-1", IssuedAt: "2014-01-03T00:00:00.000Z"}}
	for i := range 120 {
		d.Lines = append(d.Lines, notification.Line{SKU: "sku_" + strings.Repeat("Ж\x01(", i), Quantity: int64(i), UnitPrice: 1 << 60, Net: 1 << 60})
	}
	first, err := invoicePDF("Shop", d)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := invoicePDF("Shop", d)
	if !bytes.Equal(first, again) {
		t.Error("twice the same invoice differs")
	}
	if pages := bytes.Count(first, []byte("/Type /Page\n")); pages != 3 {
		t.Errorf("%d pages", pages)
	}
}

// What an order says of itself comes from outside: it must neither add a header
// nor a recipient.
func TestHostileOrders(t *testing.T) {
	es, err := New(Config{Mail: Mail{From: shop, Concurrency: 1}}, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"ord_\r\nBcc: all@shop.example\r\n\r\nhello", "ord_\x00\x01\x7f", "ord_" + strings.Repeat("ü", 120), "ord_<script>"} {
		for _, e := range effects(t, notification.Config{Mail: "{customer}@shop.example"}, id) {
			o := es.Send(t.Context(), e)
			if o.Class != Sent {
				t.Fatalf("%q: %v", id, o)
			}
			raw, err := os.ReadFile(o.Text)
			if err != nil {
				t.Fatal(err)
			}
			m, _, leaves := read(t, raw)
			for name := range m.Header {
				if !slices.Contains([]string{"Auto-Submitted", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To"}, name) {
					t.Errorf("%q adds the header %s: %q", id, name, m.Header[name])
				}
			}
			if strings.Contains(leaves[1].body, "<script>") {
				t.Errorf("%q is markup: %s", id, leaves[1].body)
			}
		}
	}
	good := about(t, effects(t, notification.Config{Mail: "x"}, "ord_1"), schemas.OrderDelivered)
	for _, to := range []string{"", "cus_1", "cus_a@x.example@shop.example", "cus_ <x@x.example>", "a@x.example, b@x.example", "cus_\r\nRCPT TO:<x@x.example>@shop.example", `"a b"@shop.example`} {
		e := good
		e.To = to
		if o := es.Send(t.Context(), e); o.Class != Permanent {
			t.Errorf("to %q: %v", to, o)
		}
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	es, err := New(Config{Mail: Mail{From: shop, Concurrency: 1}}, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	good := about(t, effects(t, notification.Config{Mail: "a@shop.example"}, "ord_1"), schemas.OrderDelivered)
	for _, c := range []struct {
		name   string
		change func(*schemas.Effect)
	}{
		{"no ID", func(e *schemas.Effect) { e.EffectID = "" }},
		{"a path for an ID", func(e *schemas.Effect) { e.EffectID = "../x" }},
		{"another kind", func(e *schemas.Effect) { e.Kind = "letter" }},
		{"a webhook that is not configured", func(e *schemas.Effect) { e.Kind, e.To = schemas.KindWebhook, "gone" }},
		{"no JSON", func(e *schemas.Effect) { e.Payload = "{" }},
		{"an event without a mail", func(e *schemas.Effect) { e.Payload = `{"type":"lines"}` }},
		{"an invoice without a date", func(e *schemas.Effect) { e.Payload = `{"type":"order.invoiced","data":{"invoice":{}}}` }},
		{"no invoice", func(e *schemas.Effect) { e.Payload = `{"type":"order.invoiced"}` }},
	} {
		e := good
		c.change(&e)
		if o := es.Send(t.Context(), e); o.Class != Permanent || o.Text == "" || o.Sick {
			t.Errorf("%s: %v", c.name, o)
		}
	}
}

// A folder that cannot be written to is nobody's fault.
func TestFolderAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mails")
	es, err := New(Config{Mail: Mail{From: shop, Concurrency: 1}}, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	e := about(t, effects(t, notification.Config{Mail: "a@shop.example"}, "ord_1"), schemas.OrderDelivered)
	if o := es.Send(t.Context(), e); o.Class != Away || !o.Sick {
		t.Errorf("%v", o)
	}
	if _, err := New(Default(), Options{}); err == nil {
		t.Error("mails that go nowhere are accepted")
	}
}
