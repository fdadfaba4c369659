package listeners

import "math"

// libraryMax bounds the songs a listener comes back to.
const libraryMax = 300

// sitting is one listener in one day.
type sitting struct {
	w         *World
	p         *listener
	h         *habit
	d         *dice // the habit's, or the playlist's own
	who       int32
	week      int
	interests [interestsMax]interest
	delay     int64 // how late this session reports, ms
	mood      int   // the interest this session started from
}

// session lets the listener play a few songs in a row from at.
func (s *sitting) session(at int64) {
	d := s.d
	s.delay = 0
	if d.chance(s.w.cfg.LateShare) {
		s.delay = int64(d.logWithin(float64(minute), float64(3*day)))
	}
	s.mood = s.anInterest()
	end := s.w.cfg.Start.UnixMilli() + int64(s.w.cfg.Weeks)*week
	for range 1 + int(d.exponential()*(sessionSongs-.5)) {
		song, source := s.choose(at)
		at += s.play(at, song, source, -1) + int64(d.exponential()*2000)
		s.h.busyUntil = at + minute
		if at >= end-hour {
			return
		}
	}
}

func (s *sitting) anInterest() int {
	d := s.d
	x := float32(d.float())
	for k := range s.p.count - 1 {
		if x -= s.interests[k].weight; x < 0 {
			return k
		}
	}
	return s.p.count - 1
}

// choose decides what the listener plays next, and where it is found.
func (s *sitting) choose(at int64) (song int32, source uint8) {
	d := s.d
	if song, ok := s.swept(at); ok {
		return song, sourceShare
	}
	if len(s.h.library) > 0 && !d.chance(float64(s.p.newShare)) {
		return s.favourite(), sourceLibrary + uint8(d.below(2)) //nolint:gosec // small
	}
	x := d.float()
	switch {
	case x < artistShare:
		if song, ok := s.byKnownArtist(at); ok {
			return song, sourceArtist
		}
	case x < artistShare+releaseShare:
		if song, ok := s.justOut(at); ok {
			return song, sourceAlbum
		}
	case x < artistShare+releaseShare+chartShare:
		return s.fromChart(at), sourceChart
	}
	if song, ok := s.toTaste(at); ok {
		return song, sourceSearch + uint8(d.below(3)) //nolint:gosec // small
	}
	return s.fromChart(at), sourceChart
}

// swept tells whether a viral wave takes the listener along.
func (s *sitting) swept(at int64) (int32, bool) {
	d := s.d
	waves := s.w.surf[s.p.region][at%day/hour]
	if len(waves) == 0 {
		return 0, false
	}
	x := d.float() / float64(s.p.viral)
	for _, wave := range waves {
		if x -= wave.share; x < 0 {
			// Half of those who know it already want it again.
			return wave.song, !s.h.heard.has(wave.song) || d.chance(.5)
		}
	}
	return 0, false
}

// favourite is a song of the library, recent ones more often.
func (s *sitting) favourite() int32 {
	n := len(s.h.library)
	u := s.d.float()
	back := int(float64(n) * u * u)
	return s.h.library[(int(s.h.turn)+2*n-1-back)%n]
}

func (s *sitting) byKnownArtist(at int64) (int32, bool) {
	d := s.d
	if len(s.h.library) == 0 {
		return 0, false
	}
	songs := s.w.artists[s.w.songs[s.favourite()].artist]
	for range 4 {
		u := d.float()
		if song := songs[int(float64(len(songs))*u*u)]; s.fresh(song, at) {
			return song, true
		}
	}
	return 0, false
}

// justOut is a release of the last two weeks in one of the listener's scenes.
func (s *sitting) justOut(at int64) (int32, bool) {
	d := s.d
	k := s.anInterest()
	releases := s.w.scenes[s.interests[k].scene].releases
	low := 0
	for low < len(releases) && s.w.songs[releases[low]].released < at-2*week {
		low++
	}
	high := low
	for high < len(releases) && s.w.songs[releases[high]].released <= at {
		high++
	}
	if low == high {
		return 0, false
	}
	for range 3 {
		song := releases[low+d.below(high-low)]
		if s.fresh(song, at) && d.chance(love(dot(&s.interests[k].vec, &s.w.vectors[song]))) {
			return song, true
		}
	}
	return 0, false
}

