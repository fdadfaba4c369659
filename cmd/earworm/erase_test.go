package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/internal/erasure"
	"earworm/internal/pseudonym"
	"earworm/internal/run"
	"earworm/schemas"
)

// The one who is erased, and one who is not. Their ids begin differently, so that files, which leave out what keys share with those before
// them, hold both as they are.
const (
	canary  = "canary-7f3a91c2"
	witness = "witness-18d04be"
)

// send produces lines.
func (s *system) send(lines ...string) {
	s.tb.Helper()
	var problems bytes.Buffer
	in := strings.NewReader(strings.Join(lines, "\n") + "\n")
	if code := execute(s.tb.(*testing.T).Context(), []string{"produce"}, streams{in: in, out: &bytes.Buffer{}, err: &problems}, s.environ); code != 0 {
		s.tb.Fatal(problems.String())
	}
}

// filesWith counts the files of the state directory that hold one of some texts.
func (s *system) filesWith(texts ...[]byte) int {
	s.tb.Helper()
	found := 0
	err := filepath.WalkDir(s.stateDir, func(name string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) || entry != nil && entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			return nil // a compaction was faster
		}
		for _, text := range texts {
			if bytes.Contains(content, text) {
				found++
			}
		}
		return err
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return found
}

// hits counts, by topic, the records whose value holds one of some texts, and those whose key does.
func (s *system) hits(topics []string, texts ...[]byte) (values, keys map[string]int) {
	s.tb.Helper()
	values, keys = map[string]int{}, map[string]int{}
	err := stream.ReadAll(s.tb.(*testing.T).Context(), []kgo.Opt{kgo.SeedBrokers(s.broker.Addrs()...)}, topics, func(rec *stream.Record) error {
		for _, text := range texts {
			if bytes.Contains(rec.Value, text) {
				values[rec.Topic]++
			}
			if bytes.Contains(rec.Key, text) && rec.Value != nil {
				values[rec.Topic]++
			}
			if bytes.Contains(rec.Key, text) && rec.Value == nil {
				keys[rec.Topic]++
			}
		}
		return nil
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return values, keys
}

func plays(user string, n int) []string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"event_id":%q,"type":"play","user_id":%q,"song_id":"s%d","at":%d,"ms_played":200000,"duration_ms":200000}`,
			uuid.NewString(), user, i, 1_772_618_340+600*i))
	}
	return lines
}

// TestErase forgets one of two listeners, without and with pseudonyms, and then looks for the bytes of their names everywhere.
func TestErase(t *testing.T) {
	t.Parallel()
	keys := "7:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{5}, 64)) + "\n3:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{6}, 64))
	mapper, err := pseudonym.Parse([]byte(keys))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		environ []string
		names   func(id []byte) ([][]byte, error)
	}{
		"plain": {[]string{"EARWORM_STATE_SCRUB_DELAY=20ms"}, (&pseudonym.Mapper{}).All},
		"keyed": {[]string{"EARWORM_STATE_SCRUB_DELAY=20ms", "EARWORM_INGEST_PSEUDONYM_KEY=" + keys}, mapper.All},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSystem(t, test.environ...)
			names, err := test.names([]byte(canary))
			if err != nil {
				t.Fatal(err)
			}
			others, err := test.names([]byte(witness))
			if err != nil {
				t.Fatal(err)
			}
			s.live(names)
			s.erased(names, others)
		})
	}
}

// live makes both known everywhere, the canary also under the names of older keys and of the time before there was one.
func (s *system) live(names [][]byte) {
	s.tb.Helper()
	producer, err := stream.NewProducer([]kgo.Opt{kgo.SeedBrokers(s.broker.Addrs()...)})
	if err != nil {
		s.tb.Fatal(err)
	}
	defer producer.Close()
	ctx := s.tb.(*testing.T).Context()
	for _, name := range names[1:] {
		e := schemas.Event{Kind: schemas.KindPlay, At: 1_772_618_340_000, Song: []byte("s1"), PlayedMs: 200_000, DurationMs: 200_000}
		producer.Send(ctx, stream.Message{Topic: "earworm-listens", Partition: stream.PartitionOf(name, 2), Key: name, Value: e.AppendBinary(nil)})
	}
	if err := producer.Flush(ctx); err != nil {
		s.tb.Fatal(err)
	}
	s.send(append(plays(canary, 40), plays(witness, 60)...)...)
	s.send(fmt.Sprintf(`{"type":"play","user_id":%q,"song_id":"s1","at":0}`, canary), fmt.Sprintf(`{"type":"play","user_id":%q,"song_id":"s1","at":0}`, witness),
		`{"broken": "`+canary+`"`)
	waitFor(s, `"events": 40,`, "inspect", "listener", canary)
	waitFor(s, `"events": 60,`, "inspect", "listener", witness)
	s.ok("emit", "--week", "2026-W30")
	waitFor(s, "2026-07-20,"+canary+",1,", "playlists", "export")
	lettersOf(s, 3)
}

// erased erases the canary and looks for it.
func (s *system) erased(names, others [][]byte) {
	s.tb.Helper()
	var dry erasure.Receipt
	if err := json.Unmarshal([]byte(s.ok("erase", canary, "--dry-run")), &dry); err != nil {
		s.tb.Fatal(err)
	}
	if dry.Complete || dry.Rounds != 0 || found(&dry, "earworm-listener-changelog") < 42 || found(&dry, "earworm.dead-letters.v1") != 2 {
		s.tb.Fatalf("dry run: %+v", dry)
	}
	file := filepath.Join(s.tb.TempDir(), "receipt.json")
	text := s.ok("erase", canary, "--receipt", file)
	written, err := os.ReadFile(file)
	if err != nil || string(written) != text {
		s.tb.Errorf("the file of the receipt: %v, %d of %d bytes", err, len(written), len(text))
	}
	var receipt erasure.Receipt
	if err := json.Unmarshal([]byte(text), &receipt); err != nil {
		s.tb.Fatal(err)
	}
	s.checkReceipt(&receipt, text, names)
	s.fails(run.CodeUsage, "no playlist for this listener", "playlist", canary)
	s.fails(run.CodeUsage, "nothing is known", "inspect", "listener", canary)
	if out := s.ok("dlq", "replay", "--dry-run"); !strings.Contains(out, "2 are of listeners who were erased\n") || !strings.HasPrefix(out, "1 of 3") {
		s.tb.Errorf("replay: %q", out)
	}
	s.search(names, others)

	// Once more does no harm, and somebody who was never there gets a receipt too. A receipt is not overwritten.
	if out := s.ok("erase", canary); !strings.Contains(out, `"complete": true`) {
		s.tb.Errorf("once more: %s", out)
	}
	if out := s.ok("erase", "nobody"); !strings.Contains(out, `"complete": true`) {
		s.tb.Errorf("nobody: %s", out)
	}
	code, _, problems := command(s.tb.(*testing.T), s.environ, "erase", "nobody", "--receipt", file)
	if code != run.CodeIO || !strings.Contains(problems, "file exists") {
		s.tb.Errorf("over another's receipt: code %d, %s", code, problems)
	}
	if out := s.ok("inspect", "listener", witness); !strings.Contains(out, `"events": 60,`) {
		s.tb.Errorf("the witness: %s", out)
	}
}

func found(r *erasure.Receipt, place string) int {
	for _, p := range r.Places {
		if p.Place == place {
			return p.Found
		}
	}
	return -1
}

// checkReceipt: complete, with a time for all that remains, and without a name.
func (s *system) checkReceipt(r *erasure.Receipt, text string, names [][]byte) {
	s.tb.Helper()
	if !r.Complete || r.EffectiveAt == nil || r.VerifiedAt.Before(*r.EffectiveAt) || r.EffectiveAt.Before(r.RequestedAt) || r.Rounds != 1 {
		s.tb.Errorf("%+v", r)
	}
	for _, name := range append(names, []byte(canary)) {
		for _, spelling := range []string{string(name), base64.StdEncoding.EncodeToString(name), hex.EncodeToString(name)} {
			if strings.Contains(text, spelling) {
				s.tb.Errorf("the receipt names the listener: %s", text)
			}
		}
	}
	const day = 24 * time.Hour
	older := len(names) - 1 // each with a core, a song, a list and an entry of the index
	for place, want := range map[string]struct {
		found     int
		gone, key time.Duration // from now, at most
	}{
		"earworm-listener-changelog":  {44 + 5*older, day + 2*time.Hour, 9*day + 2*time.Hour}, // core, 40 songs, a list and its tracks, the index of the zone
		"earworm.playlists.weekly.v1": {1, 29*day + 2*time.Hour, 65*day + 2*time.Hour},
		"music.users.v1":              {0, 0, 9*day + 2*time.Hour},
		"music.events.v1":             {42, 8*day + 2*time.Hour, 0},
		"earworm-listens":             {40 + older, 8*day + 2*time.Hour, 0},
		"earworm.dead-letters.v1":     {2, 15*day + 2*time.Hour, 0},
		"local stores":                {44 + 5*older, 2 * time.Hour, 0},
		"earworm-song-factors":        {40 + older, 0, 0},
	} {
		for _, p := range r.Places {
			if p.Place != place {
				continue
			}
			if p.Found != want.found || p.Left != 0 || p.Unbounded || (p.GoneBy != nil) != (want.gone > 0) || (p.KeyGoneBy != nil) != (want.key > 0) ||
				p.GoneBy != nil && p.GoneBy.After(time.Now().Add(want.gone)) || p.KeyGoneBy != nil && p.KeyGoneBy.After(time.Now().Add(want.key)) {
				s.tb.Errorf("%s: %+v, want %+v", place, p, want)
			}
		}
		if found(r, place) < 0 {
			s.tb.Errorf("%s is not in the receipt", place)
		}
	}
}

// search looks for the bytes, after compaction and after the scrub of the stores.
func (s *system) search(names, others [][]byte) {
	s.tb.Helper()
	topics := schemas.NewTopics("earworm")
	compacted := []string{topics.ListenerChangelog, topics.SongFactors, topics.Playlists, topics.Users, topics.Catalog}
	all := append([]string{topics.SongUpdates, topics.Ticks, topics.Trends, topics.LetterMarks}, compacted...)
	if before, _ := s.hits(compacted, names...); before[topics.ListenerChangelog] == 0 || before[topics.Playlists] == 0 {
		s.tb.Fatalf("nothing to compact: %v", before)
	}
	s.broker.Cluster().Compact()
	values, keys := s.hits(all, names...)
	if len(values) > 0 || keys[topics.ListenerChangelog] == 0 || keys[topics.Playlists] != 1 || keys[topics.Users] != 1 {
		s.tb.Errorf("after compaction: values %v, nulls %v", values, keys)
	}
	if values, _ := s.hits(all, others...); values[topics.ListenerChangelog] == 0 || values[topics.Playlists] == 0 {
		s.tb.Errorf("of the witness nothing is found: %v", values)
	}
	for deadline := time.After(20 * time.Second); ; {
		if s.filesWith(others...) > 0 && s.filesWith(names...) == 0 {
			break
		}
		select {
		case <-deadline:
			s.tb.Fatalf("%d files name who was erased, %d the witness", s.filesWith(names...), s.filesWith(others...))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestEraseWithoutASystem: there is no receipt if nobody does what it says.
func TestEraseWithoutASystem(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	s.send(plays(canary, 3)...)
	waitFor(s, `"events": 3,`, "inspect", "listener", canary)
	other := append([]string{}, s.environ...)
	other = append(other, "EARWORM_APP=another", "EARWORM_TOPICS_LISTENS=earworm-listens", "EARWORM_TOPICS_LISTENER_CHANGELOG=earworm-listener-changelog",
		"EARWORM_TOPICS_SONG_UPDATES=earworm-song-updates", "EARWORM_TOPICS_PLAYLISTS=earworm.playlists.weekly.v1",
		"EARWORM_TOPICS_DEAD_LETTERS=earworm.dead-letters.v1", "EARWORM_TOPICS_LETTER_MARKS=earworm-dead-letter-marks")
	code, out, problems := command(t, other, "erase", canary, "--wait", "300ms")
	if code != run.CodeTemporary || out != "" || !strings.Contains(problems, "is the ingest role running?") {
		t.Errorf("code %d, %q, %q", code, out, problems)
	}
	s.fails(run.CodeUsage, "missing argument USER", "erase")
	s.fails(run.CodeTemporary, "the id of the listener is empty", "erase", "")
}
