package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/internal/folder"
	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/internal/metric"
	"github.com/orderlog/orderlog/internal/probe"
	"github.com/orderlog/orderlog/internal/tally"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
)

// App is one process of orderlog.
type App struct {
	cfg Config

	mu      sync.Mutex
	stops   []func() error // last in, first out
	serde   *schemas.Serde
	client  []kgo.Opt
	npart   int32                                       // partitions that the topics have
	procs   map[string]*kgoka.Processor                 // that run, or are to
	make    map[string]func() (*kgoka.Processor, error) // what a processor is after a pause
	runs    map[string]runs                             // each of them, and what works beside it
	lag     *lag.Exporter                               // nil where nobody may ask, and before it is known which cluster
	figures *figures                                    // nil where nobody may ask
	tell    map[string]probe.Collectors                 // what each of them tells beside the runtime's figures, if anything
	pauses  *pauses
	broker  *devbroker.Broker // nil unless embedded
	addr    Addresses

	registry string // its URL with user and password

	failed chan error // the first processor that ended by itself
}

// Addresses is where others reach what the app runs on.
type Addresses struct {
	Brokers  []string `json:"brokers"`
	Registry string   `json:"registry"`
	Embedded bool     `json:"embedded"`
	HTTP     string   `json:"http,omitempty"` // of the page and the probes
}

// New checks the configuration; nothing is started.
func New(cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, procs: map[string]*kgoka.Processor{}, make: map[string]func() (*kgoka.Processor, error){},
		runs: map[string]runs{}, pauses: newPauses(), tell: map[string]probe.Collectors{}, failed: make(chan error, 1)}
	if cfg.HTTP != "" {
		a.figures = &figures{tally.New(cfg.Now), metric.NewClients()}
	}
	return a, nil
}

// Start returns when every processor has its partitions, has recovered its
// tables and consumes. On an error, what was started is stopped again.
func (a *App) Start(ctx context.Context) error {
	return a.steps(ctx, a.probes, a.connect, a.prepare, a.lags, a.control, a.run, a.waitReady)
}

// StartPlatform starts what the processors stand on, and no processor.
func (a *App) StartPlatform(ctx context.Context) error { return a.steps(ctx, a.connect, a.prepare) }

// steps stops everything again if one fails.
func (a *App) steps(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return errors.Join(err, a.Stop())
		}
	}
	return nil
}

// Stop ends everything in reverse order: processors finish their transaction,
// commit and leave. Safe twice.
func (a *App) Stop() error {
	a.mu.Lock()
	stops := a.stops
	a.stops = nil
	a.mu.Unlock()
	var errs []error
	for _, stop := range slices.Backward(stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// Failed delivers the error of a processor, or the embedded broker, that ended
// while it should run.
func (a *App) Failed() <-chan error { return a.failed }

// Guard returns a context that ends with ctx, or when a processor or the embedded
// broker has ended by itself; that error is then its cause.
func (a *App) Guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case err := <-a.failed:
			cancel(err)
			a.fail(err) // others wait for it, too
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Addresses says where brokers and registry are, once started.
func (a *App) Addresses() Addresses { return a.addr }

// Serde is the codec bound to the registry, once started.
func (a *App) Serde() *schemas.Serde { return a.serde }

// ClientOpts reach the brokers, once started.
func (a *App) ClientOpts() []kgo.Opt { return a.client }

// Stats returns the runtime's counters by processor.
func (a *App) Stats() map[string]kgoka.Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]kgoka.Stats, len(a.procs))
	for n, p := range a.procs {
		out[n] = p.Stats()
	}
	return out
}

// Recovery says how many rows of the tables needed here have been read back from
// their logs, and how many are left.
func (a *App) Recovery() (done, left int64) {
	for _, s := range a.Stats() {
		for _, t := range s.Tables {
			if t.Role == kgoka.RoleActive {
				done += t.Records
				left += max(0, t.End-t.Offset-1)
			}
		}
	}
	return done, left
}

func (a *App) onStop(f func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stops = append(a.stops, f)
}

// meanwhile has f work beside all else, until Stop.
func (a *App) meanwhile(f func(ctx context.Context)) {
	ctx, end := context.WithCancel(context.Background())
	var working sync.WaitGroup
	working.Go(func() { f(ctx) })
	a.onStop(func() error {
		end()
		working.Wait()
		return nil
	})
}

