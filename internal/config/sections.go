package config

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Topics names the topics and says how they are created.
type Topics struct {
	Partitions        int    `koanf:"partitions" help:"Partitions P of the internal topics: a power of two. Only earworm reshard changes it."`
	ReplicationFactor int    `koanf:"replication_factor" help:"Replicas of topics that are created; -1 takes the broker's default."`
	Create            bool   `koanf:"create" help:"Create missing topics at start. Off: they must exist."`
	Events            string `koanf:"events" help:"Input: listening events. Empty: music.events.v1."`
	Catalog           string `koanf:"catalog" help:"Input: song catalogue. Empty: music.catalog.v1."`
	Users             string `koanf:"users" help:"Input: listener profiles; a null value erases the listener. Empty: music.users.v1."`
	Listens           string `koanf:"listens" help:"Internal: decoded events by listener. Empty: derived from app, as all below."`
	ListenerChangelog string `koanf:"listener_changelog" help:"Internal: changelog of the listener tasks."`
	SongUpdates       string `koanf:"song_updates" help:"Internal: combined changes of factor rows."`
	SongFactors       string `koanf:"song_factors" help:"Internal: factor rows, broadcast and changelog at once."`
	Ticks             string `koanf:"ticks" help:"Internal: the clock of the tasks."`
	Playlists         string `koanf:"playlists" help:"Output: weekly playlists."`
	Patches           string `koanf:"patches" help:"Output: changes to a playlist within its week."`
	Trends            string `koanf:"trends" help:"Output: trends per song and region."`
	Metrics           string `koanf:"metrics" help:"Output: experiment metrics."`
	DeadLetters       string `koanf:"dead_letters" help:"Output: records that could not be used, verbatim."`
	LetterMarks       string `koanf:"letter_marks" help:"Internal: which dead letters were sent again."`
	Layout            string `koanf:"layout" help:"Internal: which generation of the internal topics is in force."`
}

// DefaultTopics returns 32 partitions with one replica and derived names.
func DefaultTopics() Topics { return Topics{Partitions: 32, ReplicationFactor: 1, Create: true} }

// Overrides returns the names that were set, by the key of the topic (events, catalog ...).
func (t Topics) Overrides() map[string]string {
	names := map[string]string{
		"events": t.Events, "catalog": t.Catalog, "users": t.Users, "listens": t.Listens,
		"listener_changelog": t.ListenerChangelog, "song_updates": t.SongUpdates, "song_factors": t.SongFactors,
		"ticks": t.Ticks, "playlists": t.Playlists, "patches": t.Patches, "trends": t.Trends, "metrics": t.Metrics,
		"dead_letters": t.DeadLetters, "letter_marks": t.LetterMarks, "layout": t.Layout,
	}
	maps.DeleteFunc(names, func(_, name string) bool { return name == "" })
	return names
}

// Validate reports every setting that makes no sense.
func (t Topics) Validate() error {
	var p problems
	p.check(t.Partitions >= 1 && t.Partitions <= 4096 && t.Partitions&(t.Partitions-1) == 0, "topics.partitions",
		"%d must be a power of two from 1 to 4096", t.Partitions)
	p.check(t.ReplicationFactor == -1 || (t.ReplicationFactor >= 1 && t.ReplicationFactor <= 32),
		"topics.replication_factor", "%d must be -1 or from 1 to 32", t.ReplicationFactor)
	used := make(map[string]string)
	overrides := t.Overrides()
	for _, key := range slices.Sorted(maps.Keys(overrides)) {
		name := overrides[key]
		p.check(isTopic(name), "topics."+key, "%q must be 1 to 249 letters, digits, '.', '_' and '-'", name)
		if other, twice := used[name]; twice {
			p.check(false, "topics."+key, "%q is also topics.%s", name, other)
		}
		used[name] = key
	}
	return p.err()
}

