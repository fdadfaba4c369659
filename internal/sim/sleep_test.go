//go:build synctests

package sim_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"earworm/consumers/stream"
	"earworm/schemas"
	"earworm/state"
)

// sleepers is how many listeners there are while an instance sleeps, every second of whom is erased.
const sleepers = 60

// sleeper names a listener of the test.
func sleeper(n int) string { return fmt.Sprintf("sleeper-%02d", n) }

// TestErasedWhileAnInstanceSlept: an instance is away for eight days, in which half of the listeners are erased and the tombstones are
// compacted away. Its disk still has them when it comes back, and no changelog says that they are gone. They stay gone, because a store that
// is older than half of what tombstones are kept for is wiped.
func TestErasedWhileAnInstanceSlept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 2, 16, 0, 0, 0, 0, time.UTC)))
		w := newWorld(t, weeksInCI)
		ctx := t.Context()
		a, b := w.instances[0], w.instances[1]
		defer func() { a.stop(t); b.stop(t) }()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		drained := func() {
			t.Helper()
			bounded, cancel := context.WithTimeout(ctx, 12*time.Hour)
			defer cancel()
			must(w.client.Drain(bounded))
		}
		a.start(t)
		time.Sleep(2 * time.Minute)
		must(catalogue(ctx, w.client, w.begins.AddDate(-1, 0, 0)))
		for n := range sleepers {
			for song := range 5 {
				w.client.Event(ctx, []byte(sleeper(n)), fmt.Appendf(nil, `{"type":"play","user_id":%q,"song_id":"s%d","at":%d,"ms_played":200000,"duration_ms":200000}`,
					sleeper(n), n+song, time.Now().Add(-time.Hour).Unix()))
			}
		}
		drained()
		a.stop(t)
		before := rowsOf(t, a)
		if before[sleeper(0)] == 0 || before[sleeper(1)] == 0 {
			t.Fatalf("the disk of the sleeping instance holds %d listeners", len(before))
		}
		b.start(t)
		time.Sleep(2 * (sessionTimeout + fetchWait))
		for n := 0; n < sleepers; n += 2 {
			must(w.client.Erase(ctx, []byte(sleeper(n))))
		}
		drained()
		time.Sleep(8 * 24 * time.Hour)
		drained()
		b.stop(t)
		time.Sleep(2 * sessionTimeout)
		w.broker.Cluster().Compact()
		if keys := changelogOf(t, w); keys[sleeper(0)] != 0 || keys[sleeper(1)] == 0 {
			t.Fatalf("the tombstones are still there (%d), or nothing is (%d): this test shows nothing", keys[sleeper(0)], keys[sleeper(1)])
		}
		a.start(t)
		time.Sleep(2 * (sessionTimeout + fetchWait))
		must(w.client.Tick(ctx, schemas.Tick{At: time.Now().UnixMilli(), Week: "2000-W20", Forced: true}))
		drained()
		lists := map[string]bool{}
		must(w.client.Playlists(ctx, func(user string, list *schemas.Playlist) error {
			if list != nil && list.Week == "2000-W20" {
				lists[user] = true
			}
			return nil
		}))
		a.stop(t)
		after := rowsOf(t, a)
		for n := range sleepers {
			erased := n%2 == 0
			if lists[sleeper(n)] == erased || (after[sleeper(n)] > 0) == erased {
				t.Errorf("%s: erased %v, a playlist %v, %d rows", sleeper(n), erased, lists[sleeper(n)], after[sleeper(n)])
			}
		}
	})
}

// rowsOf counts the rows of each listener on the disk of an instance that does not run.
func rowsOf(t *testing.T, i *instance) map[string]int {
	t.Helper()
	cfg := state.Default()
	cfg.Dir, cfg.FS, cfg.Now, cfg.NoPolling = i.cfg.State.Dir, i.disk, time.Now, true
	cfg.MinFreeBytes, cfg.MinFreePercent = -1, -1
	shared, err := state.NewShared(cfg, state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows := map[string]int{}
	found, err := shared.Stores("listener")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		store, err := shared.OpenReadOnly(state.Identity{App: i.cfg.App, Role: "listener", Partition: p, Partitions: partitions})
		if err != nil {
			t.Fatal(err)
		}
		err = store.Scan(nil, func(key, _ []byte) error {
			countSleeper(rows, key)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// changelogOf counts the records of each listener in the changelog.
func changelogOf(t *testing.T, w *world) map[string]int {
	t.Helper()
	records := map[string]int{}
	err := stream.ReadAll(t.Context(), w.options, []string{w.journal.topics.ListenerChangelog}, func(rec *stream.Record) error {
		countSleeper(records, rec.Key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func countSleeper(counts map[string]int, key []byte) {
	if _, name, ok := strings.Cut(string(key), "sleeper-"); ok && len(name) >= 2 {
		counts["sleeper-"+name[:2]]++
	}
}
