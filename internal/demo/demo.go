package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/feed"
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/listeners"
	"earworm/internal/obs"
	"earworm/internal/run"
	"earworm/internal/service"
	"earworm/schemas"
)

// Options are what the command line says, and what the process gives.
type Options struct {
	Dir, Report      string
	Seed             uint64
	Weeks, Listeners int // 0: the demo world's own
	Stay             bool

	Config   config.Config
	Logger   *slog.Logger
	Registry *prometheus.Registry
	Build    obs.Build
	// Progress is told how many events were sent, Total how many there will be, about.
	Progress, Total func(int64)
}

// partitions of the demo: two for each core of a small machine.
const partitions = 4

// Result is what a run shows.
type Result struct {
	Report listeners.Report
	World  *listeners.World
	// Playlist is one listener's last, Titles name its songs and those of the trends.
	Playlist *schemas.Playlist
	Titles   map[schemas.SongID]string
	Trends   []schemas.Trend

	stay func(ctx context.Context, out io.Writer) error
	stop func() error
}

// Stay keeps the system running until ctx ends if the options asked for it, and then stops it.
func (r *Result) Stay(ctx context.Context, out io.Writer) error {
	var err error
	if r.stay != nil {
		err = r.stay(ctx, out)
	}
	return errors.Join(err, r.stop())
}

// Run begins the directory anew, sends the world's listening through the system and measures. On success the caller must call
// Stay, which ends the system.
func Run(ctx context.Context, o Options) (*Result, error) {
	world, err := o.world()
	if err != nil {
		return nil, run.WithCode(run.CodeUsage, err)
	}
	s, err := o.start(ctx)
	if err != nil {
		return nil, err
	}
	d := &driver{options: o, world: world, system: s, client: s.client, seen: map[int]int64{}}
	result, err := d.run(s.ctx) //nolint:contextcheck // derived from ctx, and ends with the service
	if err != nil {
		// A role that ended took the driver's context with it: its error is the cause.
		return nil, errors.Join(s.cause(ctx, err), s.stop())
	}
	result.stop = s.stop
	if o.Stay {
		result.stay = s.stay
	}
	if o.Report != "" {
		if err := writeReport(o.Report, result.Report); err != nil {
			return nil, errors.Join(run.WithCode(run.CodeIO, err), s.stop())
		}
	}
	return result, nil
}

func (o *Options) world() (*listeners.World, error) {
	c := listeners.Demo()
	c.Seed = o.Seed
	if o.Weeks > 0 {
		c.Weeks = o.Weeks
	}
	if o.Listeners > 0 {
		c.Listeners = o.Listeners
	}
	o.Total(int64(float64(c.Listeners*c.Weeks) * c.EventsPerListenerWeek))
	return listeners.New(c)
}

func writeReport(name string, r listeners.Report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	if err := os.WriteFile(name, append(text, '\n'), 0o644); err != nil { //nolint:gosec // figures for everybody
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// system is the running broker and service.
type system struct {
	service *service.Service
	client  *feed.Client
	ctx     context.Context //nolint:containedctx // ends with the service, which is what the driver must know
	stop    func() error
	ended   chan error
	addrs   []string
}

// start brings everything up. The roles run until stop, not until ctx ends: they must drain into the broker first.
func (o *Options) start(ctx context.Context) (*system, error) {
	release, err := claim(o.Dir)
	if err != nil {
		return nil, err
	}
	embedded, err := broker.Start(ctx, broker.Config{Dir: filepath.Join(o.Dir, "broker"), Logger: o.Logger})
	if err != nil {
		release()
		if ctx.Err() != nil {
			return nil, err // interrupted, and nothing is wrong with the disk
		}
		return nil, run.WithCode(run.CodeIO, err)
	}
	cfg := o.Config
	cfg.Kafka.Brokers = embedded.Addrs()
	cfg.Kafka.Compression = "none" // broker and clients share the machine: compressing would only cost
	cfg.Topics.Partitions = partitions
	cfg.State.Dir = filepath.Join(o.Dir, "state")
	cfg.Instance = "demo"
	svc, err := service.New(cfg, service.Deps{Logger: o.Logger, Registry: o.Registry, Build: o.Build, Now: time.Now})
	if err == nil {
		var client *feed.Client
		if client, err = svc.Feed(); err == nil {
			return launch(ctx, svc, client, embedded, release), nil
		}
	}
	release()
	return nil, errors.Join(err, embedded.Close())
}

func launch(ctx context.Context, svc *service.Service, client *feed.Client, b *broker.Broker, release func()) *system {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	driving, cancelDriving := context.WithCancel(ctx)
	s := &system{service: svc, client: client, ctx: driving, ended: make(chan error, 1), addrs: b.Addrs()}
	go func() {
		s.ended <- svc.Run(own)
		cancelDriving()
	}()
	s.stop = func() error {
		client.Close()
		cancel()
		err := <-s.ended
		cancelDriving()
		err = errors.Join(err, b.Close())
		release()
		return err
	}
	return s
}

// cause returns why the driver could not go on: the user's wish, the service's end, or its own error.
func (s *system) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case ended := <-s.ended:
		s.ended <- nil // stop waits for it
		if ended != nil {
			return ended
		}
	default:
	}
	return err
}

// stay tells where everything is and waits.
func (s *system) stay(ctx context.Context, out io.Writer) error {
	_, err := fmt.Fprintf(out, "\nstill running: brokers %v, http://%s/metrics; Ctrl-C ends it\n", s.addrs, s.service.Address())
	if err != nil {
		return run.WithCode(run.CodeIO, err)
	}
	select {
	case <-ctx.Done():
	case <-s.ctx.Done(): // the service ended by itself
	}
	return nil
}
