package schemas

import "time"

// Topics holds the name of every topic. NewTopics gives the defaults; every
// one of them may be configured.
type Topics struct {
	// Events, Catalog and Users are what producers write.
	Events, Catalog, Users string
	// Listens to Ticks are internal to the application.
	Listens, ListenerChangelog, SongUpdates, SongFactors, Ticks string
	// LetterMarks is internal too: what became of dead letters. So is Layout:
	// which generation of Listens to Ticks is in force.
	LetterMarks, Layout string
	// Playlists to DeadLetters are what the application writes for others.
	Playlists, Patches, Trends, Metrics, DeadLetters string
}

// NewTopics returns the default names for the application id.
func NewTopics(app string) Topics {
	return Topics{
		Events:            "music.events.v1",
		Catalog:           "music.catalog.v1",
		Users:             "music.users.v1",
		Listens:           app + "-listens",
		ListenerChangelog: app + "-listener-changelog",
		SongUpdates:       app + "-song-updates",
		SongFactors:       app + "-song-factors",
		Ticks:             app + "-ticks",
		LetterMarks:       app + "-dead-letter-marks",
		Layout:            app + "-layout",
		Playlists:         app + ".playlists.weekly.v1",
		Patches:           app + ".playlists.patch.v1",
		Trends:            app + ".trends.v1",
		Metrics:           app + ".metrics.v1",
		DeadLetters:       app + ".dead-letters.v1",
	}
}

// PartitionRule says how many partitions a topic must have.
type PartitionRule uint8

// The rules.
const (
	// PartitionsAny takes the topic as it is and creates it with P.
	PartitionsAny PartitionRule = iota
	// PartitionsP must be the configured number of partitions exactly.
	PartitionsP
	// PartitionsFixed must be TopicSpec.Fixed exactly.
	PartitionsFixed
)

// Cleanup is the cleanup policy of a topic, as Kafka spells it.
type Cleanup string

// The policies.
const (
	CleanupDelete  Cleanup = "delete"
	CleanupCompact Cleanup = "compact"
)

// TopicSpec is how a topic must be set up.
type TopicSpec struct {
	Name  string
	Rule  PartitionRule
	Fixed int32
	// Cleanup is checked on topics that exist; the durations are not.
	Cleanup Cleanup
	// Retention is how long a deleting topic keeps records.
	Retention time.Duration
	// DeleteRetention is how long a compacted topic keeps tombstones: longer
	// than an instance may stay away, or erased listeners come back.
	DeleteRetention time.Duration
	// MaxCompactionLag is when the latest an erased value is gone; 0 is Kafka's default.
	MaxCompactionLag time.Duration
	// MinCompactionLag is how long every value stays readable before only the
	// latest of its key does.
	MinCompactionLag time.Duration
	// Key and Value say what the records hold.
	Key, Value string
}

// Partitions returns the number of partitions to create the topic with.
func (s TopicSpec) Partitions(p int32) int32 {
	if s.Rule == PartitionsFixed {
		return s.Fixed
	}
	return p
}

// Specs returns how every topic must be set up, inputs first.
func (t Topics) Specs() []TopicSpec {
	const day = 24 * time.Hour
	kept := func(name string, rule PartitionRule, retention time.Duration, key, value string) TopicSpec {
		return TopicSpec{Name: name, Rule: rule, Cleanup: CleanupDelete, Retention: retention, Key: key, Value: value}
	}
	compacted := func(name string, rule PartitionRule, key, value string) TopicSpec {
		return TopicSpec{
			Name: name, Rule: rule, Cleanup: CleanupCompact,
			DeleteRetention: 7 * day, MaxCompactionLag: day, Key: key, Value: value,
		}
	}
	// The lists of the last four weeks stay readable although the key is the
	// listener's; an erased listener's are gone within 29 days.
	//
	// What others read keeps its number of partitions when the internal topics
	// get more: a key must stay where its earlier records are.
	playlists := compacted(t.Playlists, PartitionsAny, "user", "playlist, JSON; null withdraws")
	playlists.MinCompactionLag, playlists.MaxCompactionLag = 28*day, 29*day
	fixed := func(s TopicSpec, partitions int32) TopicSpec {
		s.Rule, s.Fixed = PartitionsFixed, partitions
		return s
	}
	return []TopicSpec{
		kept(t.Events, PartitionsAny, 7*day, "any; the user is advised", "event, JSON"),
		compacted(t.Catalog, PartitionsAny, "song", "song, JSON; null removes"),
		compacted(t.Users, PartitionsAny, "user", "profile, JSON; null erases"),
		kept(t.Listens, PartitionsP, 7*day, "listener", "event, compact"),
		compacted(t.ListenerChangelog, PartitionsP, "state key", "state of the listener tasks"),
		kept(t.SongUpdates, PartitionsP, 2*day, "none: the partition is the rows'", "song updates, compact"),
		compacted(t.SongFactors, PartitionsP, "row", "factor row, compact"),
		kept(t.Ticks, PartitionsP, 14*day, "partition", "tick, compact"),
		playlists,
		kept(t.Patches, PartitionsAny, 2*day, "user", "playlist patch, JSON"),
		kept(t.Trends, PartitionsAny, 7*day, "song", "trend, JSON"),
		fixed(kept(t.Metrics, PartitionsFixed, 30*day, "experiment and variant", "metrics, JSON"), 4),
		fixed(kept(t.DeadLetters, PartitionsFixed, 14*day, "original key", "original value"), 4),
		// Twice as long as the letters: a segment goes when its last record is old enough, so a letter can stay longer than its retention.
		fixed(kept(t.LetterMarks, PartitionsFixed, 28*day, "place of a dead letter", "what became of it, JSON"), 1),
		fixed(compacted(t.Layout, PartitionsFixed, "what the record says", "generation in force, progress of a move, JSON"), 1),
	}
}
