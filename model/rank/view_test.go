package rank

import (
	"strconv"
	"testing"

	"earworm/model/cooccur"
	"earworm/model/factor"
)

// TestAViewKnowsItsSongsAlone: rows of artists lie between those of songs, and songs become known after the view was built.
func TestAViewKnowsItsSongsAlone(t *testing.T) {
	table := factor.NewTable(factor.DefaultParams())
	near := cooccur.NewTable(cooccur.DefaultParams(), table)
	if v := newView(table, near, DefaultParams(), 0); v.ordinal(factor.None) != -1 || v.ordinal(1) != -1 {
		t.Error("a view of an empty table knows a song")
	}
	add := func(n int) factor.Index {
		song := table.Song("song" + strconv.Itoa(n))
		table.Describe(song, factor.Meta{Title: "title", Artist: "artist" + strconv.Itoa(n), Genres: []string{"genre"}})
		return song
	}
	for n := range 5 {
		add(n)
	}
	v := newView(table, near, DefaultParams(), 0)
	for place, song := range table.SongList() {
		if got := v.ordinal(song); got != place {
			t.Errorf("song %d has place %d", place, got)
		}
		if got := v.ordinal(table.Artist(song)); got != -1 {
			t.Errorf("the artist of song %d has place %d", place, got)
		}
	}
	if got := v.ordinal(factor.None); got != -1 {
		t.Errorf("no song has place %d", got)
	}
	if got := v.ordinal(add(5)); got != -1 {
		t.Errorf("a song that came later has place %d", got)
	}
}
