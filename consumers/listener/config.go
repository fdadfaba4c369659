package listener

import (
	"errors"
	"fmt"
	"time"

	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/model/rank"
	"earworm/model/trend"
)

// Config says how listeners are remembered and served. A zero field means its default.
type Config struct {
	// Topics that the role writes and reads.
	Listens, Ticks, SongUpdates, Playlists, DeadLetters string
	// Partitions is the number of partitions of SongUpdates; 0 is one.
	Partitions int32
	// App is part of the CloudEvents headers of playlists.
	App string
	// DedupeWindow is how far event ids are remembered behind a listener's newest event; default 48 h.
	DedupeWindow time.Duration
	// ActiveFor is how long after their last event a listener still gets playlists; default 365 days.
	ActiveFor time.Duration
	// TasteHalfLife is the decay of engagement in the history; default 14 days.
	TasteHalfLife time.Duration
	// SessionGap ends a session; default 30 minutes.
	SessionGap time.Duration
	// CacheBytes bounds the listeners that one task keeps in memory between transactions; default 64 MiB.
	CacheBytes int
	// Hour is the local hour of delivery on Monday; default 6.
	Hour int
	// Zone is the time zone of listeners whose profile and region name none; default UTC.
	Zone string
	// Chunk is how many listeners one tick serves before it writes a continuation tick; default 500.
	Chunk int
	// ChunkTime ends a chunk early: a transaction must stay far below its timeout on a slow machine too. Default 500 ms.
	ChunkTime time.Duration
	// CatchUp is how long after its delivery hour a missed week is still emitted; default 7 days.
	CatchUp time.Duration
	// Memory is how many earlier playlists a song must not have been in; default 4.
	Memory int
	// Discovery is the knob from 0, safe, to 1, as new as possible, for listeners who set none.
	Discovery float64
	// PrequentialEvery is how many first listens there are at least to one that is ranked before it is learnt; default 64.
	PrequentialEvery int
	// ReplayLag is the lag, in wall time, from which first listens are trained with the fewest replays of the listener's history, until
	// the lag is gone; 0 is never. It applies to events of the last hours only: history that is imported waits, too, but nobody waits for it.
	ReplayLag time.Duration
	// StudySample is about how many listeners of a partition the blend of the ranker learns from each week; default 2000. 0 learns
	// nothing.
	StudySample int
	// Seed makes exploration and sampling reproducible.
	Seed uint64

	Learn    factor.Params
	Rank     rank.Params
	Playlist playlist.Params
	Trend    trend.Params
}

// Default returns the defaults; the topics have none.
func Default() Config {
	return Config{
		App: "earworm", DedupeWindow: 48 * time.Hour, ActiveFor: 365 * 24 * time.Hour, TasteHalfLife: 14 * 24 * time.Hour,
		SessionGap: 30 * time.Minute, CacheBytes: 64 << 20, Hour: 6, Zone: "UTC", Chunk: 500, ChunkTime: 500 * time.Millisecond,
		CatchUp: 7 * 24 * time.Hour, Memory: 4, Discovery: rank.NeutralDiscovery, PrequentialEvery: 64, StudySample: 2000,
		Learn: factor.DefaultParams(), Rank: rank.DefaultParams(), Playlist: playlist.DefaultParams(),
		Trend: trend.DefaultParams(),
	}
}

// Validate reports every problem.
func (c Config) Validate() error {
	var errs []error
	for name, topic := range map[string]string{
		"listens": c.Listens, "ticks": c.Ticks, "song updates": c.SongUpdates,
		"playlists": c.Playlists, "dead letters": c.DeadLetters,
	} {
		if topic == "" {
			errs = append(errs, fmt.Errorf("listener: no topic for %s", name))
		}
	}
	if c.DedupeWindow <= 0 || c.ActiveFor <= 0 || c.TasteHalfLife <= 0 || c.SessionGap <= 0 || c.CatchUp <= 0 || c.ChunkTime <= 0 ||
		c.ReplayLag < 0 {
		errs = append(errs, errors.New("listener: durations must be positive, but the replay lag may be 0"))
	}
	if c.Partitions < 0 {
		errs = append(errs, fmt.Errorf("listener: %d partitions", c.Partitions))
	}
	if c.Chunk < 1 || c.Chunk > 10_000 {
		errs = append(errs, fmt.Errorf("listener: chunk is %d, want 1 to 10000", c.Chunk))
	}
	if c.Hour < 0 || c.Hour > 23 {
		errs = append(errs, fmt.Errorf("listener: hour is %d, want 0 to 23", c.Hour))
	}
	if !(c.Discovery >= 0 && c.Discovery <= 1) {
		errs = append(errs, fmt.Errorf("listener: discovery is %v, want 0 to 1", c.Discovery))
	}
	if c.Memory < 0 || c.StudySample < 0 || c.CacheBytes < 0 || c.PrequentialEvery < 1 {
		errs = append(errs, errors.New("listener: memory, study sample and cache must not be negative, prequential sampling at least 1"))
	}
	if _, err := time.LoadLocation(c.Zone); err != nil {
		errs = append(errs, fmt.Errorf("listener: zone: %w", err))
	}
	return errors.Join(append(errs, c.Learn.Validate(), c.Rank.Validate(), c.Playlist.Validate(), c.Trend.Validate())...)
}
