package effect

import (
	"net/mail"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/orderlog/orderlog/processors/notification"
)

const aSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"effects.yaml": text, "secret": aSecret + "\r\nwhat comes after is not read\n", "password": "geheim\n", "empty": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(filepath.Join(dir, "effects.yaml"))
}

func TestLoad(t *testing.T) {
	key, err := decodeSecret(aSecret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := load(t, `
since: 2026-01-31
mail:
  to: "{customer}@shop.example"
  from: Shop <orders@shop.example>
  server: smtp.shop.example:465
  tls: tls
  user: orders
  password-file: password
  timeout: 30s
  concurrency: 2
webhooks:
  - name: erp
    url: https://erp.example/hooks
    secrets: [`+aSecret+`]
    secret-files: secret
    events: [order.*, voucher.granted]
    timeout: 5s
    concurrency: 1
  - {name: all, url: "http://127.0.0.1:8080", secrets: `+aSecret+`}
`)
	want := Config{
		Since: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		Mail: Mail{To: "{customer}@shop.example", From: mail.Address{Name: "Shop", Address: "orders@shop.example"}, Server: "smtp.shop.example:465", TLS: TLS,
			User: "orders", Password: "geheim", Timeout: 30 * time.Second, Concurrency: 2},
		Webhooks: []Webhook{
			{Name: "erp", URL: "https://erp.example/hooks", Secrets: [][]byte{key, key}, Events: []string{"order.*", "voucher.granted"}, Timeout: 5 * time.Second, Concurrency: 1},
			{Name: "all", URL: "http://127.0.0.1:8080", Secrets: [][]byte{key}, Timeout: 20 * time.Second, Concurrency: 4},
		},
	}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v, error %v\nwant %+v", c, err, want)
	}
	rule := notification.Config{Mail: "{customer}@shop.example", Since: want.Since.UnixMilli(), Webhooks: []notification.Webhook{{Name: "erp", Events: []string{"order.*", "voucher.granted"}}, {Name: "all"}}}
	if got := c.Rule(); !reflect.DeepEqual(got, rule) {
		t.Errorf("the rule is told %+v", got)
	}
	for _, empty := range []string{"", "# nothing\n", "mail: {}\nwebhooks: []\n"} {
		if c, err := load(t, empty); err != nil || !reflect.DeepEqual(c, Default()) {
			t.Errorf("%q: %+v, %v", empty, c, err)
		}
	}
	if c, err := load(t, "mail: {to: \"\", from: a@b.example, server: smtp.shop.example:587}"); err != nil || c.Rule().Mail != "" {
		t.Errorf("no mails: %+v, %v", c, err)
	}
	if c := Default().Rule(); c.Since != 0 {
		t.Errorf("without a file: %+v", c)
	}
}

// Every fault is told with its line and its name, and without a secret.
func TestLoadRefuses(t *testing.T) {
	const hook = "webhooks:\n- name: erp\n  url: https://erp.example\n  secrets: [" + aSecret + "]\n"
	for _, c := range []struct{ text, want string }{
		{"mail: {", ": yaml: line 1: did not find"},
		{"webhook: []", ":1: webhook: no such setting: did you mean webhooks?"},
		{"- mail", ":1: want settings"},
		{"\nmail: yes", ":2: mail: want settings, `name: value`, of concurrency"},
		{"mail:\n  form: x", ":2: mail.form: no such setting: did you mean from?"},
		{"mail:\n  to: a@b.example\n  to: c@b.example", ":3: mail.to: is there twice"},
		{"mail:\n  from: nobody", `:2: mail.from: "nobody": want an address`},
		{"mail:\n  to: \"{customer}\"", `:2: mail.to: "{customer}" makes "cus_1" of customer cus_1`},
		{"mail:\n  to: \"X <{customer}@b.example>\"", ":2: mail.to: "},
		{"mail:\n  server: smtp.shop.example", `:2: mail.server: "smtp.shop.example": want host:port`},
		{"mail:\n  server: smtp.shop.example:25", ":2: mail.to: is missing"},
		{"mail:\n  server: smtp.shop.example:25\n  to: all@shop.example", ":2: mail.from: is missing"},
		{"mail:\n  tls: ssl", `:2: mail.tls: "ssl": want one of starttls, tls, none`},
		{"mail:\n  user: x", ":2: mail: user and password-file go together"},
		{"mail:\n  password-file: nowhere", ":2: mail.password-file: open "},
		{"mail:\n  password-file: empty", ":2: mail.password-file: the first line of "},
		{"mail:\n  timeout: 1h", `:2: mail.timeout: "1h": want a duration from 1s to 10m`},
		{"mail:\n  concurrency: 0", `:2: mail.concurrency: "0": want a number from 1 to 1000`},
		{"mail:\n  from: [a, b]", ":2: mail.from: want a plain value"},
		{"since: yesterday", `:1: since: "yesterday": want a day or a time`},
		{"webhooks: {name: x}", ":1: webhooks: want a list"},
		{"webhooks:\n- x", ":2: webhooks[0]: want settings"},
		{"webhooks:\n- url: https://x.example", ":2: webhooks[0].name: is missing"},
		{"webhooks:\n- name: Erp", `:2: webhooks[0].name: "Erp": want small letters`},
		{"webhooks:\n- name: erp", ":2: webhooks[0].url: is missing"},
		{"webhooks:\n- name: erp\n  url: ftp://x.example", ":3: webhooks[0].url: want a URL"},
		{"webhooks:\n- name: erp\n  url: https://x.example", ":2: webhooks[0].secrets: is missing"},
		{"webhooks:\n- name: erp\n  secrets: [" + aSecret + ", geheim]", ":3: webhooks[0].secrets[1]: a secret begins with whsec_"},
		{"webhooks:\n- name: erp\n  secrets: whsec_geheim!", ":3: webhooks[0].secrets: what comes after whsec_ is not base64"},
		{"webhooks:\n- name: erp\n  secrets: whsec_Z2VoZWlt", ":3: webhooks[0].secrets: a secret of 6 bytes: want 24 to 64"},
		{"webhooks:\n- name: erp\n  secret-files: [password]", ":3: webhooks[0].secret-files[0]: a secret begins with whsec_"},
		{hook + "  events: [order.invoice]", `:5: webhooks[0].events[0]: "order.invoice": no such event: did you mean order.invoiced?`},
		{hook + "  events: [\"stock.*\"]", ":5: webhooks[0].events[0]: "},
		{hook + strings.TrimPrefix(hook, "webhooks:\n"), `:5: webhooks[1].name: there are two webhooks called "erp"`},
	} {
		_, err := load(t, c.text)
		if err == nil || !strings.Contains(err.Error(), "effects.yaml"+c.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "effects.yaml")); err == nil || !strings.Contains(err.Error(), "reading the configuration of effects") {
		t.Errorf("without the file: %v", err)
	}
}

// The example in the documentation is a configuration.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("../../docs/effects.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if c, err := load(t, example); err != nil || len(c.Webhooks) != 1 || c.Mail.Password == "" || c.Since.IsZero() {
		t.Errorf("%+v, error %v", c, err)
	}
}
