package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/run"
	"earworm/internal/service"
	"earworm/schemas"
)

// newServeCommand runs the roles of this process against a Kafka cluster.
func newServeCommand(a *app) *cobra.Command {
	wallClock := true
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the roles of this process until it is told to stop",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.service(wallClock)
			if err != nil {
				return err
			}
			a.announce(s)
			return s.Run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&wallClock, "clock", true, "send ticks by the wall clock; without it ticks come from outside, in event time")
	return cmd
}

// service assembles the roles from the settings.
func (a *app) service(wallClock bool) (*service.Service, error) {
	instance, err := a.instance()
	if err != nil {
		return nil, err
	}
	cfg := a.config
	cfg.Instance = instance
	return service.New(cfg, service.Deps{
		Logger: a.log, Registry: a.registry, Build: a.build, Now: time.Now, WallClock: wallClock,
	})
}

// announce logs what an operator wants to know at start.
func (a *app) announce(_ *service.Service) {
	a.log.Info("starting", slog.String("version", a.build.String()), slog.Any("roles", a.config.Roles),
		slog.Any("brokers", a.config.Kafka.Brokers), slog.String("state", a.config.State.Dir))
	if a.config.Ingest.PseudonymKey.Reveal() == "" {
		a.log.Info("no pseudonym key is configured: listener ids pass unchanged")
	}
	if a.config.Kafka.TLS.InsecureSkipVerify {
		a.log.Warn("brokers' certificates are not verified")
	}
}

// client returns a client of the topics. The caller closes it.
func (a *app) client(topics schemas.Topics) (*feed.Client, error) {
	options, err := service.KafkaOptions(a.config)
	if err != nil {
		return nil, run.WithCode(run.CodeConfig, err)
	}
	return feed.New(feed.Config{
		App: a.config.App, Topics: topics, Partitions: service.Partitions(a.config), ClientOptions: options,
	})
}

// withOutputs runs fn with a client that must use what others write and read only: those topics are always the same.
func (a *app) withOutputs(ctx context.Context, fn func(*feed.Client) error) error {
	client, err := a.client(service.Topics(a.config))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return run.WithCode(run.CodeTemporary, err)
	}
	return fn(client)
}

// withClient runs fn with a client of the running system. Brokers that do not answer within reach are a temporary error.
func (a *app) withClient(ctx context.Context, fn func(*feed.Client) error) error {
	return a.withPlace(ctx, func(c *feed.Client, _ service.Place) error { return fn(c) })
}

// withPlace is withClient for who uses internal topics by name.
func (a *app) withPlace(ctx context.Context, fn func(*feed.Client, service.Place) error) error {
	return a.withOutputs(ctx, func(*feed.Client) error { // only now are the brokers known to answer
		place, err := service.Locate(ctx, a.config)
		if err != nil {
			return err
		}
		client, err := a.client(place.Topics)
		if err != nil {
			return err
		}
		defer client.Close()
		return fn(client, place)
	})
}
