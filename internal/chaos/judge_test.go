//go:build crash || kafka

package chaos_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/internal/service"
	"earworm/internal/testkit/oracle"
	"earworm/internal/testkit/ownership"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

// known is what the committed changelog holds of a listener.
type known struct {
	events, chain uint64
	plays         map[string]uint64
}

// verdict compares what is committed with what was produced. Differences are counted, not reported: the negative control
// wants them.
type verdict struct {
	counts, chains oracle.Result
	songs          int // whose number of listens differs
	letters        int // dead letters too few or too many, by code
	lists          int // playlists missing, repeated or uncalled for
	owners         int // committed records of a task by somebody who had lost it
	playlists      int
	taken          int // tasks taken over, 0 if unknown
	notes          []string
}

func (v *verdict) differences() int {
	total := v.total()
	return total.Lost + total.Duplicated + total.Wrong
}

// total counts everything that differs as wrong, beside the events that are lost or duplicated. It is the last line of a campaign.
func (v *verdict) total() oracle.Result {
	total := v.counts
	total.Wrong += v.chains.Wrong + v.songs + v.letters + v.lists + v.owners
	return total
}

// sum adds the totals of rounds up.
func sum(rounds ...oracle.Result) (all oracle.Result) {
	for _, r := range rounds {
		all.Lost, all.Duplicated, all.Wrong, all.Of = all.Lost+r.Lost, all.Duplicated+r.Duplicated, all.Wrong+r.Wrong, all.Of+r.Of
	}
	return all
}

// String names every count.
func (v *verdict) String() string {
	return fmt.Sprintf("%v; %d listeners with another order; %d songs, %d dead letters, %d playlists differ; %d records by former owners",
		v.counts, v.chains.Wrong, v.songs, v.letters, v.lists, v.owners)
}

// require fails the test if anything differs.
func (v *verdict) require(t *testing.T) {
	t.Helper()
	if v.differences() == 0 {
		return
	}
	for _, note := range v.notes {
		t.Error(note)
	}
	t.Error(v)
}

func judge(t *testing.T, l *load) *verdict {
	t.Helper()
	v := &verdict{}
	book := &ownership.Book{}
	people := readListeners(t, l, book)
	v.counts = oracle.Compare(l.fold, func(user string) (uint64, map[string]uint64) {
		k := people[user]
		if k == nil {
			return 0, nil
		}
		return k.events, k.plays
	})
	v.chains = oracle.CompareChains(l.fold, func(user string) uint64 {
		if k := people[user]; k != nil {
			return k.chain
		}
		return 0
	})
	for user, k := range people {
		// One with a profile and no events is known, too.
		if _, sent := l.zones[user]; !sent || (k.events > 0 && l.fold.Listener(user).Events == 0) {
			v.counts.Wrong++
			v.note("listener %q: %d events, none were sent", user, k.events)
		}
	}
	v.note("%s", v.counts.FirstDifference)
	v.note("%s", v.chains.FirstDifference)
	v.judgeSongs(t, l, book)
	if l.uncompacted {
		strays, first := book.Strays()
		v.owners, v.taken = strays, book.Changes()
		v.note("%s", first)
	}
	v.judgeLetters(t, l)
	v.judgeLists(t, l)
	return v
}

func (v *verdict) note(format string, values ...any) {
	if text := fmt.Sprintf(format, values...); text != "" && len(v.notes) < 10 {
		v.notes = append(v.notes, text)
	}
}

func readAll(t *testing.T, l *load, topic string, fn func(*stream.Record) error, hooks ...kgo.Hook) {
	t.Helper()
	options, err := service.KafkaOptions(l.plant.cfg)
	if err != nil {
		t.Fatal(err)
	}
	options = append(options, kgo.WithHooks(hooks...))
	if err := stream.ReadAll(l.plant.ctx, options, []string{topic}, fn); err != nil {
		t.Fatal(err)
	}
}

