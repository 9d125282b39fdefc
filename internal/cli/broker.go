package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/devbroker"
)

func newBroker(s *session) *cobra.Command {
	var data string
	cfg := devbroker.Config{}
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the embedded broker and registry alone, without processors",
		Long: `Starts the broker and the schema registry that up and demo have inside, for
processors in other processes. It is for trying and testing: one node, no replicas.`,
		Args:    nothing(),
		Example: example("orderlog broker --data ./data", "", "# then, in another terminal", "orderlog topics apply && orderlog run all"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkPorts(cfg.Port, cfg.RegistryPort); err != nil {
				return err
			}
			cfg.Listen, cfg.Log = s.env.Listen, s.log
			if data != "" {
				cfg.Dir = filepath.Join(data, "broker")
			}
			b, err := devbroker.Start(cmd.Context(), cfg)
			if err != nil {
				return appHint(err, app.Config{})
			}
			at := app.Addresses{Brokers: []string{b.Addr()}, Registry: b.RegistryURL(), Embedded: true}
			if err := s.show(at, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "broker    %s\nregistry  %s\n\nCtrl-C stops.\n", b.Addr(), b.RegistryURL())
				return err
			}); err != nil {
				return err
			}
			select {
			case <-cmd.Context().Done():
				return b.Stop()
			case <-b.Failed():
				b.Stop()
				return b.Err()
			}
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&data, "data", "", "data `FOLDER`, which may be that of orderlog up; without it everything is in memory")
	fs.IntVar(&cfg.Port, "port", 9092, "broker's `PORT`, 0 for a free one")
	fs.IntVar(&cfg.RegistryPort, "registry-port", 8081, "registry's `PORT`, 0 for a free one")
	fs.BoolVar(&cfg.Sync, "sync", false, "write every batch through to the disk")
	settable(cmd, "data", "port", "registry-port", "sync")
	return cmd
}

// checkPorts wants what --port and --registry-port may be.
func checkPorts(broker, registry int) error {
	for _, p := range []struct {
		flag string
		port int
	}{{"port", broker}, {"registry-port", registry}} {
		if p.port < 0 || p.port > 65535 {
			return usagef("--%s %d: want 0 to 65535, 0 for a free one", p.flag, p.port)
		}
	}
	return nil
}
