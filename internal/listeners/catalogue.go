package listeners

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"time"
)

// SongInfo is what the catalogue says about a song.
type SongInfo struct {
	Index                    int
	ID, Title, Artist, Album string
	Genres, Moods            []string
	Language                 string
	Duration                 time.Duration
	Released                 time.Time
	Tempo, Energy            float32
}

// The languages of songs and listeners; instrumental is ISO 639's "no linguistic content".
const (
	english = iota
	portuguese
	german
	japanese
	french
	hindi
	spanish
	instrumental
)

var languageCodes = [...]string{"en", "pt", "de", "ja", "fr", "hi", "es", "zxx"}

// scene is a cluster of artists with one sound and mostly one language.
type scene struct {
	genre, language int
	centre          vector
	songs           []int32
	pick            alias // over songs
	chance          []float64
	releases        []int32 // the songs that come out during the run, in order of release
}

type song struct {
	artist, scene int32
	number        int32 // of the artist's songs
	language      uint8
	duration      int32 // ms
	released      int64 // ms
	weight        float64
	tempo, energy float32
}

// catalogue never changes after New.
type catalogue struct {
	scenes  []scene
	songs   []song
	vectors []vector
	ids     []string
	artists [][]int32 // songs of each artist
	names   []string  // of the artists
	chart   alias     // over songs, by weight
	mass    float64   // sum of all weights
}

func newCatalogue(cfg Config) catalogue {
	c := catalogue{scenes: newScenes(cfg), artists: make([][]int32, cfg.Artists), names: make([]string, cfg.Artists)}
	centres, fame, homes := c.newArtists(cfg)
	output := make([]float64, cfg.Artists)
	for a := range output {
		output[a] = math.Pow(float64(a)+10, -.35)
	}
	author := newAlias(output)
	start, length := cfg.Start.UnixMilli(), int64(cfg.Weeks)*week
	weights := make([]float64, cfg.Songs)
	for i := range cfg.Songs {
		d := roll(cfg.Seed, forSongs, i)
		a := int32(i)
		if i >= cfg.Artists {
			a = author.draw(&d)
		}
		number := len(c.artists[a])
		c.artists[a] = append(c.artists[a], int32(i))
		z := &c.scenes[homes[a]]
		z.songs = append(z.songs, int32(i))
		s := song{
			artist: a, scene: homes[a], number: int32(number), language: uint8(z.language), //nolint:gosec // small
			duration: int32(1000 * min(max(215+45*d.normal(), 75), 600)),
			tempo:    float32(min(max(118+24*d.normal(), 55), 200)), energy: float32(d.float()),
			weight: fame[a] * math.Pow(float64(number)+1, -.7) * math.Exp(.4*d.normal()),
		}
		if s.language != instrumental && d.chance(.15) {
			s.language = english
		}
		s.released = start - int64(d.exponential()*4*365)*day - day
		if number > 0 && d.chance(cfg.ReleaseShare*float64(cfg.Songs)/float64(max(cfg.Songs-cfg.Artists, 1))) {
			s.released = start + int64(d.float()*float64(length))
			z.releases = append(z.releases, int32(i))
		}
		c.songs, c.vectors = append(c.songs, s), append(c.vectors, d.near(centres[a], .4))
		c.ids = append(c.ids, fmt.Sprintf("s%05d", i))
		weights[i] = s.weight
		c.mass += s.weight
	}
	c.chart = newAlias(weights)
	c.finishScenes()
	return c
}

func newScenes(cfg Config) []scene {
	d := roll(cfg.Seed, forScenes, 0)
	centres := make([]vector, cfg.Genres)
	for g := range centres {
		centres[g] = d.unit()
	}
	spoken := []int{english, english, english, instrumental}
	for r := range cfg.Regions {
		spoken = append(spoken, regionTable[r].language, regionTable[r].language)
	}
	scenes := make([]scene, max(cfg.Songs/cfg.SceneSongs, cfg.Genres))
	for z := range scenes {
		genre := z % cfg.Genres
		scenes[z] = scene{genre: genre, language: spoken[d.below(len(spoken))], centre: d.near(centres[genre], .7)}
	}
	scenes[0].language = english // every listener can find a scene
	return scenes
}

// newArtists gives each artist a place in the space, a fame that falls with the rank, and a scene.
func (c *catalogue) newArtists(cfg Config) (centres []vector, fame []float64, homes []int32) {
	for a := range cfg.Artists {
		d := roll(cfg.Seed, forArtists, a)
		home := d.below(len(c.scenes))
		if a < len(c.scenes) {
			home = a // no scene is empty
		}
		homes = append(homes, int32(home))
		centres = append(centres, d.near(c.scenes[home].centre, .5))
		fame = append(fame, math.Pow(float64(a)+3, -.85))
		c.names[a] = artistName(a)
	}
	return centres, fame, homes
}

func (c *catalogue) finishScenes() {
	for i := range c.scenes {
		z := &c.scenes[i]
		total := 0.
		for _, s := range z.songs {
			w := math.Pow(c.songs[s].weight, .8)
			z.chance = append(z.chance, w)
			total += w
		}
		if len(z.songs) == 0 {
			continue
		}
		z.pick = newAlias(z.chance)
		for j := range z.chance {
			z.chance[j] /= total
		}
		slices.SortStableFunc(z.releases, func(a, b int32) int { return int(c.songs[a].released - c.songs[b].released) })
	}
}

// Songs lists the catalogue, songs to be released during the run included.
func (w *World) Songs() iter.Seq[SongInfo] {
	return func(yield func(SongInfo) bool) {
		for i := range w.songs {
			if !yield(w.Song(i)) {
				return
			}
		}
	}
}

// Song is the catalogue entry of one song.
func (w *World) Song(i int) SongInfo {
	s := &w.songs[i]
	z := &w.scenes[s.scene]
	info := SongInfo{
		Index: i, ID: w.ids[i], Artist: w.names[s.artist], Language: languageCodes[s.language],
		Title: songTitle(int(s.artist), int(s.number)), Album: albumTitle(int(s.artist), int(s.number)),
		Genres: []string{genreNames[z.genre]}, Duration: time.Duration(s.duration) * time.Millisecond,
		Released: time.UnixMilli(s.released).UTC(), Tempo: s.tempo, Energy: s.energy,
	}
	switch {
	case s.energy > .75:
		info.Moods = []string{"energetic"}
	case s.energy < .25:
		info.Moods = []string{"calm"}
	}
	return info
}

// SongIndex is the inverse of SongInfo.ID; false for an id that is not of this world.
func (w *World) SongIndex(id string) (int, bool) { return indexOf(w.ids, id) }

// indexOf finds id in ids, which are numbered by their digits.
func indexOf(ids []string, id string) (int, bool) {
	n := 0
	for _, c := range []byte(id)[min(1, len(id)):] {
		if c < '0' || c > '9' || n >= len(ids) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n < len(ids) && ids[n] == id
}
