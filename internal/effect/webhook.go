package effect

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/orderlog/orderlog/schemas"
)

// webhook calls an endpoint as the Standard Webhooks specification 1.0 says
// (https://github.com/standard-webhooks/standard-webhooks).
type webhook struct {
	Webhook
	client *http.Client
	close  func()
}

func newWebhook(w Webhook, o Options) *webhook {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext, t.TLSClientConfig = o.Dial, o.TLS.Clone()
	return &webhook{Webhook: w, close: t.CloseIdleConnections, client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (w *webhook) Send(ctx context.Context, e schemas.Effect) Outcome {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	var reached atomic.Bool
	req, err := w.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { reached.Store(true) }}), e)
	if err != nil {
		return outcome(Permanent, 0, "%v", err)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return lost(err, reached.Load(), ctx.Err())
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxText)) // the status has said it all
	return judge(res, strings.Join(strings.Fields(string(text)), " "))
}

func (w *webhook) request(ctx context.Context, e schemas.Effect) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, strings.NewReader(e.Payload))
	if err != nil {
		return nil, err
	}
	now := time.Now().Unix()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "orderlog")
	req.Header.Set("Webhook-Id", e.EffectID)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now, 10))
	req.Header.Set("Webhook-Signature", signature(w.Secrets, e.EffectID, now, e.Payload))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header)) // if there is a trace
	return req, nil
}

// signature signs with every secret, so that a receiver may know the old one or
// the new one while a secret is replaced.
func signature(secrets [][]byte, id string, timestamp int64, body string) string {
	var all []string
	for _, s := range secrets {
		h := hmac.New(sha256.New, s)
		fmt.Fprintf(h, "%s.%d.%s", id, timestamp, body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(all, " ")
}

// lost is a call without an answer.
func lost(err error, reached bool, ended error) Outcome {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL may hold what is nobody's business
	}
	if ended != nil {
		err = fmt.Errorf("no answer in time: %w", ended)
	}
	class := Transient
	if !reached {
		class = Away
	}
	return outcome(class, 0, "%v", err).sick()
}

// judge classes an answer by its status.
func judge(res *http.Response, text string) Outcome {
	code := res.StatusCode
	if code == http.StatusGone {
		text = "the endpoint wants no more webhooks: take it out of the configuration. " + text
	}
	if code >= 300 && code < 400 {
		text = fmt.Sprintf("redirects are not followed: configure %q, if that is meant", res.Header.Get("Location"))
	}
	o := outcome(Transient, code, "%s", text)
	o.RetryAfter = retryAfter(res)
	switch {
	case code >= 200 && code < 300:
		o.Class = Sent
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly:
	case code >= 400 && code < 500 && code != http.StatusTooManyRequests:
		o.Class = Permanent
	default:
		o.Sick = true
	}
	return o
}

// retryAfter reads seconds or a date, 0 if there is neither.
func retryAfter(res *http.Response) time.Duration {
	h := res.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(h, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(h); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