func readListeners(t *testing.T, l *load, book *ownership.Book) map[string]*known {
	t.Helper()
	songs := map[uint64]string{}
	for song := range l.world.Songs() {
		songs[uint64(factor.KeyOf(factor.KindSong, song.ID))] = song.ID
	}
	people := map[string]*known{}
	readAll(t, l, service.Topics(l.plant.cfg).ListenerChangelog, func(rec *stream.Record) error {
		key, err := state.ParseUserKey(rec.Key)
		if err != nil {
			return nil //nolint:nilerr // not a listener's row
		}
		k := people[string(key.User)]
		if k == nil {
			k = &known{plays: map[string]uint64{}}
			people[string(key.User)] = k
		}
		switch {
		case rec.Value == nil && key.Row == state.RowCore:
			k.events, k.chain = 0, 0
		case rec.Value == nil && key.Row == state.RowHistory:
			delete(k.plays, songs[key.Song])
		case key.Row == state.RowCore:
			var core state.ListenerCore
			err = core.UnmarshalBinary(rec.Value)
			k.events, k.chain = core.Events, core.Chain
		case key.Row == state.RowHistory:
			var entry state.HistoryEntry
			err = entry.UnmarshalBinary(rec.Value)
			k.plays[songs[key.Song]] = uint64(entry.Plays)
		}
		return err
	}, book)
	return people
}

func (v *verdict) judgeSongs(t *testing.T, l *load, book *ownership.Book) {
	t.Helper()
	have := map[string]uint64{}
	readAll(t, l, service.Topics(l.plant.cfg).SongFactors, func(rec *stream.Record) error {
		var row schemas.FactorRow
		if err := row.UnmarshalBinary(rec.Value); err != nil {
			return nil //nolint:nilerr // not a factor row
		}
		if factor.Kind(row.Kind) == factor.KindSong && row.Plays > 0 {
			have[string(row.ID)] = row.Plays
		}
		return nil
	}, book)
	for song, want := range l.listens {
		if have[song] != want {
			v.songs++
			v.note("song %q: %d listens, want %d", song, have[song], want)
		}
		delete(have, song)
	}
	v.songs += len(have)
}

func (v *verdict) judgeLetters(t *testing.T, l *load) {
	t.Helper()
	have := map[string]uint64{}
	readAll(t, l, service.Topics(l.plant.cfg).DeadLetters, func(rec *stream.Record) error {
		for _, h := range rec.Headers {
			if h.Key == stream.HeaderErrorCode {
				have[string(h.Value)]++
			}
		}
		return nil
	})
	want := l.fold.DeadLetters()
	if n := l.fold.Totals().TooLate; n > 0 {
		want[stream.OutcomeTooLate.String()] = n
	}
	codes := maps.Clone(have)
	maps.Copy(codes, want)
	for code := range codes {
		if have[code] != want[code] {
			v.letters += int(max(have[code], want[code]) - min(have[code], want[code]))
			v.note("%d dead letters %s, want %d", have[code], code, want[code])
		}
	}
}

func (v *verdict) judgeLists(t *testing.T, l *load) {
	t.Helper()
	have := map[string]map[string]int{}
	err := l.plant.client.Playlists(l.plant.ctx, func(user string, list *schemas.Playlist) error {
		if have[user] == nil || list == nil {
			have[user] = map[string]int{} // an erased listener's playlists are withdrawn
		}
		if list == nil {
			return nil
		}
		have[user][list.Week]++
		v.playlists++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for user, weeks := range l.lists {
		for week := range weeks {
			if n := have[user][week]; n != 1 {
				v.lists++
				v.note("listener %q has %d playlists of %s", user, n, week)
			}
			delete(have[user], week)
		}
	}
	for user, weeks := range have {
		for week, n := range weeks {
			v.lists += n
			v.note("listener %q has a playlist of %s too early", user, week)
		}
	}
}
