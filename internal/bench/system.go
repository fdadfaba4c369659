package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/obs"
	"earworm/internal/service"
	"earworm/schemas"
)

// system is a broker, its own or a given one, and a service that can be started again on the same state.
type system struct {
	cfg      config.Config
	log      *slog.Logger
	embedded *broker.Broker
	client   *feed.Client

	svc      *service.Service
	registry *prometheus.Registry
	stop     context.CancelFunc
	ended    chan error
}

// open starts the broker, unless one is given, and makes the client that sends the events.
func open(ctx context.Context, o Options) (*system, error) {
	cfg := o.Config
	cfg.Topics.Partitions = o.Partitions
	cfg.State.Dir = filepath.Join(o.Dir, "state")
	cfg.Instance, cfg.HTTP.Listen, cfg.HTTP.AdminListen = "bench", "", ""
	s := &system{log: o.Logger}
	if len(o.Brokers) > 0 {
		cfg.Kafka.Brokers = o.Brokers
		cfg.App = fmt.Sprintf("bench-%d", time.Now().UnixNano())
		cfg.Topics.Events, cfg.Topics.Catalog, cfg.Topics.Users = cfg.App+"-events", cfg.App+"-catalog", cfg.App+"-users"
	} else {
		var err error
		pprof.Do(ctx, pprof.Labels(partLabel, "broker"), func(ctx context.Context) {
			s.embedded, err = broker.Start(ctx, broker.Config{Dir: filepath.Join(o.Dir, "broker"), Logger: o.Logger})
		})
		if err != nil {
			return nil, err
		}
		cfg.Kafka.Brokers, cfg.Kafka.Compression = s.embedded.Addrs(), "none"
	}
	s.cfg = cfg
	svc, _, err := s.service()
	if err == nil {
		s.client, err = svc.Feed()
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *system) service() (*service.Service, *prometheus.Registry, error) {
	build := obs.ReadBuild("bench")
	registry, err := obs.NewRegistry(build)
	if err != nil {
		return nil, nil, err
	}
	svc, err := service.New(s.cfg, service.Deps{Logger: s.log, Registry: registry, Build: build, Now: time.Now})
	return svc, registry, err
}

// topics returns the names in use.
func (s *system) topics() schemas.Topics { return service.Topics(s.cfg) }

// options returns those of a client of the brokers.
func (s *system) options() (stream.Options, error) { return service.KafkaOptions(s.cfg) }

// start runs a new service.
func (s *system) start(ctx context.Context) error {
	svc, registry, err := s.service()
	if err != nil {
		return err
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.svc, s.registry, s.stop, s.ended = svc, registry, cancel, make(chan error, 1)
	go func() { s.ended <- svc.Run(own) }()
	return nil
}

// ready waits until every role works.
func (s *system) ready(ctx context.Context) error {
	return s.await(ctx, func() bool {
		if len(s.svc.Accounting()) < roles {
			return false // not built yet, so nothing to be asked
		}
		ok, _ := s.svc.Health().Ready()
		return ok
	})
}

// roles is how many keep accounts.
const roles = 3

// await returns when the condition holds, or with the reason why it never will.
func (s *system) await(ctx context.Context, holds func() bool) error {
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.ended:
			s.ended <- err
			return errors.Join(errors.New("bench: the service ended"), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// halt ends the service and waits.
func (s *system) halt() error {
	if s.stop == nil {
		return nil
	}
	s.stop()
	err := <-s.ended
	s.stop = nil
	return err
}

func (s *system) close() error {
	if s.client != nil {
		s.client.Close()
	}
	err := s.halt()
	if s.embedded != nil {
		err = errors.Join(err, s.embedded.Close())
	}
	return err
}

// wipe deletes the local state, so that the next start restores it from the changelogs.
func (s *system) wipe() error {
	if err := os.RemoveAll(s.cfg.State.Dir); err != nil {
		return fmt.Errorf("deleting the state: %w", err)
	}
	return nil
}

// consumed returns how many records the roles have committed from a topic, applied ones apart.
func (s *system) consumed(topic string) (all, applied int64) {
	for _, counts := range s.svc.Accounting() {
		for from, c := range counts {
			if from.Topic == topic {
				all += c.Consumed
				applied += c.Applied
			}
		}
	}
	return all, applied
}

// counted returns the sum of a counter over its labels since the service was started.
func (s *system) counted(name string) (int64, error) {
	families, err := s.registry.Gather()
	if err != nil {
		return 0, fmt.Errorf("gathering metrics: %w", err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return int64(sum), nil
}
