package service

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"earworm/consumers/ingest"
	"earworm/consumers/letters"
	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/internal/config"
	"earworm/internal/erasure"
	"earworm/internal/pseudonym"
	"earworm/internal/refit"
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/schemas"
	"earworm/state"
)

// Topics returns the names of the topics under the configuration.
func Topics(cfg config.Config) schemas.Topics {
	t := schemas.NewTopics(cfg.App)
	for key, name := range cfg.Topics.Overrides() {
		for _, topic := range []struct {
			key string
			dst *string
		}{
			{"events", &t.Events},
			{"catalog", &t.Catalog},
			{"users", &t.Users},
			{"listens", &t.Listens},
			{"listener_changelog", &t.ListenerChangelog},
			{"song_updates", &t.SongUpdates},
			{"song_factors", &t.SongFactors},
			{"ticks", &t.Ticks},
			{"playlists", &t.Playlists},
			{"patches", &t.Patches},
			{"trends", &t.Trends},
			{"metrics", &t.Metrics},
			{"dead_letters", &t.DeadLetters},
			{"letter_marks", &t.LetterMarks},
			{"layout", &t.Layout},
		} {
			if topic.key == key {
				*topic.dst = name
			}
		}
	}
	return t
}

// Partitions returns P, the number of partitions of the internal topics.
func Partitions(cfg config.Config) int32 {
	return int32(cfg.Topics.Partitions) //nolint:gosec // config bounds it to 4096
}

// specs translates how the topics must be for the runtime.
func specs(cfg config.Config, topics schemas.Topics) []stream.TopicSpec {
	millis := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	all := topics.Specs()
	out := make([]stream.TopicSpec, 0, len(all))
	for _, s := range all {
		spec := stream.TopicSpec{
			Name: s.Name, Partitions: s.Partitions(Partitions(cfg)), Cleanup: string(s.Cleanup),
			Replication: int16(cfg.Topics.ReplicationFactor), //nolint:gosec // config bounds it to 32
			Any:         s.Rule == schemas.PartitionsAny, Configs: map[string]string{},
		}
		for key, d := range map[string]time.Duration{
			"retention.ms": s.Retention, "delete.retention.ms": s.DeleteRetention,
			"max.compaction.lag.ms": s.MaxCompactionLag, "min.compaction.lag.ms": s.MinCompactionLag,
		} {
			if d > 0 {
				spec.Configs[key] = millis(d)
			}
		}
		if slices.Contains(topics.Moving(), s.Name) {
			spec.Grow = "earworm reshard --to " + strconv.Itoa(cfg.Topics.Partitions) // what is there must move, too
		}
		if s.Retention > 0 {
			// A segment goes when its last record is old enough: with Kafka's week, records would stay up to a week longer than said.
			spec.Configs["segment.ms"] = millis(min(s.Retention/2, 24*time.Hour))
		}
		out = append(out, spec)
	}
	return out
}

// LettersConfig says where the dead letters of the configuration's application are.
func LettersConfig(cfg config.Config, place Place) (letters.Config, error) {
	options, err := KafkaOptions(cfg)
	if err != nil {
		return letters.Config{}, err
	}
	c := letters.Config{
		App: cfg.App, Topics: place.Topics, ClientOptions: options, TransactionTimeout: cfg.Kafka.TransactionTimeout,
	}
	for _, spec := range specs(cfg, c.Topics) {
		if spec.Name == c.Topics.LetterMarks {
			c.Marks = spec
		}
	}
	return c, nil
}

// ErasureConfig says what an erasure has to reach under the configuration. Clock and progress are the caller's.
func ErasureConfig(cfg config.Config, place Place) (erasure.Config, error) {
	names, err := mapper(cfg.Ingest)
	if err != nil {
		return erasure.Config{}, err
	}
	options, err := KafkaOptions(cfg)
	if err != nil {
		return erasure.Config{}, err
	}
	return erasure.Config{
		App: cfg.App, Topics: place.Topics, Earlier: place.Earlier, ClientOptions: options, Aliases: cfg.Ingest.Aliases, Names: names.All,
		ScrubDelay: cfg.State.ScrubDelay,
	}, nil
}

// RefitConfig says what a refit reads and how the ranker ranks under the configuration. How to fit is the caller's.
func RefitConfig(cfg config.Config, place Place) (refit.Config, error) {
	options, err := KafkaOptions(cfg)
	if err != nil {
		return refit.Config{}, err
	}
	return refit.Config{
		Topics: place.Topics, Partitions: Partitions(cfg), ClientOptions: options, Fit: refit.DefaultFit(),
		Listener: listenerConfig(cfg, place.Topics), Near: songConfig(cfg, place.Topics).Near,
	}, nil
}

// KafkaOptions returns the options of a client for the configuration's cluster.
func KafkaOptions(cfg config.Config) (stream.Options, error) {
	options, err := stream.ClientOptions(KafkaConfig(cfg.Kafka))
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return options, nil
}

// KafkaConfig translates the Kafka section.
func KafkaConfig(k config.Kafka) stream.KafkaConfig {
	return stream.KafkaConfig{
		Brokers: k.Brokers, ClientID: k.ClientID, Compression: k.Compression,
		Properties: map[string]string{"fetch.max.bytes": strconv.FormatInt(int64(k.FetchMaxBytes), 10)},
		TLS: stream.TLSConfig{
			Enabled: k.TLS.Enabled, CAFile: k.TLS.CAFile, CertFile: k.TLS.CertFile, KeyFile: k.TLS.KeyFile,
			InsecureSkipVerify: k.TLS.InsecureSkipVerify,
		},
		SASL: stream.SASLConfig{Mechanism: k.SASL.Mechanism, Username: k.SASL.Username, Password: k.SASL.Password.Reveal()},
	}
}

