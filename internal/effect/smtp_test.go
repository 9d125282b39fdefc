package effect

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
)

const smtpAddress = "smtp.shop.example:587"

// mailbox is what an SMTP server knows: every mail that it took, by Message-ID.
type mailbox struct {
	mu      sync.Mutex
	took    map[string]int
	tos     map[string]string // Message-ID -> recipient
	slow    time.Duration     // before it takes a mail
	refused map[string]*smtp.SMTPError
	login   bool // PLAIN with user and password
}

func (b *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{box: b}, nil }

type session struct {
	box      *mailbox
	to       string
	loggedIn bool
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "orders" || password != "geheim" {
			return errors.New("no")
		}
		s.loggedIn = true
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.box.login && !s.loggedIn {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "log in first"}
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	if err := s.box.refused[to]; err != nil {
		return err
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err
	}
	time.Sleep(s.box.slow)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.took[m.Header.Get("Message-ID")]++
	s.box.tos[m.Header.Get("Message-ID")] = s.to
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func newMailbox() *mailbox {
	return &mailbox{took: map[string]int{}, tos: map[string]string{}, refused: map[string]*smtp.SMTPError{}}
}

// serve runs a server until the test ends.
func (b *mailbox) serve(t *testing.T, n *network, tlsConfig *tls.Config) {
	s := smtp.NewServer(b)
	s.TLSConfig = tlsConfig
	s.ErrorLog = discard{}
	l := n.listen(smtpAddress)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
}

type discard struct{}

func (discard) Printf(string, ...any) {}
func (discard) Println(...any)        {}

func smtpConfig() Mail {
	m := Default().Mail
	m.From, m.Server, m.TLS = shop, smtpAddress, NoTLS
	return m
}

// schedule is how the tests' courier tries again; the calendar has it so.
var schedule = []time.Duration{5 * time.Minute, 25 * time.Minute, 125 * time.Minute, 625 * time.Minute, 3125 * time.Minute}

// deliver sends an effect as its caller does: it comes back after a transient end
// by the schedule, and stays away from an endpoint that is, without counting it.
func deliver(ctx context.Context, es Sender, e schemas.Effect) (o Outcome, tries int) {
	for {
		switch o = es.Send(ctx, e); o.Class {
		case Away:
			time.Sleep(max(o.RetryAfter, time.Second))
			continue
		case Transient:
			if tries < len(schedule) {
				time.Sleep(max(o.RetryAfter, schedule[tries]))
				tries++
				continue
			}
		}
		return o, tries + 1
	}
}

// deliverAll is deliver for all of them at once.
func deliverAll(ctx context.Context, es Sender, all []schemas.Effect) map[string]Outcome {
	var mu sync.Mutex
	var wg sync.WaitGroup
	ends := map[string]Outcome{}
	for _, e := range all {
		wg.Go(func() {
			o, _ := deliver(ctx, es, e)
			mu.Lock()
			defer mu.Unlock()
			ends[e.EffectID] = o
		})
	}
	wg.Wait()
	return ends
}

// A server that is down for three days, then slow, and will never have one of the
// addresses: every mail comes once, and the one that cannot says why.
func TestServerDownForThreeDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		es, err := New(Config{Mail: smtpConfig()}, Options{Dial: n.dial})
		if err != nil {
			t.Fatal(err)
		}
		var all []schemas.Effect
		for i := range 12 {
			all = append(all, effects(t, notification.Config{Mail: fmt.Sprintf("{customer}-%d@shop.example", i)}, fmt.Sprint("ord_", i))...)
		}
		box := newMailbox()
		box.slow = 20 * time.Second
		box.refused["cus_1-7@shop.example"] = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
		const down = 72 * time.Hour
		began := time.Now()
		time.AfterFunc(down, func() { box.serve(t, &n, nil) })

		refused := 0
		for id, o := range deliverAll(t.Context(), es, all) {
			messageID := "<" + id + "@shop.example>"
			switch {
			case o.Class == Permanent && o.Code == 550 && strings.Contains(o.Text, "no such user"):
				refused++
				if box.took[messageID] != 0 {
					t.Errorf("%s is refused and taken", id)
				}
			case o.Class != Sent || o.Code != 250 || box.took[messageID] != 1:
				t.Errorf("%s: %v, taken %d times", id, o, box.took[messageID])
			case o.At.Sub(began) < down:
				t.Errorf("%s was sent after %v", id, o.At.Sub(began))
			}
		}
		if refused != 5 || len(box.took) != len(all)-refused {
			t.Errorf("%d of %d are refused, %d taken", refused, len(all), len(box.took))
		}
		// One try after the last pause at most, then four mails in 20 s.
		if took, most := time.Since(began)-down, lastPause+time.Duration(len(all))*10*time.Second; took > most {
			t.Errorf("the last mail came %v after the server, want at most %v", took, most)
		}
	})
}

// script is a server that answers each command with a line, and one that it has
// no line for by closing, or not at all.
type script struct {
	replies map[string]string // by command; "" is the greeting, "." the end of a mail
	hangs   bool
}

func (s script) serve(n *network) *listener {
	l := n.listen(smtpAddress)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.talk(c)
		}
	}()
	return l
}

func (s script) talk(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(command string) bool {
		reply, ok := s.replies[command]
		if !ok {
			if s.hangs {
				io.Copy(io.Discard, r)
			}
			return false
		}
		_, err := io.WriteString(c, reply+"\r\n")
		return err == nil
	}
	if !say("") {
		return
	}
	for data := false; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		command, _, _ := strings.Cut(line, " ")
		if data && line != "." {
			continue
		}
		if !say(command) {
			return
		}
		data = command == "DATA" && strings.HasPrefix(s.replies[command], "354")
	}
}

