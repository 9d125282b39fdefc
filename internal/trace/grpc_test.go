package trace

import (
	"context"
	"log/slog"
	"net"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// taker is a collector that speaks OTLP over gRPC.
type taker struct {
	collector.UnimplementedTraceServiceServer
	got chan string
}

func (s taker) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.got <- r.ResourceSpans[0].ScopeSpans[0].Spans[0].Name
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestExportByGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, srv := taker{got: make(chan string, 10)}, grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, s)
	go srv.Serve(l)
	defer srv.Stop()
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
	for k, v := range env {
		t.Setenv(k, v)
	}
	tr, err := FromEnv(func(name string) string { return env[name] }, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tr.Send(t.Context(), command("order-commands", "ord_1"))(nil)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if name := <-s.got; name != "send order-commands" {
		t.Errorf("exported %q", name)
	}
}
