package service

import (
	"context"
	"errors"
	"fmt"

	"earworm/consumers/layout"
	"earworm/consumers/stream"
	"earworm/internal/config"
	"earworm/internal/run"
	"earworm/schemas"
)

// Place is where the state of an application is.
type Place struct {
	// Topics are the names in force.
	Topics schemas.Topics
	// Earlier are those of earlier generations whose topics have not been deleted.
	Earlier []schemas.Topics
}

// Locate asks the brokers where the state of the configured application is. Its errors have the exit code of why it must not be touched.
func Locate(ctx context.Context, cfg config.Config) (Place, error) {
	options, err := KafkaOptions(cfg)
	if err != nil {
		return Place{}, run.WithCode(run.CodeConfig, err)
	}
	found, err := layout.Usable(ctx, layoutConfig(cfg, options))
	if coded := layoutCode(err); coded != nil {
		return Place{}, coded
	}
	if err != nil {
		return Place{}, run.WithCode(run.CodeTemporary, err)
	}
	base := Topics(cfg)
	place := Place{Topics: base.Generation(found.Number())}
	for _, g := range found.Kept {
		place.Earlier = append(place.Earlier, base.Generation(g.Number))
	}
	return place, nil
}

func layoutConfig(cfg config.Config, options stream.Options) layout.Config {
	return layout.Config{Topics: Topics(cfg), Partitions: Partitions(cfg), ClientOptions: options}
}

func (s *Service) layout() layout.Config { return layoutConfig(s.cfg, s.options) }

// layoutCode gives an error that says not to touch the topics its exit code: a move comes to an end by itself, the rest does not. It
// returns nil for any other error.
func layoutCode(err error) error {
	switch {
	case errors.Is(err, layout.ErrMoving), errors.Is(err, layout.ErrReplaced):
		return run.WithCode(run.CodeTemporary, err)
	case errors.Is(err, layout.ErrPartitions):
		return run.WithCode(run.CodeConfig, err)
	}
	return nil
}

// admit keeps a member from working on a generation that is being moved, or is no longer in force: it may have been paused for as long as
// that took.
func (s *Service) admit(ctx context.Context, generation int) error {
	err := layout.Still(ctx, s.layout(), generation)
	if coded := layoutCode(err); coded != nil {
		return fmt.Errorf("%w: %w", stream.ErrNotAdmitted, coded)
	}
	return err
}