func TestSMTPClasses(t *testing.T) {
	good := map[string]string{"": "220 hello", "EHLO": "250 8BITMIME", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 2.0.0 queued as 4711", "QUIT": "221 bye"}
	const closes, hangs = "closes", "hangs"
	for _, c := range []struct {
		at, reply string
		class     Class
		code      int
		sick      bool
	}{
		{"QUIT", "221 bye", Sent, 250, false},
		{"QUIT", closes, Sent, 250, false}, // it was taken
		{"QUIT", hangs, Sent, 250, false},
		{"", "554 not today", Away, 554, true},
		{"", "421 busy", Away, 421, true},
		{"", "HTTP/1.1 400 Bad Request", Away, 0, true},
		{"", closes, Away, 0, true},
		{"", hangs, Away, 0, true},
		{"EHLO", closes, Away, 0, true},
		{"EHLO", hangs, Away, 0, true},
		{"MAIL", "530 5.7.0 log in first", Away, 530, true},
		{"MAIL", "451 later", Transient, 451, false},
		{"MAIL", "552 too large", Permanent, 552, false},
		{"RCPT", "450 greylisted", Transient, 450, false},
		{"RCPT", "550 5.1.1 no such user", Permanent, 550, false},
		{"RCPT", "421 shutting down", Transient, 421, true},
		{"RCPT", hangs, Transient, 0, true},
		{"DATA", "554 no valid recipients", Permanent, 554, false},
		{"DATA", "452 disk full", Transient, 452, false},
		{".", "554 spam", Permanent, 554, false},
		{".", "451 later", Transient, 451, false},
		{".", closes, Transient, 0, true}, // perhaps it was taken
		{".", hangs, Transient, 0, true},
	} {
		t.Run(c.at+" "+c.reply, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script{replies: map[string]string{}, hangs: c.reply == hangs}
				for command, reply := range good {
					s.replies[command] = reply
				}
				if s.replies[c.at] = c.reply; c.reply == closes || c.reply == hangs {
					delete(s.replies, c.at)
				}
				var n network
				defer s.serve(&n).Close()
				es, err := New(Config{Mail: smtpConfig()}, Options{Dial: n.dial})
				if err != nil {
					t.Fatal(err)
				}
				e := about(t, effects(t, notification.Config{Mail: "a@shop.example"}, "ord_1"), schemas.OrderInvoiced)
				began := time.Now()
				o := es.Send(t.Context(), e)
				if o.Class != c.class || o.Code != c.code || o.Sick != c.sick || o.Text == "" {
					t.Errorf("got %v (sick: %v)", o, o.Sick)
				}
				if c.class == Sent && o.Text != "2.0.0 queued as 4711" {
					t.Errorf("the answer is %q", o.Text)
				}
				if took := time.Since(began); took > time.Minute || c.class == Sent && took > time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// certificate is good for the SMTP server and shop.example, and trusted by roots.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"smtp.shop.example", "shop.example"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		name, tls, user, password string
		encrypts, trusted         bool
		class                     Class
		says                      string
	}{
		{"as it should be", StartTLS, "orders", "geheim", true, true, Sent, ""},
		{"no STARTTLS", StartTLS, "orders", "geheim", false, true, Away, "offers no STARTTLS"},
		{"a stranger's certificate", StartTLS, "orders", "geheim", true, false, Away, "certificate"},
		{"a wrong password", StartTLS, "orders", "wrong", true, true, Away, "logging in as \"orders\""},
		{"no user", StartTLS, "", "", true, true, Away, "MAIL: 5.7.0 log in first"},
		{"a password in the clear", NoTLS, "orders", "geheim", false, true, Away, "offers neither PLAIN nor LOGIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				server, client := certificate(t)
				if !c.encrypts {
					server = nil
				}
				if !c.trusted {
					_, client = certificate(t)
				}
				box := newMailbox()
				box.login = true
				box.serve(t, &n, server)
				m := smtpConfig()
				m.TLS, m.User, m.Password = c.tls, c.user, c.password
				es, err := New(Config{Mail: m}, Options{Dial: n.dial, TLS: client})
				if err != nil {
					t.Fatal(err)
				}
				e := about(t, effects(t, notification.Config{Mail: "a@shop.example"}, "ord_1"), schemas.OrderInvoiced)
				o := es.Send(t.Context(), e)
				if o.Class != c.class || !strings.Contains(o.Text, c.says) || strings.Contains(o.Text, "geheim") {
					t.Errorf("%v", o)
				}
				if got := box.took["<"+e.EffectID+"@shop.example>"]; (got == 1) != (c.class == Sent) {
					t.Errorf("it was taken %d times", got)
				}
			})
		})
	}
}

// TLS from the first byte.
func TestImplicitTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		server, client := certificate(t)
		box := newMailbox()
		s := smtp.NewServer(box)
		s.ErrorLog = discard{}
		l := n.listen(smtpAddress)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Serve(tls.NewListener(l, server))
		}()
		m := smtpConfig()
		m.TLS = TLS
		es, err := New(Config{Mail: m}, Options{Dial: n.dial, TLS: client})
		if err != nil {
			t.Fatal(err)
		}
		e := about(t, effects(t, notification.Config{Mail: "a@shop.example"}, "ord_1"), schemas.OrderDelivered)
		if o := es.Send(t.Context(), e); o.Class != Sent || box.tos["<"+e.EffectID+"@shop.example>"] != "a@shop.example" {
			t.Errorf("%v, taken %v", o, box.tos)
		}
		s.Close()
		<-done
	})
}