func (a *App) parts() map[string]probe.Part {
	a.mu.Lock()
	defer a.mu.Unlock()
	parts := make(map[string]probe.Part, len(a.runs))
	for name := range a.runs {
		var part probe.Part = resting{}
		if p := a.procs[name]; p != nil && !a.pauses.is(name) {
			part = p
		}
		parts[name] = struct {
			probe.Part
			probe.Collectors
		}{part, a.tell[name]}
	}
	return parts
}

func (a *App) connect(ctx context.Context) error {
	if a.cfg.Dir != "" {
		lock, err := folder.Take(a.cfg.Dir)
		if err != nil {
			return err
		}
		a.onStop(lock.Release)
	}
	at := a.cfg
	if len(at.Brokers) == 0 {
		b, err := devbroker.Start(ctx, devbroker.Config{Dir: a.folder("broker"), Port: a.cfg.Port, RegistryPort: a.cfg.RegistryPort, Listen: a.cfg.Listen,
			Sync: a.cfg.Sync, Log: a.cfg.Log, Partitions: int(a.cfg.Partitions)})
		if err != nil {
			return err
		}
		a.onStop(b.Stop)
		a.broker = b
		at.Brokers, at.Registry = []string{b.Addr()}, b.RegistryURL()
	}
	a.client, a.registry = at.ClientOpts(), at.Registry
	a.addr.Brokers, a.addr.Registry, a.addr.Embedded = at.Brokers, withoutUser(at.Registry), a.broker != nil
	return nil
}

func (a *App) folder(name string) string {
	if a.cfg.Dir == "" {
		return ""
	}
	return filepath.Join(a.cfg.Dir, name)
}

// ErrNoBroker says that Start has waited for a broker in vain.
var ErrNoBroker = errors.New("no broker answers")

const reachTimeout = 15 * time.Second

func (a *App) prepare(ctx context.Context) error {
	cl, err := kgo.NewClient(a.client...)
	if err != nil {
		return fmt.Errorf("client for brokers %v: %w", a.addr.Brokers, err)
	}
	defer cl.Close()
	reach, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if err := cl.Ping(reach); err != nil {
		return fmt.Errorf("%w at %s: %w", ErrNoBroker, strings.Join(a.addr.Brokers, ","), err)
	}
	if err := a.topics(ctx, kadm.NewClient(cl)); err != nil {
		return err
	}
	a.serde, err = schemas.NewSerde(ctx, schemas.SerdeConfig{Registry: a.registry, HTTPClient: a.cfg.HTTPClient(),
		Namespace: a.cfg.Namespace, Log: a.cfg.Log})
	return err
}

func (a *App) topics(ctx context.Context, adm *kadm.Client) error {
	changes, err := topicplan.Plan(ctx, adm, a.cfg.Namespace, a.cfg.Partitions, 0)
	if err != nil {
		return err
	}
	if a.addr.Embedded || a.cfg.ApplyTopics {
		if err := topicplan.Apply(ctx, adm, changes); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if c.Missing() && !a.addr.Embedded && !a.cfg.ApplyTopics {
			return fmt.Errorf("topic %q is not there: `orderlog topics apply` makes what is missing", c.Topic)
		}
	}
	found, err := topicplan.Look(ctx, adm, a.cfg.Namespace)
	if err != nil {
		return err
	}
	a.npart = found[0].Partitions
	return nil
}

// spawn runs the processors until Stop, all at once, and reports the first that
// ends before.
func (a *App) spawn() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for name := range a.runs {
		wg.Go(func() {
			err := a.supervise(ctx, name)
			early := ctx.Err() == nil
			if err == nil && early {
				err = errors.New("ended by itself")
			}
			if err == nil {
				return
			}
			err = fmt.Errorf("processor %s: %w", name, err)
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
			if early {
				a.ended(name, err)
				a.fail(err)
			}
		})
	}
	if a.broker != nil {
		wg.Go(func() {
			select {
			case <-a.broker.Failed():
				a.fail(fmt.Errorf("broker: %w", a.broker.Err()))
			case <-ctx.Done():
			}
		})
	}
	a.onStop(func() error {
		cancel()
		wg.Wait()
		return errors.Join(errs...)
	})
}

func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default: // the first one is the cause
	}
}

func (a *App) waitReady(ctx context.Context) error {
	ctx, done := a.Guard(ctx)
	defer done()
	a.mu.Lock()
	procs := maps.Clone(a.procs)
	a.mu.Unlock()
	for name, p := range procs {
		if a.pauses.is(name) {
			continue
		}
		if err := p.WaitReady(ctx); err != nil && a.current(name, p) {
			return fmt.Errorf("processor %s is not ready: %w", name, cmp.Or(context.Cause(ctx), err))
		}
	}
	return nil
}
