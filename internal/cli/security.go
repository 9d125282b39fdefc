package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// security is what brokers and registry want to see before they let one in.
type security struct {
	tls           bool
	ca, cert, key string // PEM files

	mechanism, user, passwordFile      string
	registryUser, registryPasswordFile string
}

func (c *security) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&c.tls, "tls", false, "speak TLS with the brokers")
	fs.StringVar(&c.ca, "tls-ca", "", "PEM `FILE` of the authorities for brokers and an https registry (default: the system's)")
	fs.StringVar(&c.cert, "tls-cert", "", "PEM `FILE` of the certificate to show them, with --tls-key")
	fs.StringVar(&c.key, "tls-key", "", "PEM `FILE` of its private key")
	fs.Var(newChoice(&c.mechanism, "", mechanisms...), "sasl-mechanism", "how to log in at the brokers")
	fs.StringVar(&c.user, "sasl-user", "", "`USER` to log in as at the brokers")
	fs.StringVar(&c.passwordFile, passwordFileFlag, "", "`FILE` with that user's password, read at each login (or ORDERLOG_SASL_PASSWORD)")
	fs.StringVar(&c.registryUser, "registry-user", "", "`USER` to log in as at the schema registry")
	fs.StringVar(&c.registryPasswordFile, registryPasswordFileFlag, "", "`FILE` with that user's password (or ORDERLOG_REGISTRY_PASSWORD)")
}

const (
	passwordFileFlag         = "sasl-password-file"
	registryPasswordFileFlag = "registry-password-file"
)

const (
	mechanismPlain = "PLAIN"
	mechanism256   = "SCRAM-SHA-256"
	mechanism512   = "SCRAM-SHA-512"
)

var mechanisms = []string{mechanismPlain, mechanism256, mechanism512}

// access is security with its files read.
type access struct {
	tls  *tls.Config    // nil: brokers speak plainly
	sasl sasl.Mechanism // nil: nobody logs in
}

// open reads the files that c names. Half a pair is wrong use, as is a file that
// cannot be read.
func (c *security) open(env Env) (a access, err error) {
	if err := c.checkPairs(env); err != nil {
		return a, err
	}
	if a.tls, err = c.openTLS(env); err != nil {
		return a, err
	}
	a.sasl, err = c.openSASL(env)
	return a, err
}

func (c *security) checkPairs(env Env) error {
	password := c.passwordFile != "" || env.Getenv(passwordVariable(passwordFileFlag)) != ""
	registryPassword := c.registryPasswordFile != "" || env.Getenv(passwordVariable(registryPasswordFileFlag)) != ""
	for _, pair := range []struct {
		has        bool
		what, with string
		wanted     bool
	}{
		{c.ca != "", "--tls-ca", "--tls", c.tls},
		{c.cert != "", "--tls-cert", "--tls", c.tls},
		{c.cert != "", "--tls-cert", "--tls-key", c.key != ""},
		{c.key != "", "--tls-key", "--tls-cert", c.cert != ""},
		{c.user != "", "--sasl-user", "--sasl-mechanism", c.mechanism != ""},
		{c.mechanism != "", "--sasl-mechanism", "--sasl-user", c.user != ""},
		{password, "a SASL password", "--sasl-user", c.user != ""},
		{c.user != "", "--sasl-user", passwordSources(passwordFileFlag), password},
		{registryPassword, "a registry password", "--registry-user", c.registryUser != ""},
		{c.registryUser != "", "--registry-user", passwordSources(registryPasswordFileFlag), registryPassword},
	} {
		if pair.has && !pair.wanted {
			return hinted(usagef("%s without %s", pair.what, pair.with), "give both or neither; each flag is also a variable, ORDERLOG_ and its name")
		}
	}
	return nil
}