// toTaste draws from a scene by fame and keeps what one interest loves.
func (s *sitting) toTaste(at int64) (int32, bool) {
	d := s.d
	k := s.mood
	if d.chance(.3) {
		k = s.anInterest()
	}
	z := &s.w.scenes[s.interests[k].scene]
	for range 12 {
		song := z.songs[z.pick.draw(d)]
		if s.fresh(song, at) && d.chance(love(dot(&s.interests[k].vec, &s.w.vectors[song]))) {
			return song, true
		}
	}
	return 0, false
}

// fromChart is a song everybody plays, new to the listener if three tries find one; always one that is out.
func (s *sitting) fromChart(at int64) int32 {
	d := s.d
	for range 3 {
		song := s.w.chart.draw(d)
		if s.fresh(song, at) && (s.p.understands(s.w.songs[song].language) || d.chance(.3)) {
			return song
		}
	}
	for {
		if song := s.w.chart.draw(d); s.w.songs[song].released <= at {
			return song
		}
	}
}

func (s *sitting) fresh(song int32, at int64) bool {
	return s.w.songs[song].released <= at && !s.h.heard.has(song)
}

func (p *listener) understands(language uint8) bool { return p.languages>>language&1 == 1 }

// love is the chance that a song at this cosine from an interest is loved.
func love(cosine float32) float64 { return 1 / (1 + math.Exp(-13*(float64(cosine)-.78))) }

// affinity is the chance that the listener loves the song.
func (p *listener) affinity(w *World, interests *[interestsMax]interest, song int32) float64 {
	best := float32(-1)
	for k := range p.count {
		best = max(best, dot(&interests[k].vec, &w.vectors[song]))
	}
	a := love(best)
	if !p.understands(w.songs[song].language) {
		a *= .5
	}
	return a
}

// abandons is the chance that a start ends within the first minute.
func (p *listener) abandons(affinity float64, known bool) float64 {
	q := .57 - .48*affinity
	if known {
		q = .46 - .28*affinity
	}
	return min(max(q*float64(p.hurry), .02), .95)
}

// play plays a song and reports it; it returns how long that took. slot is -1 outside of weekly playlists.
func (s *sitting) play(at int64, song int32, source uint8, slot int8) int64 {
	weekly := slot >= 0
	isNew := !s.h.heard.has(song)
	a := s.p.affinity(s.w, &s.interests, song)
	length := s.w.songs[song].duration
	played, early := s.played(length, s.p.abandons(a, !isNew))
	half := 2*played >= length
	r := record{
		at: at + int64(played), song: song, played: played, position: -1, source: source, slot: slot,
	}
	d := s.d
	if early && d.chance(.93) || !early && played < length && d.chance(.5) {
		r.kind, r.position = kindSkip, played
	}
	s.send(r)
	s.remember(r, isNew, half, weekly)
	s.react(r, a, half)
	return int64(played)
}

// played is how long a start lasts. Of 100 starts 23 end within 5 s, 4 more within 10, 5 more within 30 and 4 more
// within 60 (measured on 3.5 M listens); abandon is the sum of the four for this song and listener.
func (s *sitting) played(length int32, abandon float64) (ms int32, early bool) {
	d := s.d
	if !d.chance(abandon) {
		if d.chance(.07) {
			return int32(d.within(60_000, max(float64(length), 60_001))), false
		}
		return length, false
	}
	x := d.float() * 36
	switch {
	case x < 23:
		return int32(d.within(400, 5000)), true
	case x < 27:
		return int32(d.within(5000, 10_000)), true
	case x < 32:
		return int32(d.within(10_000, 30_000)), true
	default:
		return int32(d.within(30_000, 60_000)), true
	}
}

// remember updates what the listener knows, and the truth.
func (s *sitting) remember(r record, isNew, half, weekly bool) {
	h := s.h
	f := first{song: r.song, at: int32((r.at - s.w.cfg.Start.UnixMilli()) / second)} //nolint:gosec // 10 years in seconds
	if half {
		s.w.popular.add(r.song, r.at)
	}
	switch {
	case weekly:
		// Not marked as heard: what people would have found by themselves must not depend on what they are given.
		f.flags = fromWeekly
		h.firsts = append(h.firsts, f)
	case isNew:
		h.heard.add(r.song)
		if half {
			f.flags = listened
		}
		h.firsts = append(h.firsts, f)
	}
	if !half || !isNew && !s.d.chance(.2) {
		return
	}
	if len(h.library) < libraryMax {
		h.library = append(h.library, r.song)
	} else {
		h.library[h.turn%libraryMax] = r.song
	}
	h.turn++
}

