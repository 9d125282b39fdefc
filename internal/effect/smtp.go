package effect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/orderlog/orderlog/schemas"
)

// How to come to an encrypted connection.
const (
	StartTLS = "starttls" // asked for after the greeting, and required
	TLS      = "tls"      // from the first byte
	NoTLS    = "none"     // not at all: for a server on this machine
)

// smtpServer sends each mail on a connection of its own.
type smtpServer struct {
	Mail
	host string
	tls  *tls.Config
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func newSMTP(m Mail, o Options) *smtpServer {
	host, _, _ := net.SplitHostPort(m.Server)
	s := &smtpServer{Mail: m, host: host, tls: o.TLS.Clone(), dial: o.Dial}
	s.tls.ServerName = host
	return s
}

// Send has two halves. In the first the server does not know of the mail yet:
// whatever goes wrong there is not the mail's fault.
func (s *smtpServer) Send(ctx context.Context, e schemas.Effect) Outcome {
	msg, err := compose(s.From, e)
	if err != nil {
		return outcome(Permanent, 0, "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	c, closed, err := s.connect(ctx)
	if err != nil {
		return answer(Away, fmt.Errorf("%s: %w", s.Server, err)).sick()
	}
	defer closed()
	text, err := transfer(c, s.From.Address, e.To, msg)
	if err != nil {
		return classify(late(ctx, err))
	}
	o := outcome(Sent, 250, "%s", text)
	ctx, cancel = context.WithTimeout(ctx, time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, closed)()
	c.Quit() // it is sent, whatever comes of this
	return o
}

// connect comes as far as to a server that would take mails. The connection ends
// with ctx, and when it is closed.
func (s *smtpServer) connect(ctx context.Context) (c *smtp.Client, closed func(), err error) {
	conn, err := s.dial(ctx, "tcp", s.Server)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	closed = func() {
		stop()
		conn.Close()
	}
	if c, err = s.greet(conn); err != nil {
		closed()
		return nil, nil, late(ctx, err)
	}
	return c, closed, nil
}

func (s *smtpServer) greet(conn net.Conn) (*smtp.Client, error) {
	if s.TLS == TLS {
		conn = tls.Client(conn, s.tls)
	}
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if err := c.Hello(domain(s.From.Address)); err != nil {
		return nil, fmt.Errorf("EHLO: %w", err)
	}
	if s.TLS == StartTLS {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return nil, errors.New("the server offers no STARTTLS: set mail.tls to tls or none if that is meant")
		}
		if err := c.StartTLS(s.tls); err != nil {
			return nil, fmt.Errorf("STARTTLS: %w", err)
		}
	}
	if s.User != "" {
		if err := s.login(c); err != nil {
			return nil, fmt.Errorf("logging in as %q: %w", s.User, err)
		}
	}
	return c, nil
}

// login takes PLAIN or LOGIN, neither of them in the clear but to this machine.
func (s *smtpServer) login(c *smtp.Client) error {
	_, offered := c.Extension("AUTH")
	for mechanism := range strings.FieldsSeq(offered) {
		switch mechanism {
		case "PLAIN":
			return c.Auth(smtp.PlainAuth("", s.User, s.Password, s.host, false))
		case "LOGIN":
			return c.Auth(smtp.LoginAuth(s.User, s.Password, s.host, false))
		}
	}
	return fmt.Errorf("the server offers neither PLAIN nor LOGIN, but %q", offered)
}

// transfer returns what the server said when it took the mail.
func transfer(c *smtp.Client, from, to string, msg *gomail.Msg) (string, error) {
	if err := c.Mail("<" + from + ">"); err != nil {
		return "", fmt.Errorf("MAIL: %w", err)
	}
	if err := c.Rcpt("<" + to + ">"); err != nil {
		return "", fmt.Errorf("RCPT: %w", err)
	}
	w, err := c.Data()
	if err != nil {
		return "", fmt.Errorf("DATA: %w", err)
	}
	if _, err := msg.WriteTo(w); err != nil {
		return "", fmt.Errorf("writing the mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("waiting for the server to take the mail: %w", err)
	}
	return w.(*smtp.DataCloser).ServerResponse(), nil
}

// classify judges an error after the server heard of the mail.
func classify(err error) Outcome {
	var said *textproto.Error
	if !errors.As(err, &said) {
		return answer(Transient, err).sick() // a connection that was lost, or too slow
	}
	switch code := said.Code; {
	case code == 421: // it closes the connection
		return answer(Transient, err).sick()
	case code == 530 || code == 534 || code == 535 || code == 538:
		return answer(Away, err).sick() // it wants a login: what we are configured with is wrong, not the mail
	case code >= 500:
		return answer(Permanent, err)
	}
	return answer(Transient, err)
}

// late explains an error that is there because time was up.
func late(ctx context.Context, err error) error {
	var said *textproto.Error
	if ctx.Err() == nil || errors.As(err, &said) {
		return err
	}
	return fmt.Errorf("no answer in time: %w", err)
}

// answer shows an error, with the code and the words of the server if it said something.
func answer(c Class, err error) Outcome {
	var said *textproto.Error
	if !errors.As(err, &said) {
		return outcome(c, 0, "%v", err)
	}
	return outcome(c, said.Code, "%s", strings.Replace(err.Error(), said.Error(), said.Msg, 1))
}

func domain(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
