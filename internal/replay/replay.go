package replay

import (
	"errors"
	"fmt"
	"math"
	"sync"
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
	"earworm/state"
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
	// Batch is the greatest number of events in one transaction; default 8192. Span is the event time after which it ends
	// anyway, in ms; default an hour.
	Batch int
	Span  int64
	// Late is how many batches song rows come late to the shards, besides the one in which they were changed.
	Late int
	// Histories keeps what Refit needs.
	Histories bool
}

// Cluster is a number of instances. It must not be used concurrently.
//
// It works in steps, as a bulk synchronous computation does (Valiant, CACM 1990): within a batch every instance and every song task works by
// itself, on a goroutine of its own, on what it was given when the batch began; between two batches everybody waits, and what they have to
// tell each other is handed over in the order of their numbers. So the result does not depend on who was faster.
type Cluster struct {
	cfg    Config
	shards []*shard
	songs  []*songShard
	next   []tick // written by the tasks to themselves
	lists  []stream.Message

	events  int
	began   int64          // event time of the first event of the batch
	at      int64          // of the newest event
	backlog []published    // by batch, oldest first, what the shards do not have yet
	singing errgroup.Group // the song tasks, at work on the batch before

	keep      sync.Mutex       // guards the two below: shards tell of their listeners at the same time
	histories *refit.Histories // nil where nobody wants them
	unread    error            // why they could not be kept
}

// shard is one instance.
type shard struct {
	table  *factor.Table
	near   *cooccur.Table
	ranker *rank.Ranker
	load   [2]*table.Loader // one of factor rows, one of neighbours: neither looks at what the other changes
	task   *listener.Task
	run    *stream.Detached
	offset map[string]int64
	queue  []step // of the batch, in order
	room   []byte // holds the records of the queue
}

// step is what happens next to an instance: it reads a listen, or it is told about a song.
type step struct {
	user, event []byte
	song        string // where there is no event
	meta        *factor.Meta
}

// keep returns a copy that lasts as long as the queue.
func (s *shard) keep(b []byte) []byte {
	from := len(s.room)
	s.room = append(s.room, b...) // where it grows, what was kept stays in the memory of before
	return s.room[from:len(s.room):len(s.room)]
}

// work takes all steps of the queue.
func (s *shard) work() error {
	for i := range s.queue {
		next := &s.queue[i]
		if next.meta != nil {
			s.table.Describe(s.table.Song(next.song), *next.meta)
			continue
		}
		if _, err := s.run.Process(&stream.Record{
			Topic: listens, Partition: 0, Offset: s.offset[listens], Key: next.user, Value: next.event,
		}); err != nil {
			return err
		}
		s.offset[listens]++
	}
	clear(s.queue)
	s.queue, s.room = s.queue[:0], s.room[:0]
	return nil
}

// songShard is one partition of the song role.
type songShard struct {
	run     *stream.Detached
	offset  int64
	updates []stream.Message // of the batch before
	rows    published        // since the last barrier
	room    []byte           // holds rows
}

// published are rows that readers want.
type published struct{ factors, neighbours []stream.Change }

// add takes in a row, which is copied. What is of no use to readers is left out.
func (s *songShard) add(c stream.Change) {
	to := &s.rows.factors
	if _, err := state.ParseNeighboursKey(c.Key); err == nil {
		to = &s.rows.neighbours
	} else if _, _, err := state.ParseFactorKey(c.Key); err != nil {
		return
	}
	*to = append(*to, stream.Change{Key: s.keep(c.Key), Value: s.keep(c.Value)})
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
		cfg.Batch = 8192
	}
	if cfg.Span == 0 {
		cfg.Span = 60 * 60 * 1000
	}
	l, s := &cfg.Listener, &cfg.Song
	l.Listens, l.Ticks, l.SongUpdates, l.Playlists, l.DeadLetters = listens, ticks, songUpdates, playlists, deadLetters
	l.CacheBytes, l.Partitions = math.MaxInt, int32(cfg.Shards)                    //nolint:gosec // a few
	l.ChunkTime = math.MaxInt64                                                    // a slow machine must not decide where a transaction ends
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
	for i := range s.load {
		s.load[i] = table.NewLoader(table.Tables{Factors: s.table, Neighbours: s.near, Ranker: s.ranker})
	}
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
	rows.changed = s.add
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
		s.queue = append(s.queue, step{song: id, meta: &m})
	}
}

