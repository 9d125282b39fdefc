package effect

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/orderlog/orderlog/internal/near"
	"github.com/orderlog/orderlog/processors/notification"
)

// Config is who is told of events, and how.
type Config struct {
	Since    time.Time // nobody is told of what happened before; zero: of everything
	Mail     Mail
	Webhooks []Webhook
}

// Mail says how customers get mails.
type Mail struct {
	To   string // address, notification.Customer in it stands for the customer's ID; "": nobody gets mails
	From mail.Address

	Server         string // host:port of the SMTP server; "": mails are written as files
	TLS            string // StartTLS, TLS or NoTLS
	User, Password string // "": no login

	Timeout     time.Duration // of one mail
	Concurrency int           // mails under way at once
}

// Webhook is an endpoint.
type Webhook struct {
	Name        string // for good: effects that wait are for this name
	URL         string
	Secrets     [][]byte // each signs
	Events      []string // as notification.Wants takes them
	Timeout     time.Duration
	Concurrency int
}

// Default is the configuration without a file: mails as files, no webhooks.
func Default() Config {
	return Config{Mail: Mail{
		To: notification.Customer + "@example.invalid", From: mail.Address{Name: "orderlog", Address: "orderlog@example.invalid"},
		TLS: StartTLS, Timeout: time.Minute, Concurrency: 4,
	}}
}

// Rule is what the rule needs to know of c.
func (c Config) Rule() notification.Config {
	r := notification.Config{Mail: c.Mail.To}
	if !c.Since.IsZero() {
		r.Since = c.Since.UnixMilli()
	}
	for _, w := range c.Webhooks {
		r.Webhooks = append(r.Webhooks, notification.Webhook{Name: w.Name, Events: w.Events})
	}
	return r
}

// Load reads a configuration file; docs/effects.md describes it. Errors begin
// with the file, the line and the setting.
func Load(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration of effects: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	c, f := Default(), file{dir: filepath.Dir(path)}
	if len(doc.Content) > 0 {
		err = f.config(doc.Content[0], &c)
	}
	if err != nil {
		return Config{}, fmt.Errorf("%s:%w", path, err)
	}
	return c, nil
}

// file is a configuration file being read; paths in it are relative to dir.
type file struct{ dir string }

// A setting takes its value from a node; path is its name in errors.
type setting func(n *yaml.Node, path string) error

func (f file) config(n *yaml.Node, c *Config) error {
	return mapping(n, "", map[string]setting{
		"since":    text(func(s string) (err error) { c.Since, err = since(s); return err }),
		"mail":     func(n *yaml.Node, path string) error { return f.mail(n, path, &c.Mail) },
		"webhooks": func(n *yaml.Node, path string) error { return f.webhooks(n, path, c) },
	})
}

func (f file) mail(n *yaml.Node, path string, m *Mail) error {
	none := *m
	err := mapping(n, path, map[string]setting{
		"to":            text(func(s string) error { m.To = s; return checkTo(s) }),
		"from":          text(func(s string) (err error) { m.From, err = from(s); return err }),
		"server":        text(func(s string) error { m.Server = s; return checkServer(s) }),
		"tls":           text(func(s string) error { m.TLS = s; return oneOf(s, StartTLS, TLS, NoTLS) }),
		"user":          text(func(s string) error { m.User = s; return nil }),
		"password-file": text(func(s string) (err error) { m.Password, err = f.read(s); return err }),
		"timeout":       duration(&m.Timeout),
		"concurrency":   count(&m.Concurrency),
	})
	switch {
	case err != nil:
		return err
	case m.Server != "" && m.To == none.To:
		return at(n, path+".to", errors.New("is missing: where do customers get their mails? Set an address with {customer} in it, or \"\" for no mails"))
	case m.Server != "" && m.From == none.From:
		return at(n, path+".from", errors.New("is missing: set the sender, as in: Shop <orders@shop.example>"))
	case (m.User == "") != (m.Password == ""):
		return at(n, path, errors.New("user and password-file go together"))
	}
	return nil
}

func (f file) webhooks(n *yaml.Node, path string, c *Config) error {
	if n.Kind != yaml.SequenceNode {
		return at(n, path, errors.New("want a list: each webhook begins with a dash"))
	}
	for i, item := range n.Content {
		here := fmt.Sprintf("%s[%d]", path, i)
		w := Webhook{Timeout: 20 * time.Second, Concurrency: 4}
		if err := f.webhook(item, here, &w); err != nil {
			return err
		}
		if slices.ContainsFunc(c.Webhooks, func(o Webhook) bool { return o.Name == w.Name }) {
			return at(item, here+".name", fmt.Errorf("there are two webhooks called %q", w.Name))
		}
		c.Webhooks = append(c.Webhooks, w)
	}
	return nil
}

func (f file) webhook(n *yaml.Node, path string, w *Webhook) error {
	secret := func(s string) error {
		key, err := decodeSecret(s)
		w.Secrets = append(w.Secrets, key)
		return err
	}
	err := mapping(n, path, map[string]setting{
		"name":    text(func(s string) error { w.Name = s; return checkName(s) }),
		"url":     text(func(s string) error { w.URL = s; return checkURL(s) }),
		"secrets": list(secret),
		"secret-files": list(func(s string) error {
			s, err := f.read(s)
			if err != nil {
				return err
			}
			return secret(s)
		}),
		"events":      list(func(s string) error { w.Events = append(w.Events, s); return checkEvent(s) }),
		"timeout":     duration(&w.Timeout),
		"concurrency": count(&w.Concurrency),
	})
	switch {
	case err != nil:
		return err
	case w.Name == "":
		return at(n, path+".name", errors.New("is missing: choose one and keep it, effects that wait are for that name"))
	case w.URL == "":
		return at(n, path+".url", errors.New("is missing"))
	case len(w.Secrets) == 0:
		return at(n, path+".secrets", errors.New("is missing: set secrets or secret-files; `echo whsec_$(openssl rand -base64 32)` makes one"))
	}
	return nil
}