func isTopic(s string) bool {
	if len(s) > 249 || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// State says where local state lives.
type State struct {
	Dir           string        `koanf:"dir" main:"1" help:"Directory of the local stores. It can be deleted: state is rebuilt from Kafka."`
	CacheBytes    Bytes         `koanf:"cache_bytes" help:"Block cache shared by all stores."`
	MemtableBytes Bytes         `koanf:"memtable_bytes" help:"Write buffer of one store; each task has a store. A crash costs its content, which is restored from the changelog."`
	LowDiskBytes  Bytes         `koanf:"low_disk_bytes" help:"Stop rather than run with less free space than this."`
	ScrubDelay    time.Duration `koanf:"scrub_delay" help:"How long after a listener was erased the files of the stores are rewritten without them, all who were erased meanwhile together."`
}

// DefaultState returns write buffers that hold a few seconds of a busy task: rows that change often reach the disk once.
func DefaultState() State {
	return State{Dir: "earworm-state", CacheBytes: 128 * MiB, MemtableBytes: 32 * MiB, LowDiskBytes: GiB, ScrubDelay: 10 * time.Minute}
}

// Validate reports every setting that makes no sense.
func (s State) Validate() error {
	var p problems
	p.check(s.Dir != "", "state.dir", "is empty")
	between(&p, "state.cache_bytes", s.CacheBytes, MiB, TiB)
	between(&p, "state.memtable_bytes", s.MemtableBytes, 256*KiB, GiB)
	between(&p, "state.low_disk_bytes", s.LowDiskBytes, 0, TiB)
	p.within("state.scrub_delay", s.ScrubDelay, time.Millisecond, day)
	return p.err()
}

// Ingest says which events are accepted.
type Ingest struct {
	Aliases       map[string]string `koanf:"aliases" help:"Other spellings of event fields: alias=field, such as track_id=song_id."`
	MaxEventBytes Bytes             `koanf:"max_event_bytes" help:"Larger events are dead letters; checked before decoding."`
	FutureClamp   time.Duration     `koanf:"future_clamp" help:"An event that is ahead of the broker's time by more than this counts as of now."`
	FutureReject  time.Duration     `koanf:"future_reject" help:"An event that is ahead of the broker's time by more than this is a dead letter."`
	PseudonymKey  Secret            `koanf:"pseudonym_key" help:"Keys that turn listener ids into pseudonyms, one a line as id:base64 of 64 bytes; the first one encrypts, the others still read. Empty: ids pass unchanged, and start-up says so."`
}

// DefaultIngest returns the bounds of architecture.md.
func DefaultIngest() Ingest {
	return Ingest{MaxEventBytes: 256 * KiB, FutureClamp: 5 * time.Minute, FutureReject: day}
}

// Validate reports every setting that makes no sense.
func (i Ingest) Validate() error {
	var p problems
	between(&p, "ingest.max_event_bytes", i.MaxEventBytes, KiB, 16*MiB)
	p.within("ingest.future_clamp", i.FutureClamp, 0, 7*day)
	p.within("ingest.future_reject", i.FutureReject, i.FutureClamp, 3650*day)
	for _, alias := range slices.Sorted(maps.Keys(i.Aliases)) {
		field := i.Aliases[alias]
		p.check(alias != "" && field != "", "ingest.aliases", "%q=%q has an empty side", alias, field)
		p.check(alias != field, "ingest.aliases", "%q stands for itself", alias)
	}
	return p.err()
}

// DLQ says how dead letters are written.
type DLQ struct {
	HeaderStyle string `koanf:"header_style" help:"Names of the headers that say where a dead letter comes from and why: streams, connect or spring. earworm dlq reads all three."`
}

// DefaultDLQ returns the names of Kafka Streams.
func DefaultDLQ() DLQ { return DLQ{HeaderStyle: "streams"} }

// Validate reports every setting that makes no sense.
func (d DLQ) Validate() error {
	var p problems
	p.check(slices.Contains([]string{"streams", "connect", "spring"}, d.HeaderStyle), "dlq.header_style",
		"%q is not one of streams, connect, spring", d.HeaderStyle)
	return p.err()
}

// Listener sets the listener tasks.
type Listener struct {
	DedupeWindow  time.Duration `koanf:"dedupe_window" help:"Event ids are remembered for this long; what is older cannot be told from a duplicate and is too late."`
	TasteHalfLife time.Duration `koanf:"taste_half_life" help:"Half-life of the engagement with one song."`
	SessionGap    time.Duration `koanf:"session_gap" help:"A pause that ends a session."`
	CacheBytes    Bytes         `koanf:"cache_bytes" help:"Decoded listeners kept in memory by all tasks of the process."`
	ActiveFor     time.Duration `koanf:"active_for" help:"A listener without an event for this long gets no playlist, but a status that says so."`
}

// DefaultListener returns the windows of architecture.md and models.md.
func DefaultListener() Listener {
	return Listener{
		DedupeWindow: 48 * time.Hour, TasteHalfLife: 14 * day,
		SessionGap: 30 * time.Minute, CacheBytes: 256 * MiB, ActiveFor: 365 * day,
	}
}

// Validate reports every setting that makes no sense.
func (l Listener) Validate() error {
	var p problems
	p.within("listener.dedupe_window", l.DedupeWindow, time.Minute, 90*day)
	p.within("listener.taste_half_life", l.TasteHalfLife, time.Hour, 36500*day)
	p.within("listener.session_gap", l.SessionGap, time.Minute, day)
	between(&p, "listener.cache_bytes", l.CacheBytes, MiB, TiB)
	p.within("listener.active_for", l.ActiveFor, 7*day, 36500*day)
	return p.err()
}

// Emit sets the weekly playlist.
type Emit struct {
	Hour         int           `koanf:"hour" help:"Local hour of Monday at which a playlist is due."`
	Zone         string        `koanf:"zone" help:"Time zone of listeners for whom neither profile nor region tells one."`
	Length       int           `koanf:"length" help:"Tracks of a playlist."`
	Chunk        int           `koanf:"chunk" help:"Listeners served in one transaction."`
	Discovery    float64       `koanf:"discovery" help:"From 0, play it safe, to 1, as new as possible."`
	Memory       int           `koanf:"memory" help:"Earlier playlists of the listener whose tracks do not come back."`
	CatchUp      time.Duration `koanf:"catch_up" help:"How late a missed playlist is still written."`
	ArtistCap    int           `koanf:"artist_cap" help:"Most tracks of one artist."`
	TrendSlots   int           `koanf:"trend_slots" help:"Most tracks that are there because they trend."`
	ExploreSlots int           `koanf:"explore_slots" help:"Tracks drawn to learn from, never among the first three."`
}

// DefaultEmit returns thirty tracks, Monday at six.
func DefaultEmit() Emit {
	return Emit{
		Hour: 6, Zone: "UTC", Length: 30, Chunk: 500, Discovery: 0.2, Memory: 4,
		CatchUp: 7 * day, ArtistCap: 2, TrendSlots: 3, ExploreSlots: 3,
	}
}

// Validate reports every setting that makes no sense.
func (e Emit) Validate() error {
	var p problems
	between(&p, "emit.hour", e.Hour, 0, 23)
	_, err := time.LoadLocation(e.Zone)
	p.check(err == nil && e.Zone != "" && e.Zone != "Local", "emit.zone", "%q is not an IANA time zone such as Europe/Berlin", e.Zone)
	between(&p, "emit.length", e.Length, 1, 500)
	between(&p, "emit.chunk", e.Chunk, 1, 500)
	between(&p, "emit.discovery", e.Discovery, 0, 1)
	between(&p, "emit.memory", e.Memory, 0, 52)
	p.within("emit.catch_up", e.CatchUp, time.Hour, 28*day)
	between(&p, "emit.artist_cap", e.ArtistCap, 1, 500)
	between(&p, "emit.trend_slots", e.TrendSlots, 0, e.Length)
	between(&p, "emit.explore_slots", e.ExploreSlots, 0, e.Length)
	p.check(e.TrendSlots+e.ExploreSlots <= e.Length, "emit.length",
		"%d is less than emit.trend_slots and emit.explore_slots together", e.Length)
	return p.err()
}

// Learn sets the factor model. Zero takes the model's default, which docs/architecture.md explains.
type Learn struct {
	Dim       int           `koanf:"dim" help:"Dimensions of a vector, fixed for the life of the application. 0: the model's default, as all below."`
	Window    int           `koanf:"window" help:"Songs that a listener came to last, and as many drawn from those before, from which their vector is solved at each first listen."`
	Replays   int           `koanf:"replays" help:"Songs of the listener's own history trained again beside a first listen, unless a hundred have come to them."`
	ReplayLag time.Duration `koanf:"replay_lag" help:"Lag from which a first listen looks at as little history as possible, until the lag is gone. Events older than 6h are never hurried. 0: never."`
	Negatives float64       `koanf:"negatives" help:"Weight of all that a listener has not heard beside what they have: songs of target 0 for each first listen."`
	Ridge     float64       `koanf:"ridge" help:"Pull of vectors to zero where there is much evidence."`
	RidgeMax  float64       `koanf:"ridge_max" help:"Pull of vectors to zero where there is little."`
	InitScale float64       `koanf:"init_scale" help:"Size of initial vectors."`
	Seed      int64         `koanf:"seed" help:"Seed of the learner's draws."`
}

// DefaultLearn leaves all but the seed and the lag to the model.
func DefaultLearn() Learn { return Learn{Seed: 1, ReplayLag: 2 * time.Second} }

// Validate reports every setting that makes no sense.
func (l Learn) Validate() error {
	var p problems
	between(&p, "learn.dim", l.Dim, 0, 512)
	between(&p, "learn.window", l.Window, 0, 10_000)
	between(&p, "learn.replays", l.Replays, 0, 1000)
	p.within("learn.replay_lag", l.ReplayLag, 0, day)
	between(&p, "learn.negatives", l.Negatives, 0, 1000)
	between(&p, "learn.ridge", l.Ridge, 0, 1)
	between(&p, "learn.ridge_max", l.RidgeMax, 0, 1)
	between(&p, "learn.init_scale", l.InitScale, 0, 1)
	return p.err()
}

// Trend sets the trend detector. Zero takes the model's default.
type Trend struct {
	FastHalfLife time.Duration `koanf:"fast_half_life" help:"Half-life of the recent rate. 0: the model's default, as all below."`
	SlowHalfLife time.Duration `koanf:"slow_half_life" help:"Half-life of the usual rate."`
	Noise        float64       `koanf:"noise" help:"Relative noise ψ of rates: the knob between early and false alarms."`
	FalseShare   float64       `koanf:"false_share" help:"Share q of false alarms among alarms that the Benjamini–Hochberg step allows."`
	MinRatio     float64       `koanf:"min_ratio" help:"Least ratio of the recent to the usual rate."`
	MinListeners float64       `koanf:"min_listeners" help:"Least number of recent trusted listeners."`
	Interval     time.Duration `koanf:"interval" help:"Time between two evaluations, in event time."`
	Wait         time.Duration `koanf:"wait" help:"How long the trends wait for a partition of listeners that sends nothing while others do. A history that is brought in fast needs it: its partitions drift apart."`
}

// DefaultTrend leaves all but the times of evaluation to the model.
func DefaultTrend() Trend { return Trend{Interval: 5 * time.Minute, Wait: time.Minute} }

// Validate reports every setting that makes no sense.
func (t Trend) Validate() error {
	var p problems
	p.within("trend.fast_half_life", t.FastHalfLife, 0, 30*day)
	p.within("trend.slow_half_life", t.SlowHalfLife, 0, 3650*day)
	p.check(t.FastHalfLife == 0 || t.SlowHalfLife == 0 || t.FastHalfLife < t.SlowHalfLife, "trend.fast_half_life",
		"%s must be shorter than trend.slow_half_life %s", t.FastHalfLife, t.SlowHalfLife)
	between(&p, "trend.noise", t.Noise, 0, 10)
	between(&p, "trend.false_share", t.FalseShare, 0, 0.5)
	between(&p, "trend.min_ratio", t.MinRatio, 0, 1000)
	between(&p, "trend.min_listeners", t.MinListeners, 0, 1e9)
	p.within("trend.interval", t.Interval, 10*time.Second, day)
	p.within("trend.wait", t.Wait, 0, day)
	return p.err()
}

// HTTP sets the two listeners: one for probes and metrics, one for administration.
type HTTP struct {
	Listen      string `koanf:"listen" main:"1" help:"Address of /metrics, /healthz, /readyz and /version. Empty: none."`
	AdminListen string `koanf:"admin_listen" help:"Loopback address of the administration endpoints and pprof. Empty: none."`
	AdminToken  Secret `koanf:"admin_token" help:"Bearer token of the administration endpoints, at least 16 characters."`
	Pprof       bool   `koanf:"pprof" help:"Serve profiles on the administration address."`
}

// DefaultHTTP returns the probes on loopback and no administration.
func DefaultHTTP() HTTP { return HTTP{Listen: "127.0.0.1:8080"} }

// Validate reports every setting that makes no sense.
func (h HTTP) Validate() error {
	const minToken = 16
	var p problems
	p.check(h.Listen == "" || isListenAddress(h.Listen), "http.listen", "%q is not of the form host:port", h.Listen)
	if h.AdminListen == "" {
		p.check(!h.Pprof, "http.pprof", "needs http.admin_listen")
		return p.err()
	}
	p.check(isLoopback(h.AdminListen), "http.admin_listen", "%q must be a loopback address such as 127.0.0.1:8081", h.AdminListen)
	p.check(len(h.AdminToken.Reveal()) >= minToken, "http.admin_token", "must have at least %d characters when http.admin_listen is set", minToken)
	return p.err()
}

// Log sets the log, which goes to the standard error.
type Log struct {
	Level  string `koanf:"level" main:"1" help:"debug, info, warn or error."`
	Format string `koanf:"format" help:"text or json."`
}

// DefaultLog returns readable lines from info on.
func DefaultLog() Log { return Log{Level: "info", Format: "text"} }

// Validate reports every setting that makes no sense.
func (l Log) Validate() error {
	var p problems
	p.check(slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level), "log.level", "%q is not one of debug, info, warn, error", l.Level)
	p.check(slices.Contains([]string{"text", "json"}, l.Format), "log.format", "%q is not one of text, json", l.Format)
	return p.err()
}

var _ fmt.Stringer = Bytes(0)
