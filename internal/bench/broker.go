package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/orderlog/orderlog/internal/app"
)

// Broker is an embedded broker in a process of its own.
type Broker struct {
	At    app.Addresses
	child *exec.Cmd
}

// StartBroker runs `orderlog broker` of this program; End, or that of ctx, ends it.
func StartBroker(ctx context.Context, program string) (*Broker, error) {
	b := &Broker{child: exec.CommandContext(ctx, program, "broker", "--port", "0", "--registry-port", "0", "-o", "json")}
	b.child.Stderr = os.Stderr
	out, err := b.child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.child.Start(); err != nil {
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	if err := json.NewDecoder(out).Decode(&b.At); err != nil {
		return nil, errors.Join(fmt.Errorf("the broker did not start: %w", err), b.child.Process.Kill(), b.child.Wait())
	}
	return b, nil
}

// PID is that of its process.
func (b *Broker) PID() int { return b.child.Process.Pid }

// End stops it in order.
func (b *Broker) End() {
	_ = b.child.Process.Signal(syscall.SIGTERM)
	_ = b.child.Wait()
}
