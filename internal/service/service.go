package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/feed"
	"earworm/consumers/ingest"
	"earworm/consumers/layout"
	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/consumers/table"
	"earworm/internal/config"
	"earworm/internal/obs"
	"earworm/internal/pseudonym"
	"earworm/internal/run"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// TickInterval is the usual time between two ticks of the wall clock.
const TickInterval = 30 * time.Second

// Shares of the group's session timeout. A member that misses four heartbeats is still in the group, and one learns of a
// rebalance by a heartbeat, so the group must wait for several.
const (
	heartbeatsPerSession = 5
	sessionsPerRebalance = 2
)

// songCommits is how many times longer a transaction of the song role lasts.
const songCommits = 3

// storeMaxAge is half of the changelogs' delete.retention.ms: an older store may miss tombstones that are gone.
const storeMaxAge = 84 * time.Hour

// Deps are what the process gives to its service.
type Deps struct {
	Logger   *slog.Logger
	Registry *prometheus.Registry
	Build    obs.Build
	Now      func() time.Time
	// WallClock sends ticks with the time of the wall; without it ticks come from outside, in event time.
	WallClock bool
	// TickInterval is the time between two ticks of the wall clock; 0 is the usual one.
	TickInterval time.Duration
	// FS holds the stores; nil is the disk.
	FS state.FS
	// VirtualTime says that the process lives in a bubble whose clock moves when nothing else does: nothing may poll.
	VirtualTime bool
	// KafkaOptions come after those of the configuration: an in-memory network for tests.
	KafkaOptions stream.Options
}

// Service is one process's part of the system. Make it with New and run it once.
type Service struct {
	cfg     config.Config
	deps    Deps
	names   atomic.Pointer[schemas.Topics]
	options stream.Options
	mapper  *pseudonym.Mapper
	health  *obs.Health
	factors *factor.Table
	near    *cooccur.Table
	ranker  *rank.Ranker
	stores  *state.Shared
	fatal   chan error
	// joinAfter is closed when the table has everything that was published before: what a role reads then finds the songs that it is about.
	joinAfter <-chan struct{}

	ingest, listener, song atomic.Pointer[stream.Runtime]
	httpAddress            atomic.Pointer[string]
}

// New checks everything that can be checked without brokers and disk.
func New(cfg config.Config, deps Deps) (*Service, error) {
	mapper, err := mapper(cfg.Ingest)
	if err != nil {
		return nil, run.WithCode(run.CodeConfig, err)
	}
	options, err := KafkaOptions(cfg)
	if err != nil {
		return nil, run.WithCode(run.CodeConfig, err)
	}
	s := &Service{
		cfg: cfg, deps: deps, options: append(options, deps.KafkaOptions...), mapper: mapper,
		health: obs.NewHealth(time.Minute, deps.Now), factors: factor.NewTable(learnParams(cfg.Learn)),
		fatal: make(chan error, 1),
	}
	topics := Topics(cfg)
	s.names.Store(&topics)
	errs := []error{ingestConfig(cfg, topics).Validate(), listenerConfig(cfg, topics).Validate(), songConfig(cfg, topics).Validate()}
	if err := errors.Join(errs...); err != nil {
		return nil, run.WithCode(run.CodeConfig, err)
	}
	s.near = cooccur.NewTable(songConfig(cfg, topics).Near, s.factors)
	s.ranker = rank.New(s.factors, s.near, listenerConfig(cfg, topics).Rank)
	s.health.AddCheck("topics", func() (bool, string) { return false, "brokers not reached yet" })
	return s, nil
}

// Topics returns the names in use: those of the first generation until the brokers have said which one is in force.
func (s *Service) Topics() schemas.Topics { return *s.names.Load() }

// Feed returns a client of this system.
func (s *Service) Feed() (*feed.Client, error) {
	return feed.New(feed.Config{
		App: s.cfg.App, Topics: s.Topics(), Partitions: Partitions(s.cfg), ClientOptions: s.options,
		DrainInterval: 50 * time.Millisecond,
	})
}

// Health tells whether the process lives and is ready.
func (s *Service) Health() *obs.Health { return s.health }

