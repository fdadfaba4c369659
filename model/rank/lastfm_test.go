package rank_test

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"

	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/model/rank"
)

// readLastfm reads the shipped stream of listens, tracks as songs. It skips the test, and says why, where the file is not there.
func readLastfm(tb testing.TB) []listen {
	tb.Helper()
	path := os.Getenv("EARWORM_LASTFM")
	if path == "" {
		path = "/work/shared/data/lastfm-listens.csv.gz"
	}
	file, err := os.Open(path)
	if err != nil {
		tb.Skipf("SKIPPED: the Last.fm stream is not here (%v); EARWORM_LASTFM names another place", err)
	}
	tb.Cleanup(func() { _ = file.Close() })
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	var events []listen
	rows := csv.NewReader(unzipped)
	if _, err := rows.Read(); err != nil {
		tb.Fatal(err)
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		seconds, err := strconv.ParseInt(row[0], 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		events = append(events, listen{
			at: seconds * 1000, user: row[1], song: row[2] + "\x1f" + row[3],
			meta: factor.Meta{Artist: row[2], Title: row[3]},
		})
	}
	slices.SortStableFunc(events, func(a, b listen) int { return int(a.at/1000 - b.at/1000) })
	return events
}

func TestLastfmTracks(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: quality is not measured in short mode")
	}
	events := readLastfm(t)
	r := newReplay(factor.DefaultParams(), rank.DefaultParams(), playlist.DefaultParams(), 256)
	got := weekly(t, r, events, .4, 4, r.playlistOf, r.popularityOf())
	q, popularity := got[0], got[1]
	t.Logf("recall@30: playlists %.4f, popularity %.4f; NDCG@30 %.4f; %d user-weeks", q.recall, popularity.recall, q.ndcg, q.userWeeks)
	if q.recall < .018 {
		t.Errorf("recall@30 is %.4f, want at least .018", q.recall)
	}
}
