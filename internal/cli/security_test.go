package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// authority signs certificates and keeps everything as PEM files in dir.
type authority struct {
	t    *testing.T
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	a := &authority{t: t, dir: dir, name: name}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.issue(name, template)
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	check := func(err error) {
		if err != nil {
			a.t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	check(err)
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	check(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	check(err)
	check(os.WriteFile(filepath.Join(a.dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(os.WriteFile(filepath.Join(a.dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	cert, err := x509.ParseCertificate(der)
	check(err)
	return cert, key
}

// server is what listens on 127.0.0.1 and wants a certificate of a's.
func (a *authority) server(clients tls.ClientAuthType) *tls.Config {
	a.t.Helper()
	a.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pair, err := tls.LoadX509KeyPair(filepath.Join(a.dir, "server.pem"), filepath.Join(a.dir, "server.key"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: clients}
}

const secret = "correct horse"

// guarded is a cluster that lets in only who has a password, and in certificates
// what clients of it need. Files are in dir.
type guarded struct {
	t        *testing.T
	dir      string
	brokers  string
	registry string
	env      map[string]string
}

func guard(t *testing.T, clients tls.ClientAuthType) *guarded {
	dir := t.TempDir()
	ours := newAuthority(t, dir, "ca")
	ours.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	newAuthority(t, dir, "stranger")
	for name, content := range map[string]string{"password": secret + "\n", "wrong": "no " + secret, "empty": "\n", "text": "no PEM"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(ours.server(clients)), kfake.EnableSASL(),
		kfake.Superuser(mechanismPlain, "ann", secret), kfake.Superuser(mechanism256, "ben", secret), kfake.Superuser(mechanism512, "cleo", secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	inner := srfake.NewRegistry().Handler()
	registry := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "rita" || password != secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	registry.TLS = ours.server(clients)
	registry.StartTLS()
	t.Cleanup(registry.Close)
	return &guarded{t: t, dir: dir, brokers: cluster.ListenAddrs()[0], registry: registry.URL, env: map[string]string{
		"ORDERLOG_BROKERS": cluster.ListenAddrs()[0], "ORDERLOG_TLS": "true", "ORDERLOG_TLS_CA": "ca.pem",
		"ORDERLOG_SASL_MECHANISM": mechanism256, "ORDERLOG_SASL_USER": "ben", "ORDERLOG_SASL_PASSWORD": secret,
		"ORDERLOG_REGISTRY": registry.URL, "ORDERLOG_REGISTRY_USER": "rita", "ORDERLOG_REGISTRY_PASSWORD": secret,
	}}
}

// run has the environment of g, changed by env, where "" takes a variable away.
// Nothing that it prints may hold the password.
func (g *guarded) run(ctx context.Context, env map[string]string, args ...string) (code int, stdout, stderr string) {
	g.t.Helper()
	vars := maps.Clone(g.env)
	maps.Copy(vars, env)
	var out bytes.Buffer
	var errs shared
	code = Main(ctx, args, Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: g.dir,
		Getenv: func(name string) string { return vars[name] }, Now: time.Now, Rand: rand.Reader})
	for _, text := range []string{out.String(), errs.String()} {
		for _, p := range []string{secret, strings.ReplaceAll(secret, " ", "%20"), strings.ReplaceAll(secret, " ", "+")} {
			if strings.Contains(text, p) {
				g.t.Errorf("orderlog %s shows a password:\n%s", strings.Join(args, " "), text)
			}
		}
	}
	return code, out.String(), errs.String()
}

func TestEveryVerbLogsIn(t *testing.T) {
	g := guard(t, tls.RequireAndVerifyClientCert)
	client := map[string]string{"ORDERLOG_TLS_CERT": "client.pem", "ORDERLOG_TLS_KEY": "client.key"}
	for _, line := range []string{
		"topics plan", "topics apply --partitions 1", "topics list",
		"produce --orders 3 --no-setup", "order place --id ord_1 --customer cus_1 --line sku_1:1", "order list", "tail --limit 1", "lag", "doctor", "verify --wait 0s",
	} {
		code, out, errs := g.run(t.Context(), client, append(strings.Fields(line), "-o", "json", "--log-level", "debug")...)
		if code != exitDone {
			t.Errorf("orderlog %s: exit code %d\n%s%s", line, code, out, errs)
		}
	}
}

// Each processor's clients, and the app's, are made elsewhere than the other verbs'.
func TestRunLogsIn(t *testing.T) {
	g := guard(t, tls.NoClientCert)
	if code, _, errs := g.run(t.Context(), nil, "topics", "apply", "--partitions", "1"); code != exitDone {
		t.Fatal(errs)
	}
	for _, format := range []string{outputText, outputJSON} {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		vars := func(name string) string { return g.env[name] }
		up, code := make(lines, 10), make(chan int, 1)
		var errs shared
		go func() {
			code <- Main(ctx, []string{"run", "voucher", "-o", format, "--log-level", "debug"},
				Env{Stdin: strings.NewReader(""), Stdout: up, Stderr: &errs, Dir: g.dir, Getenv: vars, Now: time.Now, Rand: rand.Reader})
		}()
		select {
		case welcome := <-up:
			if strings.Contains(welcome, "correct") || !strings.Contains(welcome, g.registry) {
				t.Errorf("it says %q", welcome)
			}
			stop()
			if c := <-code; c != exitDone {
				t.Errorf("exit code %d\n%s", c, &errs)
			}
		case c := <-code:
			t.Errorf("exit code %d\n%s", c, &errs)
		}
		stop()
		if strings.Contains(errs.String(), secret) {
			t.Errorf("a password is logged:\n%s", &errs)
		}
	}
}

func TestAccess(t *testing.T) {
	g := guard(t, tls.NoClientCert)
	strict := guard(t, tls.RequireAndVerifyClientCert)
	type vars = map[string]string
	tests := []struct {
		name   string
		at     *guarded
		env    vars
		code   int
		stderr []string // pieces of it
	}{
		{"SCRAM-SHA-256", g, nil, exitDone, nil},
		{"SCRAM-SHA-512", g, vars{"ORDERLOG_SASL_MECHANISM": mechanism512, "ORDERLOG_SASL_USER": "cleo"}, exitDone, nil},
		{"PLAIN", g, vars{"ORDERLOG_SASL_MECHANISM": mechanismPlain, "ORDERLOG_SASL_USER": "ann"}, exitDone, nil},
		{"password in a file", g, vars{"ORDERLOG_SASL_PASSWORD": "", "ORDERLOG_SASL_PASSWORD_FILE": "password"}, exitDone, nil},
		{"password in a file for PLAIN", g, vars{"ORDERLOG_SASL_PASSWORD": "", "ORDERLOG_SASL_PASSWORD_FILE": "password",
			"ORDERLOG_SASL_MECHANISM": mechanismPlain, "ORDERLOG_SASL_USER": "ann"}, exitDone, nil},
		{"wrong password", g, vars{"ORDERLOG_SASL_PASSWORD": "", "ORDERLOG_SASL_PASSWORD_FILE": "wrong"}, exitFailed,
			[]string{"no broker answers", "hint: --sasl-mechanism, --sasl-user and the password must be ones"}},
		{"wrong password for PLAIN", g, vars{"ORDERLOG_SASL_PASSWORD": "", "ORDERLOG_SASL_PASSWORD_FILE": "wrong",
			"ORDERLOG_SASL_MECHANISM": mechanismPlain, "ORDERLOG_SASL_USER": "ann"}, exitFailed, []string{"hint: --sasl-mechanism, --sasl-user and the password must be"}},
		{"nobody logs in", g, vars{"ORDERLOG_SASL_PASSWORD": "", "ORDERLOG_SASL_USER": "", "ORDERLOG_SASL_MECHANISM": ""}, exitFailed,
			[]string{"hint: do the brokers speak TLS at that port, and want no --sasl-mechanism?"}},
		{"no TLS", g, vars{"ORDERLOG_TLS": "", "ORDERLOG_TLS_CA": ""}, exitFailed, []string{"is TLS missing?", "and --tls what they speak"}},
		{"another authority", g, vars{"ORDERLOG_TLS_CA": "stranger.pem"}, exitFailed, []string{"hint: --tls-ca names the authority"}},
		{"the system's authorities", g, vars{"ORDERLOG_TLS_CA": ""}, exitFailed, []string{"hint: --tls-ca names the authority"}},
		{"another name", g, vars{"ORDERLOG_BROKERS": strings.Replace(g.brokers, "127.0.0.1", "localhost", 1)}, exitFailed,
			[]string{"hint: reach it under a name that stands in its certificate"}},
		{"certificate", strict, vars{"ORDERLOG_TLS_CERT": "client.pem", "ORDERLOG_TLS_KEY": "client.key"}, exitDone, nil},
		{"certificate of another authority", strict, vars{"ORDERLOG_TLS_CERT": "stranger.pem", "ORDERLOG_TLS_KEY": "stranger.key"}, exitFailed, []string{"no broker answers"}},
		{"no certificate", strict, nil, exitFailed, []string{"no broker answers"}},

		{"certificate without key", g, vars{"ORDERLOG_TLS_CERT": "client.pem"}, exitUsage, []string{"--tls-cert without --tls-key\nhint: "}},
		{"key without certificate", g, vars{"ORDERLOG_TLS_KEY": "client.key"}, exitUsage, []string{"--tls-key without --tls-cert\n"}},
		{"key of another certificate", g, vars{"ORDERLOG_TLS_CERT": "client.pem", "ORDERLOG_TLS_KEY": "server.key"}, exitUsage,
			[]string{"--tls-cert client.pem, --tls-key server.key: ", "hint: PEM files that belong together"}},
		{"no such certificate", g, vars{"ORDERLOG_TLS_CERT": "nobody.pem", "ORDERLOG_TLS_KEY": "client.key"}, exitUsage, []string{"--tls-cert nobody.pem"}},
		{"authority without TLS", g, vars{"ORDERLOG_TLS": "false"}, exitUsage, []string{"--tls-ca without --tls\n"}},
		{"authority without PEM", g, vars{"ORDERLOG_TLS_CA": "text"}, exitUsage, []string{"--tls-ca text: no certificate in it", "hint: PEM is wanted"}},
		{"no such authority", g, vars{"ORDERLOG_TLS_CA": "nobody.pem"}, exitUsage, []string{"--tls-ca: open ", "nobody.pem: no such file"}},
		{"unknown mechanism", g, vars{"ORDERLOG_SASL_MECHANISM": "SCRAM-SHA-257"}, exitUsage, []string{`ORDERLOG_SASL_MECHANISM="SCRAM-SHA-257": not one of PLAIN|`}},
		{"user without mechanism", g, vars{"ORDERLOG_SASL_MECHANISM": ""}, exitUsage, []string{"--sasl-user without --sasl-mechanism\n"}},
		{"mechanism without user", g, vars{"ORDERLOG_SASL_USER": ""}, exitUsage, []string{"--sasl-mechanism without --sasl-user\n"}},
		{"user without password", g, vars{"ORDERLOG_SASL_PASSWORD": ""}, exitUsage,
			[]string{"--sasl-user without --sasl-password-file or ORDERLOG_SASL_PASSWORD\n"}},
		{"password without user", g, vars{"ORDERLOG_SASL_USER": "", "ORDERLOG_SASL_MECHANISM": ""}, exitUsage, []string{"a SASL password without --sasl-user\n"}},
		{"two passwords", g, vars{"ORDERLOG_SASL_PASSWORD_FILE": "password"}, exitUsage, []string{"there are two passwords"}},
		{"empty password file", g, vars{"ORDERLOG_SASL_PASSWORD": "", "ORDERLOG_SASL_PASSWORD_FILE": "empty"}, exitUsage, []string{"--sasl-password-file empty: the file is empty"}},
		{"no such password file", g, vars{"ORDERLOG_SASL_PASSWORD": "", "ORDERLOG_SASL_PASSWORD_FILE": "nobody"}, exitUsage, []string{"--sasl-password-file: open ", "no such file"}},
		{"registry user without password", g, vars{"ORDERLOG_REGISTRY_PASSWORD": ""}, exitUsage,
			[]string{"--registry-user without --registry-password-file or ORDERLOG_REGISTRY_PASSWORD\n"}},
		{"registry password without user", g, vars{"ORDERLOG_REGISTRY_USER": ""}, exitUsage, []string{"a registry password without --registry-user\n"}},
		{"two registry users", g, vars{"ORDERLOG_REGISTRY": strings.Replace(g.registry, "://", "://rita:"+strings.ReplaceAll(secret, " ", "%20")+"@", 1)}, exitUsage,
			[]string{"--registry-user rita, and another user in the URL"}},
		{"a registry that is no URL", g, vars{"ORDERLOG_REGISTRY": "rita:" + secret + "@registry"}, exitUsage, []string{`--registry "...@registry": want a URL`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := *tt.at
			g.t = t
			code, _, stderr := g.run(t.Context(), tt.env, "topics", "list")
			if code != tt.code {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, stderr)
			}
			for _, want := range tt.stderr {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in %q", want, stderr)
				}
			}
			if !strings.HasPrefix(stderr, "orderlog: ") == (code != exitDone) {
				t.Errorf("exit code %d, and it says %q", code, stderr)
			}
		})
	}
}

func TestRegistryAccess(t *testing.T) {
	g := guard(t, tls.NoClientCert)
	inURL := strings.Replace(g.registry, "://", "://rita:"+strings.ReplaceAll(secret, " ", "%20")+"@", 1)
	for _, tt := range []struct {
		name string
		env  map[string]string
		says []string
	}{
		{"user and password", nil, nil},
		{"password in a file", map[string]string{"ORDERLOG_REGISTRY_PASSWORD": "", "ORDERLOG_REGISTRY_PASSWORD_FILE": "password"}, nil},
		{"in the URL", map[string]string{"ORDERLOG_REGISTRY": inURL, "ORDERLOG_REGISTRY_USER": "", "ORDERLOG_REGISTRY_PASSWORD": ""}, nil},
		{"wrong password", map[string]string{"ORDERLOG_REGISTRY_PASSWORD": "", "ORDERLOG_REGISTRY_PASSWORD_FILE": "wrong"}, []string{"401", "hint"}},
		{"nobody", map[string]string{"ORDERLOG_REGISTRY_USER": "", "ORDERLOG_REGISTRY_PASSWORD": ""}, []string{"401", "hint"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := *g
			g.t = t
			code, out, errs := g.run(t.Context(), tt.env, "doctor")
			if refused := strings.Contains(out, "the schema registry at "+g.registry+" does not answer"); refused != (len(tt.says) > 0) {
				t.Errorf("exit code %d:\n%s%s", code, out, errs)
			}
			for _, want := range tt.says {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in:\n%s", want, out)
				}
			}
		})
	}
}

func TestDoctorWarnsOfReadablePasswords(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(),
		kfake.Superuser(mechanismPlain, "ann", secret), kfake.Superuser(mechanism256, "ben", secret))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	for mechanism, user := range map[string]string{mechanismPlain: "ann", mechanism256: "ben"} {
		g := &guarded{t: t, env: map[string]string{"ORDERLOG_BROKERS": cluster.ListenAddrs()[0], "ORDERLOG_REGISTRY": "http://127.0.0.1:1",
			"ORDERLOG_SASL_MECHANISM": mechanism, "ORDERLOG_SASL_USER": user, "ORDERLOG_SASL_PASSWORD": secret}}
		_, out, _ := g.run(t.Context(), nil, "doctor")
		if !strings.Contains(out, "1 of 1 brokers answer") {
			t.Fatalf("%s: %s", mechanism, out)
		}
		if warned := strings.Contains(out, "warn  the password of --sasl-user goes over the network as it is"); warned != (mechanism == mechanismPlain) {
			t.Errorf("%s: warned %v\n%s", mechanism, warned, out)
		}
	}
}

// A password is read at each login, so that a new one needs no restart.
func TestPasswordFileIsReadAtEachLogin(t *testing.T) {
	g := guard(t, tls.NoClientCert)
	c := security{mechanism: mechanismPlain, user: "ann", passwordFile: "wrong"}
	a, err := c.open(Env{Dir: g.dir, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "wrong"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, first, err := a.sasl.Authenticate(t.Context(), "host")
	if err != nil || !slices.Contains(strings.Split(string(first), "\x00"), "another") {
		t.Errorf("it sends %q, %v", first, err)
	}
}