// read returns the first line of a file.
func (f file) read(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(f.dir, path)
	}
	content, err := os.ReadFile(path)
	line, _, _ := strings.Cut(string(content), "\n")
	line = strings.TrimRight(line, "\r")
	if err == nil && line == "" {
		err = fmt.Errorf("the first line of %s is empty", path)
	}
	return line, err
}

// at says where in the file an error is.
func at(n *yaml.Node, path string, err error) error {
	if path == "" {
		return fmt.Errorf("%d: %w", n.Line, err)
	}
	return fmt.Errorf("%d: %s: %w", n.Line, path, err)
}

// mapping reads settings that are known, each at most once.
func mapping(n *yaml.Node, path string, settings map[string]setting) error {
	known := slices.Sorted(maps.Keys(settings))
	if n.Kind != yaml.MappingNode {
		return at(n, path, fmt.Errorf("want settings, `name: value`, of %s", strings.Join(known, ", ")))
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		name := n.Content[i].Value
		full := strings.TrimPrefix(path+"."+name, ".")
		set, ok := settings[name]
		switch {
		case !ok:
			return at(n.Content[i], full, unknown("setting", name, known))
		case seen[name]:
			return at(n.Content[i], full, errors.New("is there twice"))
		}
		seen[name] = true
		if err := set(n.Content[i+1], full); err != nil {
			return err
		}
	}
	return nil
}

func unknown(what, word string, known []string) error {
	if w := near.Word(word, known); w != "" {
		return fmt.Errorf("no such %s: did you mean %s?", what, w)
	}
	return fmt.Errorf("no such %s: there are %s", what, strings.Join(known, ", "))
}

func text(set func(string) error) setting {
	return func(n *yaml.Node, path string) error {
		if n.Kind != yaml.ScalarNode {
			return at(n, path, errors.New("want a plain value"))
		}
		if err := set(n.Value); err != nil {
			return at(n, path, err)
		}
		return nil
	}
}

// list takes several values, or one as it is.
func list(add func(string) error) setting {
	return func(n *yaml.Node, path string) error {
		if n.Kind != yaml.SequenceNode {
			return text(add)(n, path)
		}
		for i, item := range n.Content {
			if err := text(add)(item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	}
}

func duration(d *time.Duration) setting {
	return text(func(s string) (err error) {
		if *d, err = time.ParseDuration(s); err != nil || *d < time.Second || *d > 10*time.Minute {
			return fmt.Errorf("%q: want a duration from 1s to 10m", s)
		}
		return nil
	})
}

func count(n *int) setting {
	return text(func(s string) (err error) {
		if *n, err = strconv.Atoi(s); err != nil || *n < 1 || *n > 1000 {
			return fmt.Errorf("%q: want a number from 1 to 1000", s)
		}
		return nil
	})
}

func oneOf(s string, words ...string) error {
	if !slices.Contains(words, s) {
		return fmt.Errorf("%q: want one of %s", s, strings.Join(words, ", "))
	}
	return nil
}

func since(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: want a day or a time, 2026-01-31 or 2026-01-31T12:00:00Z", s)
}

func from(s string) (mail.Address, error) {
	a, err := mail.ParseAddress(s)
	if err != nil {
		return mail.Address{}, fmt.Errorf("%q: want an address, as in: Shop <orders@shop.example>", s)
	}
	return *a, nil
}

func checkTo(s string) error {
	example := strings.ReplaceAll(s, notification.Customer, "cus_1")
	if a, err := mail.ParseAddress(example); s != "" && (err != nil || a.Address != example) {
		return fmt.Errorf("%q makes %q of customer cus_1: that is no mail address", s, example)
	}
	return nil
}

func checkServer(s string) error {
	if host, port, err := net.SplitHostPort(s); s != "" && (err != nil || host == "" || port == "") {
		return fmt.Errorf("%q: want host:port, as in smtp.shop.example:587", s)
	}
	return nil
}

func checkName(s string) error {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(s) > 50 {
		return fmt.Errorf("%q: want small letters, digits and dashes, at most 50", s)
	}
	return nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return errors.New("want a URL that begins with https:// or http://")
	}
	return nil
}

// checkEvent refuses a filter that nothing passes.
func checkEvent(s string) error {
	known := notification.Events()
	if !slices.ContainsFunc(known, func(e string) bool { return notification.Wants([]string{s}, e) }) {
		return fmt.Errorf("%q: %w", s, unknown("event", s, append(known, "order.*", "voucher.*")))
	}
	return nil
}

// decodeSecret reads whsec_ and 24 to 64 bytes in base64. Its errors do not show it.
func decodeSecret(s string) ([]byte, error) {
	code, ok := strings.CutPrefix(s, "whsec_")
	if !ok {
		return nil, errors.New("a secret begins with whsec_")
	}
	key, err := base64.StdEncoding.DecodeString(code)
	if err != nil {
		return nil, errors.New("what comes after whsec_ is not base64")
	}
	if len(key) < 24 || len(key) > 64 {
		return nil, fmt.Errorf("a secret of %d bytes: want 24 to 64", len(key))
	}
	return key, nil
}