// Address returns where HTTP is served, "" before it is or when it is off.
func (s *Service) Address() string {
	if a := s.httpAddress.Load(); a != nil {
		return *a
	}
	return ""
}

// Accounting returns the committed counts of every input of the roles that run here.
func (s *Service) Accounting() map[string]map[stream.TopicPartition]stream.Counts {
	out := map[string]map[stream.TopicPartition]stream.Counts{}
	for name, runtime := range s.runtimes() {
		out[name] = runtime.Accounting()
	}
	return out
}

// Ingesting reports whether the ingest role runs here and has partitions.
func (s *Service) Ingesting() bool {
	runtime := s.ingest.Load()
	return runtime != nil && len(runtime.Partitions()) > 0
}

// Owned returns the partitions of a role whose tasks work here.
func (s *Service) Owned(role string) []int32 {
	if runtime := s.runtimes()[role]; runtime != nil {
		return runtime.Partitions()
	}
	return nil
}

func (s *Service) runtimes() map[string]*stream.Runtime {
	out := map[string]*stream.Runtime{}
	for name, p := range map[string]*atomic.Pointer[stream.Runtime]{
		feed.RoleIngest: &s.ingest, feed.RoleListener: &s.listener, feed.RoleSong: &s.song,
	} {
		if runtime := p.Load(); runtime != nil {
			out[name] = runtime
		}
	}
	return out
}

// Run works until ctx ends, which is no error, or something cannot go on.
func (s *Service) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, s.health.Stopping)()
	public, admin, err := s.servers() //nolint:contextcheck // opens sockets; serving is what takes the context
	if err != nil {
		return err
	}
	stateful := s.cfg.HasRole(config.RoleListener) || s.cfg.HasRole(config.RoleSong)
	if stateful {
		if err := s.openStores(); err != nil {
			return errors.Join(err, closeServers(public, admin))
		}
		defer func() {
			if err := s.stores.Close(); err != nil {
				s.deps.Logger.Warn("closing the stores", slog.Any("error", err))
			}
		}()
	}
	group := run.NewGroup(run.GroupConfig{}, s.deps.Logger)
	for _, server := range []*obs.Server{admin, public} {
		if server != nil {
			group.Add("http", server)
		}
	}
	group.Add("disk", run.Func(s.watchDisk))
	group.Add("roles", run.Func(s.runRoles))
	return group.Run(ctx)
}

