package erasure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"earworm/consumers/feed"
	"earworm/consumers/letters"
	"earworm/consumers/stream"
	"earworm/schemas"
)

// ErrIncomplete means that something of the listener still counts; the receipt says what.
var ErrIncomplete = errors.New("something of the listener is left")

// roundsMax is how often an erasure is asked for when events of the listener keep coming in.
const roundsMax = 3

// Config says where the system is.
type Config struct {
	App    string
	Topics schemas.Topics
	// Earlier are topics of generations that are no longer in force and that have not been deleted yet.
	Earlier       []schemas.Topics
	ClientOptions stream.Options
	// Aliases are further spellings of fields: alias to canonical name.
	Aliases map[string]string
	// Names returns every name under which an id may be stored, the one in use first.
	Names func(id []byte) ([][]byte, error)
	// ScrubDelay is how long processes keep deleted rows in their files.
	ScrubDelay time.Duration
	// Wait bounds each wait for the roles; default 2 minutes.
	Wait time.Duration
	// Progress, if set, is told about records as they are read.
	Progress func(records int64)
	// Now reads the wall clock.
	Now func() time.Time
}

// run is one erasure.
type run struct {
	cfg     Config
	client  *feed.Client
	letters *letters.Client
	person  *person
	names   [][]byte
}

// Look says what there is of a listener, and changes nothing: a receipt without an erasure.
func Look(ctx context.Context, cfg Config, client *feed.Client, dead *letters.Client, user string) (*Receipt, error) {
	r, err := newRun(cfg, client, dead, user)
	if err != nil {
		return nil, err
	}
	receipt := r.begin()
	found, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	return receipt, r.conclude(ctx, receipt, found, found)
}

// Erase has a listener forgotten, waits until every role has done it, and reads whether it is so. With ErrIncomplete there is a receipt
// as well. Asking again for somebody who is gone does no harm.
func Erase(ctx context.Context, cfg Config, client *feed.Client, dead *letters.Client, user string) (*Receipt, error) {
	r, err := newRun(cfg, client, dead, user)
	if err != nil {
		return nil, err
	}
	receipt := r.begin()
	before, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	now := before
	for receipt.Rounds < roundsMax {
		receipt.Rounds++
		if err := r.round(ctx, now); err != nil {
			return nil, err
		}
		receipt.EffectiveAt = new(cfg.Now().UTC())
		// Last of all: what was refused of this person until now is among the letters.
		if _, err := dead.Erase(ctx, r.mine); err != nil {
			return nil, err
		}
		if now, err = r.look(ctx); err != nil {
			return nil, err
		}
		if r.left(now) == 0 {
			break
		}
	}
	if err := r.conclude(ctx, receipt, before, now); err != nil {
		return nil, err
	}
	if !receipt.Complete {
		return receipt, ErrIncomplete
	}
	return receipt, nil
}

func newRun(cfg Config, client *feed.Client, dead *letters.Client, user string) (*run, error) {
	if user == "" {
		return nil, errors.New("erasure: the id of the listener is empty")
	}
	if cfg.Wait == 0 {
		cfg.Wait = 2 * time.Minute
	}
	names, err := cfg.Names([]byte(user))
	if err != nil {
		return nil, fmt.Errorf("erasure: %w", err)
	}
	return &run{cfg: cfg, client: client, letters: dead, person: newPerson([]byte(user), names, cfg.Aliases), names: names}, nil
}

func (r *run) begin() *Receipt {
	return &Receipt{ID: uuid.NewString(), Application: r.cfg.App, RequestedAt: r.cfg.Now().UTC()}
}

// round asks for the erasure once and waits until it has taken effect.
//
// Ingest reads events and erasures side by side. Suppose the null overtook an event of the listener that was sent before: the event would
// make a listener of whom that one event is known. So ingest must first have passed the events that are there.
func (r *run) round(ctx context.Context, found *survey) error {
	t := r.cfg.Topics
	if err := r.passed(ctx, feed.RoleIngest, t.Events); err != nil {
		return err
	}
	if err := r.client.Erase(ctx, r.person.id); err != nil {
		return fmt.Errorf("erasure: %w", err)
	}
	if err := r.passed(ctx, feed.RoleIngest, t.Users); err != nil {
		return err
	}
	// Ingest knows the key in use only. What is stored under an older one, or from before there was one, is asked for by name.
	for _, name := range r.names[1:] {
		if found.names[string(name)] {
			if err := r.client.EraseAs(ctx, name, r.cfg.Now()); err != nil {
				return fmt.Errorf("erasure: %w", err)
			}
		}
	}
	if err := r.passed(ctx, feed.RoleListener, t.Listens); err != nil {
		return err
	}
	return r.passed(ctx, feed.RoleSong, t.SongUpdates)
}