func (c *Cluster) shardOf(user []byte) *shard {
	return c.shards[xxhash.Sum64(user)%uint64(len(c.shards))]
}

// Event hands an event to its listener's task, which reads it at the end of the batch, or when somebody wants to see the outcome. Events
// come in order of time.
func (c *Cluster) Event(e *schemas.Event) error {
	if c.events == 0 {
		c.began = e.At
	}
	c.at = max(c.at, e.At)
	s := c.shardOf(e.User)
	user := e.User
	e.User = nil
	from := len(s.room)
	s.room = e.AppendBinary(s.room)
	e.User = user
	next := step{event: s.room[from:len(s.room):len(s.room)]}
	next.user = s.keep(user)
	s.queue = append(s.queue, next)
	c.events++
	if c.events >= c.cfg.Batch || e.At-c.began >= c.cfg.Span {
		return c.Commit()
	}
	return nil
}

// Rest brings every task to the end of what it has been given, without ending the batch: then nobody works in the background.
func (c *Cluster) Rest() error {
	if err := errors.Join(c.each((*shard).work), c.singing.Wait()); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	c.singing = errgroup.Group{}
	return nil
}

// each does something with all shards at once.
func (c *Cluster) each(do func(*shard) error) error {
	if len(c.shards) == 1 {
		return do(c.shards[0])
	}
	var group errgroup.Group
	for _, s := range c.shards {
		group.Go(func() error { return do(s) })
	}
	return group.Wait()
}

// Commit ends the batch.
func (c *Cluster) Commit() error {
	c.events = 0
	err := c.each(func(s *shard) error {
		if err := s.work(); err != nil {
			return err
		}
		return s.run.Commit()
	})
	if err := errors.Join(err, c.singing.Wait()); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if err := c.publish(); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	c.route()
	c.sing()
	return nil
}

// sing begins the transactions of the song tasks on what the batch has brought. Their rows are published with the next one.
func (c *Cluster) sing() {
	produced := time.UnixMilli(c.at)
	c.singing = errgroup.Group{}
	for _, s := range c.songs {
		if len(s.updates) > 0 {
			c.singing.Go(func() error { return s.apply(produced) })
		}
	}
}

// apply is one transaction of the song task, whose records were produced at a time.
func (s *songShard) apply(produced time.Time) error {
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
	var batch published
	for _, s := range c.songs {
		batch.factors = append(batch.factors, s.rows.factors...)
		batch.neighbours = append(batch.neighbours, s.rows.neighbours...)
		s.rows = published{}
	}
	c.backlog = append(c.backlog, batch)
	if len(c.backlog) <= c.cfg.Late {
		return nil
	}
	batch, c.backlog = c.backlog[0], c.backlog[1:]
	var group errgroup.Group
	for _, s := range c.shards {
		for _, row := range batch.factors { // who loads them is not to decide their order in the table
			if kind, id, err := state.ParseFactorKey(row.Key); err == nil && factor.Kind(kind) == factor.KindSong {
				s.table.SongOf(id)
			}
		}
		for i, rows := range [...][]stream.Change{batch.factors, batch.neighbours} {
			group.Go(func() error {
				for _, row := range rows {
					if _, err := s.load[i].Row(row.Key, row.Value); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// route sends what the listener tasks emitted to its readers.
func (c *Cluster) route() {
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
	if err := c.Rest(); err != nil {
		return nil, err
	}
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
