package cli

import (
	"encoding/json"
	"testing"

	"github.com/orderlog/orderlog/internal/demo"
	"github.com/orderlog/orderlog/schemas"
)

// TestDemo runs the main job on made-up orders with their faults.
func TestDemo(t *testing.T) {
	code, stdout, stderr := run(t, Env{}, "demo", "--orders", "400", "--seed", "3", "-o", "json")
	var sum demo.Summary
	if err := json.Unmarshal([]byte(stdout), &sum); code != exitDone || err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	n := sum.Report.Summary.Orders
	if got := n[schemas.Delivered] + n[schemas.Rejected] + n[schemas.Cancelled]; !sum.Report.OK || got != 400 || n[schemas.Delivered] == 0 || n[schemas.Cancelled] == 0 {
		t.Errorf("ok %v, %v of 400 orders", sum.Report.OK, n)
	}
	if sum.P50 <= 0 || sum.P99 < sum.P50 {
		t.Errorf("latencies %v and %v", sum.P50, sum.P99)
	}
}