func (c *security) openTLS(env Env) (*tls.Config, error) {
	if !c.tls {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		pem, err := os.ReadFile(env.path(c.ca))
		if err != nil {
			return nil, usagef("--tls-ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, hinted(usagef("--tls-ca %s: no certificate in it", c.ca), "PEM is wanted: -----BEGIN CERTIFICATE-----")
		}
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(env.path(c.cert), env.path(c.key))
		if err != nil {
			return nil, hinted(usagef("--tls-cert %s, --tls-key %s: %w", c.cert, c.key, err), "PEM files that belong together are wanted, the key without a passphrase")
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func (c *security) openSASL(env Env) (sasl.Mechanism, error) {
	if c.mechanism == "" {
		return nil, nil
	}
	password := func() (string, error) { return readPassword(env, passwordFileFlag, c.passwordFile) }
	if _, err := password(); err != nil {
		return nil, err
	}
	if c.mechanism == mechanismPlain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := password()
			return plain.Auth{User: c.user, Pass: pass}, err
		}), nil
	}
	auth := func(context.Context) (scram.Auth, error) {
		pass, err := password()
		return scram.Auth{User: c.user, Pass: pass}, err
	}
	if c.mechanism == mechanism256 {
		return scram.Sha256(auth), nil
	}
	return scram.Sha512(auth), nil
}

// withUser puts the registry's user and password, if there are any, into its URL.
func (c *security) withUser(env Env, registry string) (string, error) {
	if c.registryUser == "" {
		return registry, nil
	}
	password, err := readPassword(env, registryPasswordFileFlag, c.registryPasswordFile)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(registry)
	if err != nil {
		return "", err
	}
	if u.User != nil {
		return "", usagef("--registry-user %s, and another user in the URL of --registry", c.registryUser)
	}
	u.User = url.UserPassword(c.registryUser, password)
	return u.String(), nil
}

// readPassword reads the file of that flag, or the variable. There is no flag
// for a password itself: everybody on the machine could read it.
func readPassword(env Env, flag, file string) (string, error) {
	variable := passwordVariable(flag)
	password := env.Getenv(variable)
	if file == "" {
		return password, nil
	}
	if password != "" {
		return "", usagef("--%s and %s: there are two passwords, give one", flag, variable)
	}
	content, err := os.ReadFile(env.path(file))
	if err != nil {
		return "", usagef("--%s: %w", flag, err)
	}
	if password = strings.TrimRight(string(content), "\r\n"); password == "" {
		return "", usagef("--%s %s: the file is empty", flag, file)
	}
	return password, nil
}

func passwordVariable(fileFlag string) string { return envName(strings.TrimSuffix(fileFlag, "-file")) }

func passwordSources(fileFlag string) string {
	return fmt.Sprintf("--%s or %s", fileFlag, passwordVariable(fileFlag))
}

// hint is the way out where somebody answers, but not to us.
func (a access) hint(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return "--tls-ca names the authority that has signed the certificate"
	case errors.As(err, &name):
		return "reach it under a name that stands in its certificate; brokers are reached as they are advertised"
	case errors.As(err, &record):
		return "something else than TLS answers there: another port, or no --tls?"
	case isAny(err, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism):
		return "--sasl-mechanism, --sasl-user and the password must be ones that the brokers know"
	case errors.Is(err, kerr.IllegalSaslState):
		return "nobody can log in there: another port, or no --sasl-mechanism?"
	case errors.Is(err, io.EOF) && a.sasl != nil:
		return "--sasl-mechanism, --sasl-user and the password must be ones that the brokers know, and --tls what they speak"
	case errors.Is(err, io.EOF) && a.tls != nil:
		return "do the brokers speak TLS at that port, and want no --sasl-mechanism?"
	case errors.Is(err, io.EOF):
		return "do the brokers speak --tls, or want --sasl-mechanism and --sasl-user?"
	case isAny(err, kerr.ClusterAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed):
		return "the user of --sasl-user or --tls-cert may not do this: see the brokers' ACLs"
	}
	return ""
}

func isAny(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(e error) bool { return errors.Is(err, e) })
}