// learnParams applies what is set over the model's defaults.
func learnParams(l config.Learn) factor.Params {
	p := factor.DefaultParams()
	whole := func(dst *int, v int) {
		if v != 0 {
			*dst = v
		}
	}
	fraction := func(dst *float32, v float64) {
		if v != 0 {
			*dst = float32(v)
		}
	}
	whole(&p.Dim, l.Dim)
	whole(&p.Window, l.Window)
	whole(&p.Replays, l.Replays)
	fraction(&p.Negatives, l.Negatives)
	fraction(&p.Ridge, l.Ridge)
	fraction(&p.RidgeMax, l.RidgeMax)
	fraction(&p.InitScale, l.InitScale)
	return p
}

// trendParams applies what is set over the model's defaults.
func trendParams(t config.Trend) trend.Params {
	p := trend.DefaultParams()
	if t.FastHalfLife != 0 {
		p.FastHalfLife = t.FastHalfLife
	}
	if t.SlowHalfLife != 0 {
		p.SlowHalfLife = t.SlowHalfLife
	}
	for _, f := range []struct {
		dst *float64
		v   float64
	}{
		{&p.Psi, t.Noise}, {&p.FalseDiscovery, t.FalseShare}, {&p.MinRatio, t.MinRatio}, {&p.MinListeners, t.MinListeners},
	} {
		if f.v != 0 {
			*f.dst = f.v
		}
	}
	return p
}

func ingestConfig(cfg config.Config, topics schemas.Topics) ingest.Config {
	return ingest.Config{
		Events: topics.Events, Users: topics.Users, Listens: topics.Listens, Aliases: cfg.Ingest.Aliases,
		MaxBytes: int(cfg.Ingest.MaxEventBytes), FutureClamp: cfg.Ingest.FutureClamp, FutureReject: cfg.Ingest.FutureReject,
	}
}

func listenerConfig(cfg config.Config, topics schemas.Topics) listener.Config {
	c := listener.Default()
	c.App = cfg.App
	c.Listens, c.Ticks, c.SongUpdates, c.Partitions = topics.Listens, topics.Ticks, topics.SongUpdates, Partitions(cfg)
	c.Playlists, c.DeadLetters = topics.Playlists, topics.DeadLetters
	c.DedupeWindow, c.ActiveFor = cfg.Listener.DedupeWindow, cfg.Listener.ActiveFor
	c.SessionGap, c.TasteHalfLife = cfg.Listener.SessionGap, cfg.Listener.TasteHalfLife
	c.CacheBytes = int(cfg.Listener.CacheBytes) / cfg.Topics.Partitions
	c.Hour, c.Zone, c.Chunk = cfg.Emit.Hour, cfg.Emit.Zone, cfg.Emit.Chunk
	// All tasks of a process may emit in one transaction: together they take at most an eighth of its timeout.
	c.ChunkTime = max(cfg.Kafka.TransactionTimeout/8*stream.DefaultWorkers/time.Duration(cfg.Topics.Partitions), 10*time.Millisecond)
	c.Discovery, c.Memory, c.CatchUp = cfg.Emit.Discovery, cfg.Emit.Memory, cfg.Emit.CatchUp
	c.Playlist.Length, c.Playlist.ArtistCap = cfg.Emit.Length, cfg.Emit.ArtistCap
	c.Playlist.TrendSlots, c.Playlist.ExploreSlots = cfg.Emit.TrendSlots, cfg.Emit.ExploreSlots
	c.Seed = uint64(cfg.Learn.Seed) //nolint:gosec // any bits are a seed
	c.Learn, c.Trend, c.ReplayLag = learnParams(cfg.Learn), trendParams(cfg.Trend), cfg.Learn.ReplayLag
	return c
}

func songConfig(cfg config.Config, topics schemas.Topics) song.Config {
	c := song.Default()
	c.App, c.SongUpdates, c.Trends, c.Interval = cfg.App, topics.SongUpdates, topics.Trends, cfg.Trend.Interval
	c.Partitions, c.Wait = Partitions(cfg), cfg.Trend.Wait
	c.Learn, c.Trend = learnParams(cfg.Learn), trendParams(cfg.Trend)
	return c
}

// stateConfig dates what it writes with the process's clock.
func stateConfig(s config.State, now func() time.Time) state.Config {
	c := state.Default()
	c.Dir, c.Now = s.Dir, now
	c.CacheBytes, c.MemTableBytes = int64(s.CacheBytes), int64(s.MemtableBytes)
	c.MinFreeBytes, c.ScrubDelay = int64(s.LowDiskBytes), s.ScrubDelay
	if s.LowDiskBytes == 0 {
		c.MinFreeBytes, c.MinFreePercent = -1, -1
	}
	return c
}

// mapper reads the pseudonym keys.
func mapper(i config.Ingest) (*pseudonym.Mapper, error) {
	keys := i.PseudonymKey.Reveal()
	if keys == "" {
		return &pseudonym.Mapper{}, nil
	}
	m, err := pseudonym.Parse([]byte(keys))
	if err != nil {
		return nil, fmt.Errorf("ingest.pseudonym_key: %w", err)
	}
	return m, nil
}
