//go:build crash || kafka

package chaos_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/consumers/stream"
	"earworm/internal/listeners"
	"earworm/internal/service"
	"earworm/internal/testkit/oracle"
	"earworm/model/calendar"
	"earworm/schemas"
)

// load sends a simulated world and keeps the books of what must come of it.
type load struct {
	plant *plant
	world *listeners.World
	rate  int // events a second
	rng   *rand.Rand
	fold  *oracle.Fold

	first    map[string]int64          // by listener, time of the first event
	zones    map[string]*time.Location // by listener
	profiles []schemas.Profile
	lists    map[string]map[string]bool // by listener, the weeks of which there must be a playlist
	listens  map[string]uint64          // by song, plays and skips that count
	sent     int
	erased   int

	// uncompacted says that the brokers do not compact within a test, so that the changelogs tell who owned what.
	uncompacted bool
}

// newLoad sends catalogue and profiles.
func newLoad(t *testing.T, p *plant, cfg listeners.Config, rate int, rng *rand.Rand) *load {
	t.Helper()
	world, err := listeners.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := &load{
		plant: p, world: world, rate: rate, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), first: map[string]int64{}, zones: map[string]*time.Location{},
		lists: map[string]map[string]bool{}, listens: map[string]uint64{},
		fold: oracle.New(oracle.Rules{Window: p.cfg.Listener.DedupeWindow, Chain: chain}),
	}
	for song := range world.Songs() {
		err := p.client.Song(t.Context(), schemas.Song{
			ID: schemas.SongID(song.ID), Title: song.Title, Artist: song.Artist, Genres: song.Genres, Language: song.Language,
			DurationMs: song.Duration.Milliseconds(), ReleasedAt: song.Released.UnixMilli(),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for who := range world.Listeners() {
		zone, err := time.LoadLocation(who.Zone)
		if err != nil {
			t.Fatal(err)
		}
		l.zones[who.ID] = zone
		l.profiles = append(l.profiles, schemas.Profile{
			User: schemas.UserID(who.ID), Region: who.Region, TimeZone: who.Zone, Languages: who.Languages,
		})
		if err := p.client.Profile(t.Context(), l.profiles[len(l.profiles)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.client.Drain(p.ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

// errWorldEnded says that there was nothing left to send: from then on the faults would hit processes that idle.
var errWorldEnded = errors.New("the world ended before the campaign")

// run sends week after week, with the tick of each Monday, until done is closed. It returns when everything sent is committed state.
func (l *load) run(ctx context.Context, done <-chan struct{}) error {
	began, base := time.Now(), l.sent
	for n := range l.world.Config().Weeks {
		if n > 0 {
			if err := l.monday(ctx, n); err != nil {
				return fmt.Errorf("week %d: %w", n, err)
			}
			began, base = time.Now(), l.sent
		}
		for event := range l.world.Week(n) {
			l.send(ctx, event)
			if l.sent%50 != 0 {
				continue
			}
			ahead := time.Duration(l.sent-base)*time.Second/time.Duration(l.rate) - time.Since(began)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-done:
				return l.plant.client.Drain(ctx)
			case <-time.After(max(ahead, 0)):
			}
		}
	}
	return errWorldEnded
}

// codes are the dead-letter codes of events that are broken on purpose.
var codes = map[listeners.Bad]schemas.Code{
	listeners.BadTruncated: schemas.CodeNotJSON, listeners.BadNoUser: schemas.CodeMissingField,
	listeners.BadUnknownType: schemas.CodeUnknownKind, listeners.BadWrongType: schemas.CodeWrongType,
}

func (l *load) send(ctx context.Context, e listeners.Event) {
	l.plant.client.Event(ctx, []byte(e.User), e.AppendJSON(nil))
	l.sent++
	before := l.fold.Totals().Applied
	expected := oracle.Event{User: e.User, Song: e.Song, ID: e.ID, Kind: e.Kind, At: e.At}
	if e.Bad != listeners.BadNone {
		expected.Code = codes[e.Bad].String()
	}
	l.fold.Add(expected)
	if l.fold.Totals().Applied == before {
		return
	}
	if first, known := l.first[e.User]; !known || e.At < first {
		l.first[e.User] = e.At
	}
	if e.Kind == schemas.KindPlay.String() || e.Kind == schemas.KindSkip.String() {
		l.listens[e.Song]++
	}
}

// monday lets the delivery hour of a week pass in every zone, when everything before it is learnt.
func (l *load) monday(ctx context.Context, n int) error {
	if err := l.plant.client.Drain(ctx); err != nil {
		return err
	}
	if err := l.erase(ctx); err != nil {
		return err
	}
	week := calendar.WeekOf(l.world.WeekStart(n))
	latest := week.Monday()
	for user, zone := range l.zones {
		delivery := week.Delivery(zone, l.plant.cfg.Emit.Hour)
		if delivery.After(latest) {
			latest = delivery
		}
		if first, known := l.first[user]; known && first <= delivery.UnixMilli() {
			if l.lists[user] == nil {
				l.lists[user] = map[string]bool{}
			}
			l.lists[user][week.String()] = true
		}
	}
	// Twice, as two instances that both think they own the clock would.
	for range 2 {
		if err := l.plant.client.Tick(ctx, schemas.Tick{At: latest.UnixMilli()}); err != nil {
			return err
		}
	}
	return l.plant.client.Drain(ctx)
}

// erasures is how many listeners ask to be forgotten each week.
const erasures = 3

// erase lets some listeners be forgotten. They come back at once with a profile: what they do from now on is somebody new's.
func (l *load) erase(ctx context.Context) error {
	options, err := service.KafkaOptions(l.plant.cfg)
	if err != nil {
		return err
	}
	producer, err := stream.NewProducer(options)
	if err != nil {
		return err
	}
	defer producer.Close()
	for range erasures {
		profile := l.profiles[l.rng.IntN(len(l.profiles))]
		user := string(profile.User)
		producer.Send(ctx, stream.Message{Topic: service.Topics(l.plant.cfg).Users, Partition: -1, Key: []byte(user)})
		if err := producer.Flush(ctx); err != nil {
			return err
		}
		if err := l.plant.client.Profile(ctx, profile); err != nil {
			return err
		}
		l.fold.Erase(user)
		delete(l.first, user)
		delete(l.lists, user)
		l.erased++
	}
	return l.plant.client.Drain(ctx)
}

// chain is what the documentation says of it, written once more: H(previous ‖ kind ‖ time ‖ id ‖ song).
func chain(previous uint64, e oracle.Event) uint64 {
	var kind byte
	for k := schemas.KindPlay; k <= schemas.KindErase; k++ {
		if k.String() == e.Kind {
			kind = byte(k)
		}
	}
	text := binary.LittleEndian.AppendUint64(nil, previous)
	text = append(text, kind)
	text = binary.LittleEndian.AppendUint64(text, uint64(e.At))
	text = append(text, e.ID[:]...)
	return xxhash.Sum64(append(text, e.Song...))
}
