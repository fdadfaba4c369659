package replay

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/consumers/table"
	"earworm/internal/pseudonym"
	"earworm/internal/refit"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
)

// Topics inside the cluster.
const (
	listens     = "listens"
	ticks       = "ticks"
	songUpdates = "song-updates"
	playlists   = "playlists"
	trends      = "trends"
	deadLetters = "dead-letters"
)

// Config says how the replay runs. A zero field means its default.
type Config struct {
	Listener listener.Config
	Song     song.Config
	// Shards is the number of instances; default 1.
	Shards int
	// Batch is the greatest number of events in one transaction; default 4096. Span is the event time after which it ends
	// anyway, in ms; default an hour.
	Batch int
	Span  int64
	// Late is how many batches song rows come late to the shards, besides the one in which they were changed.
	Late int
	// Histories keeps what Refit needs.
	Histories bool
}

// Cluster is a number of instances. It must not be used concurrently.
type Cluster struct {
	cfg    Config
	shards []*shard
	songs  []*songShard
	next   []tick // written by the tasks to themselves
	lists  []stream.Message

	events  int
	began   int64             // event time of the first event of the batch
	at      int64             // of the newest event
	backlog [][]stream.Change // song rows by batch, oldest first, that the shards do not have yet
	value   []byte

	histories *refit.Histories // nil where nobody wants them
	unread    error            // why they could not be kept
}

// shard is one instance.
type shard struct {
	table  *factor.Table
	near   *cooccur.Table
	ranker *rank.Ranker
	loader *table.Loader
	task   *listener.Task
	run    *stream.Detached
	offset map[string]int64
}

// songShard is one partition of the song role.
type songShard struct {
	run     *stream.Detached
	offset  int64
	updates []stream.Message // of the batch before
	rows    []stream.Change  // published since the last barrier
	room    []byte           // holds rows
}

// roomBytes is how much is allocated for rows at a time.
const roomBytes = 1 << 20

// keep returns a copy that lasts as long as the rows.
func (s *songShard) keep(b []byte) []byte {
	if len(s.room)+len(b) > cap(s.room) {
		s.room = make([]byte, 0, max(roomBytes, len(b)))
	}
	from := len(s.room)
	s.room = append(s.room, b...)
	return s.room[from:len(s.room):len(s.room)]
}

// New returns a cluster in which nothing has happened.
func New(cfg Config) (*Cluster, error) {
	if cfg.Shards == 0 {
		cfg.Shards = 1
	}
	if cfg.Batch == 0 {
		cfg.Batch = 4096
	}
	if cfg.Span == 0 {
		cfg.Span = 60 * 60 * 1000
	}
	l, s := &cfg.Listener, &cfg.Song
	l.Listens, l.Ticks, l.SongUpdates, l.Playlists, l.DeadLetters = listens, ticks, songUpdates, playlists, deadLetters
	l.CacheBytes, l.Partitions = math.MaxInt, int32(cfg.Shards)                    //nolint:gosec // a few
	s.SongUpdates, s.Trends, s.Partitions = songUpdates, trends, int32(cfg.Shards) //nolint:gosec // a few
	if err := errors.Join(l.Validate(), s.Validate()); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	c := &Cluster{cfg: cfg}
	if cfg.Histories {
		c.histories = refit.NewHistories(0)
	}
	registry := prometheus.NewRegistry()
	listening, err := listener.NewMetrics(registry)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	singing, err := song.NewMetrics(registry)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	for n := range cfg.Shards {
		if err := c.addShard(int32(n), listening); err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		if err := c.addSongShard(int32(n), singing); err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
	}
	return c, nil
}

func (c *Cluster) addShard(n int32, m *listener.Metrics) error {
	s := &shard{table: factor.NewTable(c.cfg.Listener.Learn), offset: map[string]int64{}}
	s.near = cooccur.NewTable(c.cfg.Song.Near, s.table)
	s.ranker = rank.New(s.table, s.near, c.cfg.Listener.Rank)
	s.loader = table.NewLoader(table.Tables{Factors: s.table, Neighbours: s.near, Ranker: s.ranker})
	rows := newStore()
	if c.histories != nil {
		rows.changed = c.remember
	}
	deps := listener.Deps{Table: s.table, Near: s.near, Ranker: s.ranker, Revealer: &pseudonym.Mapper{}, Metrics: m}
	var err error
	if s.task, err = listener.New(c.cfg.Listener, deps, n, rows); err != nil {
		return err
	}
	s.run = stream.NewDetached(stream.DetachedConfig{
		Task: s.task, Store: rows, Changelog: "listener-changelog", DeadLetters: deadLetters, Partition: n,
	})
	c.shards = append(c.shards, s)
	return nil
}

