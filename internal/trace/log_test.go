package trace

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestLog(t *testing.T) {
	in := command("order-commands", "ord_1")
	in.Partition, in.Offset, in.Headers = 3, 17, append(in.Headers, headers("traceparent", sampled)...)
	for want, r := range map[string]*kgo.Record{
		"group=order topic=order-commands partition=3 offset=17 order=ord_1 trace_id=0af7651916cd43dd8448eb211c80319c": in,
		"group=order topic=inventory-commands partition=0 offset=0":                                                    {Topic: "inventory-commands", Key: []byte("sku_1")},
	} {
		var b strings.Builder
		slog.New(slog.NewTextHandler(&b, nil)).Warn("x", "group", "order", Log(r, Of(r)))
		if !strings.HasSuffix(b.String(), want+"\n") {
			t.Errorf("%s, want %s", b.String(), want)
		}
	}
}