func (r *run) passed(ctx context.Context, role, topic string) error {
	bounded, cancel := context.WithTimeout(ctx, r.cfg.Wait)
	defer cancel()
	if err := r.client.Passed(bounded, role, topic); err != nil {
		return fmt.Errorf("erasure: is the %s role running? %w", role, err)
	}
	return nil
}

// left counts what still counts of the person.
func (r *run) left(s *survey) int {
	t := r.cfg.Topics
	return s.topics[t.ListenerChangelog].live + s.topics[t.Playlists].live + s.topics[t.Users].live + s.letters.Letters - s.letters.Marked
}

// conclude fills in the places.
func (r *run) conclude(ctx context.Context, receipt *Receipt, before, now *survey) error {
	t := r.cfg.Topics
	configs, err := r.client.TopicConfigs(ctx, t.ListenerChangelog, t.Playlists, t.Users, t.Events, t.Listens, t.DeadLetters)
	if err != nil {
		return fmt.Errorf("erasure: %w", err)
	}
	for _, c := range []struct{ topic, what, note string }{
		{t.ListenerChangelog, "state: history, taste, habits, profile, lists", "nulls took effect; what they replace goes with compaction"},
		{t.Playlists, "emitted playlists", "withdrawn by a null; what it replaces goes with compaction"},
		{t.Users, "profiles", "replaced by the null that erases"},
	} {
		receipt.Places = append(receipt.Places, compacted(c.topic, c.what, c.note, before.topics[c.topic], now.topics[c.topic], configs[c.topic]))
	}
	for _, c := range []struct{ topic, what string }{
		{t.Events, "events as producers sent them"},
		{t.Listens, "events inside, by pseudonym"},
	} {
		receipt.Places = append(receipt.Places, kept(c.topic, c.what, before.topics[c.topic], now.topics[c.topic], configs[c.topic]))
	}
	dead := Place{
		Place: t.DeadLetters, What: "dead letters", Found: before.letters.Letters - before.letters.Marked,
		Left: now.letters.Letters - now.letters.Marked, Remaining: now.letters.Letters,
		Note: "marked: neither shown nor sent again; they go with their segments",
	}
	dead.bound(settings(configs[t.DeadLetters]).deletedBy(now.letters.Newest))
	disks := Place{
		Place: "local stores", What: "rows in the files of the processes",
		Note: "deleted with the changelog's; the files are rewritten by gone_by while their process runs, else when it is started or the directory is deleted; not verified",
	}
	if receipt.EffectiveAt != nil && before.topics[t.ListenerChangelog].live > 0 {
		disks.Found = before.topics[t.ListenerChangelog].live
		disks.GoneBy = new(receipt.EffectiveAt.Add(2 * r.cfg.ScrubDelay).Truncate(time.Second))
	}
	receipt.Places = append(receipt.Places, dead, disks, Place{
		Place: t.SongFactors, What: "songs that the listener had heard", Found: before.songs,
		Note: "first listens and pairs are taken back, gradient steps stay; rows name no listener",
	})
	for _, t := range r.cfg.Earlier {
		receipt.Places = append(receipt.Places, Place{
			Place: t.ListenerChangelog, What: "state and events from before the application was resharded", Unbounded: true,
			Note: "nothing reads it, and it was not looked at; earworm reshard --drop-old deletes it",
		})
	}
	receipt.VerifiedAt, receipt.Limits = r.cfg.Now().UTC(), slices.Clone(limits)
	receipt.Complete = receipt.EffectiveAt != nil && r.left(now) == 0
	return nil
}

// compacted describes a topic in which the last value of a key counts.
func compacted(topic, what, note string, before, now *trace, s settings) Place {
	p := Place{Place: topic, What: what, Found: before.live, Left: now.live, Remaining: now.content, Note: note}
	p.bound(s.replacedBy(now.newest))
	if !now.named.IsZero() {
		p.KeyGoneBy = s.nulledBy(now.named)
		p.Unbounded = p.Unbounded || p.KeyGoneBy == nil
	}
	return p
}

// kept describes a topic whose records go when they are old enough: nothing can be taken out of it.
func kept(topic, what string, before, now *trace, s settings) Place {
	p := Place{
		Place: topic, What: what, Found: before.live, Remaining: now.content,
		Note: "applied already, and nothing reads them again; they go with their segments",
	}
	p.bound(s.deletedBy(now.newest))
	return p
}

// bound notes by when what remains is gone.
func (p *Place) bound(by *time.Time) {
	if p.Remaining > 0 {
		p.GoneBy, p.Unbounded = by, by == nil
	}
}
