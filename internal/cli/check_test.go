package cli

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	tests := []struct {
		line string
		vars map[string]string
		want string // a piece of the error
	}{
		{"run all --instance a", map[string]string{"ORDERLOG_BROKERS": "b1:9092,b2:9092", "ORDERLOG_DATA": "/d", "PATH": "/bin"}, ""},
		{"topics apply", map[string]string{"ORDERLOG_PARTITIONS": "8"}, ""},
		{"health", map[string]string{"ORDERLOG_SASL_PASSWORD": "x", "ORDERLOG_SASL_USER": "u", "ORDERLOG_SASL_MECHANISM": "PLAIN"}, ""},
		{"run all --instanc a", nil, "unknown flag --instanc"},
		{"topics aply", nil, `unknown command "topics aply"`},
		{"topics", nil, "unknown command"},
		{"order get", nil, "needs ORDER"},
		{"topics apply", map[string]string{"ORDERLOG_PARTITIONS": "many"}, `ORDERLOG_PARTITIONS="many": want a whole number`},
		{"topics apply", map[string]string{"ORDERLOG_PARTITION": "8"}, `unknown variable "ORDERLOG_PARTITION"`},
		{"topics apply", map[string]string{"ORDERLOG_REGISTRY": "registry"}, "want a URL"},
		{"topics apply", map[string]string{"ORDERLOG_TLS_CA": "ca.pem"}, "--tls-ca without --tls"},
	}
	for _, tt := range tests {
		err := Check(strings.Fields(tt.line), tt.vars)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s %v: %v, want %q", tt.line, tt.vars, err, tt.want)
		}
	}
}