func (c *Cluster) addSongShard(n int32, m *song.Metrics) error {
	s := &songShard{}
	rows := newStore()
	rows.changed = func(change stream.Change) {
		s.rows = append(s.rows, stream.Change{Key: s.keep(change.Key), Value: s.keep(change.Value)})
	}
	task, err := song.New(c.cfg.Song, m, rows)
	if err != nil {
		return err
	}
	s.run = stream.NewDetached(stream.DetachedConfig{
		Task: task, Store: rows, Changelog: "song-factors", DeadLetters: deadLetters, Partition: n,
	})
	c.songs = append(c.songs, s)
	return nil
}

// Describe tells all shards about a song.
func (c *Cluster) Describe(id string, m factor.Meta) {
	for _, s := range c.shards {
		s.table.Describe(s.table.Song(id), m)
	}
}

func (c *Cluster) shardOf(user []byte) *shard {
	return c.shards[xxhash.Sum64(user)%uint64(len(c.shards))]
}

// Event hands an event to its listener's task. Events come in order of time.
func (c *Cluster) Event(e *schemas.Event) error {
	if c.events == 0 {
		c.began = e.At
	}
	c.at = max(c.at, e.At)
	s := c.shardOf(e.User)
	user := e.User
	e.User = nil
	c.value = e.AppendBinary(c.value[:0])
	e.User = user
	if _, err := s.run.Process(&stream.Record{
		Topic: listens, Partition: 0, Offset: s.offset[listens], Key: user, Value: c.value,
	}); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	s.offset[listens]++
	c.events++
	if c.events >= c.cfg.Batch || e.At-c.began >= c.cfg.Span {
		return c.Commit()
	}
	return nil
}

// Commit ends the batch.
func (c *Cluster) Commit() error {
	c.events = 0
	var group errgroup.Group
	produced := time.UnixMilli(c.at)
	for _, s := range c.songs {
		group.Go(func() error { return s.apply(produced) })
	}
	for _, s := range c.shards { // one after the other: they are as many as one likes, and the songs are at work
		if err := s.run.Commit(); err != nil {
			return errors.Join(fmt.Errorf("replay: %w", err), group.Wait())
		}
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if err := c.publish(); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return c.route()
}

// apply is one transaction of the song task, whose records were produced at a time.
func (s *songShard) apply(produced time.Time) error {
	if len(s.updates) == 0 {
		return nil
	}
	for i := range s.updates {
		m := &s.updates[i]
		if _, err := s.run.Process(&stream.Record{Topic: songUpdates, Offset: s.offset, Key: m.Key, Value: m.Value, At: produced}); err != nil {
			return err
		}
		s.offset++
	}
	s.updates = s.updates[:0]
	err := s.run.Commit()
	s.run.Take() // trends
	return err
}

// publish brings the song rows of the batch, or of an earlier one, into every shard's table.
func (c *Cluster) publish() error {
	var batch []stream.Change
	for _, s := range c.songs {
		batch = append(batch, s.rows...)
		s.rows = nil
	}
	c.backlog = append(c.backlog, batch)
	if len(c.backlog) <= c.cfg.Late {
		return nil
	}
	batch, c.backlog = c.backlog[0], c.backlog[1:]
	for _, s := range c.shards {
		for _, row := range batch {
			if _, err := s.loader.Row(row.Key, row.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// route sends what the listener tasks emitted to its readers.
func (c *Cluster) route() error {
	for _, s := range c.shards {
		for _, m := range s.run.Take() {
			switch m.Topic {
			case songUpdates:
				to := c.songs[m.Partition]
				to.updates = append(to.updates, m)
			case ticks:
				c.next = append(c.next, tick{shard: s, value: m.Value})
			case playlists:
				c.lists = append(c.lists, m)
			}
		}
	}
	return nil
}

// tick is a record of a shard's partition of the ticks.
type tick struct {
	shard *shard
	value []byte
}

// Tick tells every listener task that a time has come, sees their playlists through, and returns them in the order in which they were
// made.
func (c *Cluster) Tick(t schemas.Tick) ([]stream.Message, error) {
	for _, s := range c.shards {
		c.next = append(c.next, tick{shard: s, value: t.AppendBinary(nil)})
	}
	c.lists = nil
	for len(c.next) > 0 {
		due := c.next
		c.next = nil
		for _, d := range due {
			if _, err := d.shard.run.Process(&stream.Record{Topic: ticks, Offset: d.shard.offset[ticks], Value: d.value}); err != nil {
				return nil, fmt.Errorf("replay: %w", err)
			}
			d.shard.offset[ticks]++
			// A transaction holds one step of one stream of ticks, as a continuation is read only when it is committed.
			if err := c.Commit(); err != nil {
				return nil, err
			}
		}
	}
	return c.lists, c.Settle()
}

// Settle commits until every change has reached every shard.
func (c *Cluster) Settle() error {
	for range c.cfg.Late + 2 {
		if err := c.Commit(); err != nil {
			return err
		}
	}
	return nil
}