// openStores takes the state directory. Its errors have the exit code of an operator's mistake or of a sick disk.
func (s *Service) openStores() error {
	cfg := stateConfig(s.cfg.State, s.deps.Now)
	cfg.FS, cfg.NoPolling = s.deps.FS, s.deps.VirtualTime
	stores, err := state.NewShared(cfg, state.Deps{
		Logger: s.deps.Logger, Registerer: s.deps.Registry,
		OnFatal: func(err error) {
			select {
			case s.fatal <- err:
			default:
			}
		},
		OnQuarantine: func(q state.Quarantine) {
			s.deps.Logger.Warn("a store was set aside and is rebuilt from its changelog",
				slog.String("role", q.Identity.Role), slog.Int("partition", int(q.Identity.Partition)),
				slog.String("reason", string(q.Reason)), slog.String("moved_to", q.To))
		},
	})
	if err != nil {
		return run.WithCode(run.CodeIO, err)
	}
	s.stores = stores
	s.health.AddCheck("disk", func() (bool, string) {
		if err := stores.Health(); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	return nil
}

// watchDisk ends the process when the stores cannot be used any more: Pebble would hang, not fail.
func (s *Service) watchDisk(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.fatal:
		return run.WithCode(run.CodeIO, err)
	}
}

// runRoles creates the topics, fills the table and then runs the roles.
func (s *Service) runRoles(ctx context.Context) error {
	generation, err := s.ensureTopics(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	topics := s.Topics()
	group := run.NewGroup(run.GroupConfig{}, s.deps.Logger)
	songs, err := table.New(
		table.Config{SongFactors: topics.SongFactors, Catalog: topics.Catalog, ClientOptions: s.options},
		table.Deps{Tables: table.Tables{Factors: s.factors, Neighbours: s.near, Ranker: s.ranker}, Logger: s.deps.Logger, Registerer: s.deps.Registry},
	)
	if err != nil {
		return err
	}
	s.health.AddCheck("table", songs.Ready)
	group.Add("table", labelled("table", songs))
	s.joinAfter = songs.CaughtUp()
	for _, role := range []struct {
		name  string
		build func(generation int) (*stream.Runtime, error)
		keep  *atomic.Pointer[stream.Runtime]
	}{
		{config.RoleSong, s.songRole, &s.song},
		{config.RoleListener, s.listenerRole, &s.listener},
		{config.RoleIngest, s.ingestRole, &s.ingest},
	} {
		if !s.cfg.HasRole(role.name) {
			continue
		}
		runtime, err := role.build(generation)
		if err != nil {
			return err
		}
		role.keep.Store(runtime)
		s.health.AddCheck(role.name, readiness(runtime))
		group.Add(role.name, labelled(role.name, temporary(runtime)))
	}
	// Only now: between the topics and the checks of the roles there was a moment in which nothing spoke against being ready.
	s.health.AddCheck("topics", func() (bool, string) { return true, "" })
	if s.deps.WallClock && s.cfg.HasRole(config.RoleListener) {
		client, err := s.Feed()
		if err != nil {
			return err
		}
		defer client.Close()
		group.Add("ticker", &feed.Ticker{
			Client: client, Interval: cmp.Or(s.deps.TickInterval, TickInterval), Owns: s.ownsClock, Now: s.deps.Now, Logger: s.deps.Logger,
		})
	}
	return group.Run(ctx)
}

// temporary gives the exit code of "try again" to what a restart mends.
func temporary(c run.Component) run.Component {
	return run.Func(func(ctx context.Context) error {
		err := c.Run(ctx)
		if errors.Is(err, stream.ErrFenced) || errors.Is(err, stream.ErrUnknownOutcome) || errors.Is(err, stream.ErrStalled) {
			return run.WithCode(run.CodeTemporary, err)
		}
		return err
	})
}

// labelled makes a profile say which role a sample belongs to: goroutines inherit the label.
func labelled(name string, c run.Component) run.Component {
	return run.Func(func(ctx context.Context) (err error) {
		pprof.Do(ctx, pprof.Labels("part", name), func(ctx context.Context) { err = c.Run(ctx) })
		return err
	})
}

// ownsClock says whether this process sends the ticks: the owner of the first listener partition does.
func (s *Service) ownsClock() bool {
	runtime := s.listener.Load()
	if runtime == nil {
		return false
	}
	owned := runtime.Partitions()
	return len(owned) > 0 && owned[0] == 0
}

func readiness(r *stream.Runtime) obs.Check {
	return func() (bool, string) {
		ok, reasons := r.Ready()
		if ok {
			return true, ""
		}
		return false, fmt.Sprint(reasons)
	}
}

// ensureTopics finds out which generation of the topics is in force, creates what is missing, and waits for brokers that are not there yet.
func (s *Service) ensureTopics(ctx context.Context) (generation int, err error) {
	client, err := stream.OpenClient(s.options)
	if err != nil {
		return 0, run.WithCode(run.CodeConfig, err)
	}
	defer client.Close()
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		try, cancel := context.WithTimeout(ctx, 30*time.Second)
		found, err := layout.Usable(try, s.layout())
		if err == nil {
			topics := Topics(s.cfg).Generation(found.Number())
			s.names.Store(&topics)
			if s.cfg.Topics.Create {
				err = stream.EnsureTopics(try, client, specs(s.cfg, topics))
			} else {
				err = stream.CheckTopics(try, client, specs(s.cfg, topics))
			}
		}
		cancel()
		if err == nil {
			return found.Number(), nil
		}
		if errors.Is(err, stream.ErrTopicMismatch) {
			return 0, run.WithCode(run.CodeConfig, err)
		}
		if coded := layoutCode(err); coded != nil {
			return 0, coded
		}
		if ctx.Err() != nil {
			return 0, nil
		}
		s.deps.Logger.Warn("brokers are not ready; trying again", slog.Duration("wait", wait), slog.Any("error", err))
		select {
		case <-ctx.Done():
			return 0, nil
		case <-time.After(wait):
		}
	}
}

func (s *Service) streamConfig(generation int, role string, inputs, outputs []string, changelog string) stream.Config {
	style, _ := stream.ParseHeaderStyle(s.cfg.DLQ.HeaderStyle) // config knows the names
	return stream.Config{
		App: s.cfg.App, Role: role, InstanceID: s.cfg.Instance, Inputs: inputs, Outputs: outputs, Changelog: changelog,
		Partitions: Partitions(s.cfg), DeadLetters: s.Topics().DeadLetters, DeadLetterStyle: style, ClientOptions: s.options,
		CommitInterval: s.cfg.CommitInterval, TransactionTimeout: s.cfg.Kafka.TransactionTimeout,
		SessionTimeout: s.cfg.Kafka.SessionTimeout, HeartbeatInterval: s.cfg.Kafka.SessionTimeout / heartbeatsPerSession,
		RebalanceTimeout: s.cfg.Kafka.SessionTimeout * sessionsPerRebalance, PollRecordsMax: s.cfg.Kafka.MaxPollRecords, StoreMaxAge: storeMaxAge,
		Admit:     func(ctx context.Context) error { return s.admit(ctx, generation) },
		JoinAfter: s.joinAfter,
	}
}

func (s *Service) runtime(cfg stream.Config) (*stream.Runtime, error) {
	if cfg.Changelog != "" {
		cfg.OpenStore = func(_ context.Context, partition int32) (stream.Store, error) {
			opened, err := s.stores.Open(state.Identity{
				App: s.cfg.App, Role: cfg.Role, Partition: partition, Partitions: Partitions(s.cfg),
			})
			if err != nil {
				return nil, run.WithCode(run.CodeIO, err)
			}
			return &store{Store: opened}, nil
		}
	}
	return stream.New(cfg, stream.Deps{Logger: s.deps.Logger, Registerer: s.deps.Registry})
}

func (s *Service) ingestRole(generation int) (*stream.Runtime, error) {
	topics := s.Topics()
	cfg := s.streamConfig(generation, feed.RoleIngest, []string{topics.Events, topics.Users}, []string{topics.Listens}, "")
	role := ingestConfig(s.cfg, topics)
	cfg.NewTask = func(int32, stream.Store) (stream.Task, error) { return ingest.New(role, s.mapper) }
	return s.runtime(cfg)
}

func (s *Service) listenerRole(generation int) (*stream.Runtime, error) {
	topics := s.Topics()
	metrics, err := listener.NewMetrics(s.deps.Registry)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	role := listenerConfig(s.cfg, topics)
	deps := listener.Deps{Table: s.factors, Near: s.near, Ranker: s.ranker, Revealer: s.mapper, Metrics: metrics}
	cfg := s.streamConfig(generation, feed.RoleListener, []string{topics.Listens, topics.Ticks},
		[]string{topics.SongUpdates, topics.Playlists, topics.Ticks}, topics.ListenerChangelog)
	cfg.NewTask = func(partition int32, store stream.Store) (stream.Task, error) {
		return listener.New(role, deps, partition, store)
	}
	return s.runtime(cfg)
}

func (s *Service) songRole(generation int) (*stream.Runtime, error) {
	topics := s.Topics()
	metrics, err := song.NewMetrics(s.deps.Registry)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	role := songConfig(s.cfg, topics)
	cfg := s.streamConfig(generation, feed.RoleSong, []string{topics.SongUpdates}, []string{topics.Trends}, topics.SongFactors)
	// Every listener task sends changes of the same rows, and each row that is written goes to every instance: a longer wait
	// writes it once for several. Nobody waits for it: who changed a row sees the change at once, trends look at minutes.
	cfg.CommitInterval = min(songCommits*cfg.CommitInterval, s.cfg.Kafka.TransactionTimeout/4)
	cfg.NewTask = func(_ int32, store stream.Store) (stream.Task, error) { return song.New(role, metrics, store) }
	return s.runtime(cfg)
}