// react sends the explicit signals: likes are 2 % of the starts, dislikes 0.2 %.
func (s *sitting) react(r record, a float64, half bool) {
	d := s.d
	x := d.float()
	kind := -1
	switch {
	case half && x < .07*a:
		kind = kindLike
	case half && x < .07*a+.008:
		kind = kindPlaylistAdd
	case half && x < .07*a+.010:
		kind = kindShare
	case half && x > .9997:
		kind = kindUnlike
	case !half && x < .0075*(1-a):
		kind = kindDislike
	case !half && x < .0082*(1-a):
		kind = kindBan
	}
	if kind >= 0 {
		s.send(record{
			at: r.at + 1 + int64(d.float()*4000), song: r.song, played: -1, position: -1,
			kind: uint8(kind), source: r.source, slot: r.slot,
		})
	}
}

// send reports an event, perhaps late, perhaps twice, perhaps followed by a broken one.
func (s *sitting) send(r record) {
	d := s.d
	r.who, r.number = s.who, s.h.events
	s.h.events++
	if s.h.bornAt == 0 {
		s.h.bornAt = r.at
	}
	r.sent, r.late = r.at+s.delay, s.delay > 0
	s.w.enqueue(r)
	x := d.float()
	if x < s.w.cfg.DuplicateShare {
		again := r
		again.sent, again.duplicate = r.sent+int64(d.logWithin(float64(second), float64(day))), true
		s.w.enqueue(again)
	}
	if x > 1-s.w.cfg.BadShare {
		broken := r
		broken.number, broken.bad, broken.late = s.h.events, BadTruncated+Bad(d.below(int(badCount)-1)), false //nolint:gosec // small
		s.h.events++
		s.w.enqueue(broken)
	}
}

// weekly plays from the playlist of the week in a sitting of its own, on one day in four, with dice of its own, so
// that the listener's other sittings begin when they would have begun without it.
func (s *sitting) weekly(dayStart, offset int64) {
	d := roll(s.w.cfg.Seed, forPlaylists, int(s.who)*s.w.cfg.Weeks*7+int((dayStart-s.w.cfg.Start.UnixMilli())/day))
	if !d.chance(.25) {
		return
	}
	s.d = &d
	list := s.w.cfg.Playlists(int(s.who), s.week)
	if len(list.Songs) == 0 {
		return
	}
	s.delay = 0
	at := dayStart + (int64(d.within(17, 21)*float64(hour))-offset+2*day)%day
	if at < s.p.joined || s.w.weekOf(at) != s.week {
		return
	}
	s.send(record{at: at, song: -1, played: -1, position: -1, kind: kindPlaylistOpen, source: sourceWeekly, slot: -1})
	known := map[int32]bool{}
	for _, f := range s.h.firsts {
		known[f.song] = true
	}
	for slot, song := range list.Songs {
		if slot > math.MaxInt8 || known[int32(song)] || s.w.songs[song].released > at { //nolint:gosec // bounded by the catalogue
			continue
		}
		at += s.play(at, int32(song), sourceWeekly, int8(slot)) + 1500 //nolint:gosec // bounded above
		if d.chance(.05) || s.w.weekOf(at+10*minute) != s.week {
			return
		}
	}
}

// push is a bot's day: the target around the clock, 31 to 35 seconds each, now and then a hit as cover.
func (s *sitting) push(c *Campaign, dayStart int64) {
	from, to := max(c.Start.UnixMilli(), dayStart), min(c.End.UnixMilli(), dayStart+day)
	d := s.d
	for at := from + int64(d.exponential()*float64(hour)); at < to; at += int64((.5 + d.float()) * float64(day) / s.p.rate) {
		song := int32(c.Song) //nolint:gosec // at most 10 M songs
		if d.chance(.15) {
			song = s.fromChart(at)
		}
		played := int32(d.within(31_000, 35_000))
		s.w.popularOnly(song, played, at)
		s.send(record{at: at + int64(played), song: song, played: played, position: -1, source: sourceSearch})
	}
}

// popularOnly lets what bots play count in the popularity baseline, which cannot tell them from people.
func (w *World) popularOnly(song, played int32, at int64) {
	if 2*played >= w.songs[song].duration {
		w.popular.add(song, at)
	}
}
