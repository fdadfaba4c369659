package listener

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/consumers/stream"
	"earworm/model/decay"
	"earworm/model/engagement"
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/schemas"
	"earworm/state"
)

// skipHalfLife is the decay of the counters behind a listener's usual skip rate.
const skipHalfLife = decay.HalfLife(7 * 24 * time.Hour)

// explicitWeight is how much a like, dislike or addition counts in learning beside a full listen.
const explicitWeight = 2

// usualSkips is the share of starts that listeners give up within 10 s (shared figures of 3.5 M listens: 27 %).
const usualSkips = .27

// apply folds one event into its listener, and sees to it that no playlist is lost when the event moves them.
func (t *Task) apply(e *schemas.Event, out *stream.Output) (stream.Outcome, error) {
	p, err := t.person(e.User)
	if err != nil {
		return 0, err
	}
	defer t.recount(p)
	if !mayMove(p, e) {
		return t.fold(p, e)
	}
	zone := t.zones.of(p.core.Zone, p.core.Region)
	outcome, err := t.fold(p, e)
	if err != nil {
		return outcome, err
	}
	return outcome, t.moved(p, zone, out)
}

// fold is apply for a listener in memory.
func (t *Task) fold(p *person, e *schemas.Event) (stream.Outcome, error) {
	switch e.Kind {
	case schemas.KindErase:
		return stream.OutcomeApplied, t.erase(p)
	case schemas.KindProfile:
		t.profile(p, e)
		return stream.OutcomeApplied, nil
	default:
	}
	if len(e.Song) == 0 {
		return t.applyWithoutSong(p, e), nil
	}
	key := factor.KeyOf(factor.KindSong, e.Song)
	n, known := p.history.find(key)
	if !known { // nothing is remembered of it, so the event is new and not too late
		n = p.history.add(heard{song: key})
	}
	if outcome := t.admit(p, &p.history.entries[n].recall, n, e); outcome != stream.OutcomeApplied {
		return outcome, nil
	}
	t.remember(p, e)
	h := p.touch(n)
	if h.row == factor.None {
		h.row = t.table.SongOf(e.Song)
	}
	t.hear(p, h, h.row, e)
	return stream.OutcomeApplied, t.note(p, key, e)
}

// admit decides whether the event is new, and remembers its id.
func (t *Task) admit(p *person, r *recall, of uint32, e *schemas.Event) stream.Outcome {
	seconds := uint32(e.At / 1000) //nolint:gosec // schemas bounds the year to 2000..2100
	if e.ID.IsZero() {
		t.metrics.unidentified.Inc()
		return stream.OutcomeApplied
	}
	id := xxhash.Sum64(e.ID[:])
	if p.history.knows(r, of, id) {
		return stream.OutcomeDuplicate
	}
	if seconds < r.horizon {
		return stream.OutcomeTooLate
	}
	newest := max(p.core.LastAt, e.At)
	p.history.forget(r, of, uint32(max(0, (newest-t.cfg.DedupeWindow.Milliseconds())/1000))) //nolint:gosec // as above
	if seconds < r.horizon {
		// Forgetting moved the horizon past this event: it is the first we see of it, and it is too old to be remembered. It
		// is applied, and a copy of it will be refused as too late.
		return stream.OutcomeApplied
	}
	p.history.remember(r, of, id, seconds)
	return stream.OutcomeApplied
}

// remember updates what every event changes: counts, the hash of the sequence, time and session.
func (t *Task) remember(p *person, e *schemas.Event) {
	t.mark(p)
	c := &p.core
	c.Events++
	c.Chain = state.Chain(c.Chain, state.Link{Kind: byte(e.Kind), At: e.At, ID: e.ID, Song: e.Song})
	if c.FirstAt == 0 || e.At < c.FirstAt {
		c.FirstAt = e.At
	}
	if e.At > c.LastAt+t.cfg.SessionGap.Milliseconds() {
		c.Session = state.Session{StartedAt: e.At}
	}
	c.LastAt = max(c.LastAt, e.At)
	c.Session.LastAt = max(c.Session.LastAt, e.At)
	if c.Region == ([2]byte{}) && e.Region != ([2]byte{}) {
		c.Region = e.Region // the first region is home until a profile says otherwise
	}
}

// hear applies an admitted event about a song.
func (t *Task) hear(p *person, h *heard, song factor.Index, e *schemas.Event) {
	isListen := e.Kind == schemas.KindPlay || e.Kind == schemas.KindSkip
	firstToday := h.LastAt == 0 || e.At-h.LastAt > dayMs
	listen := signal(p, h, e)
	value := engagement.Value(listen)
	full := isListen && engagement.FullListen(listen)
	skipped := isListen && engagement.EarlySkip(listen)

	if isListen {
		if h.FirstAt == 0 || e.At < h.FirstAt {
			h.FirstAt = e.At
		}
		h.LastAt = max(h.LastAt, e.At)
	}
	if e.Kind == schemas.KindPlay {
		h.Plays++
	}
	halfLife := decay.HalfLife(t.cfg.TasteHalfLife)
	switch {
	case e.Kind == schemas.KindUnlike:
		value = unlike(h, e.At, halfLife)
	case e.Kind == schemas.KindLike && h.Flags&state.FlagLiked != 0:
		value = 0 // liked already: an unlike takes back one like
	}
	h.Engagement.Add(value, e.At, halfLife)
	banned := h.Flags & state.FlagBanned
	if setFlags(h, e); banned != 0 && h.Flags&state.FlagBanned == 0 {
		p.refused = slices.DeleteFunc(p.refused, func(s factor.Index) bool { return s == song })
	}
	if isListen {
		t.countListen(p, h, e, full, skipped)
	}
	t.report(p, song, e, listenFacts{first: isListen && firstToday, full: full, skipped: skipped})
	t.learn(p, h, song, e, value, full)
}

// signal translates a wire event for the model.
func signal(p *person, h *heard, e *schemas.Event) engagement.Listen {
	usual := p.core.Skips.Read(e.At, skipHalfLife) / max(1, p.core.Plays.Read(e.At, skipHalfLife))
	autoplay := e.Source == schemas.SourceAutoplay || e.Source == schemas.SourceRadio ||
		e.Source == schemas.SourceRecommendation || e.Source == schemas.SourceWeekly
	return engagement.Listen{
		Signal: signalOf(e.Kind), PlayedMs: e.PlayedMs, DurationMs: e.DurationMs, PositionMs: e.PositionMs,
		Autoplay: autoplay, Searched: e.Source == schemas.SourceSearch, SkipRatio: engagement.Hurry(usual, usualSkips),
		// Chosen by a machine for three quarters of an hour, and nothing skipped: perhaps to an empty room.
		Passive: autoplay && p.core.Session.Skips == 0 && e.At-p.core.Session.StartedAt > passiveAfter.Milliseconds(),
		Replay:  h.LastAt != 0 && e.At > h.LastAt && e.At-h.LastAt < dayMs,
	}
}

// passiveAfter is how long a session goes on by itself before its listens count as background.
const passiveAfter = 45 * time.Minute

const dayMs = 24 * 60 * 60 * 1000

// signalOf maps the wire's kinds to the model's signals.
func signalOf(k schemas.Kind) engagement.Signal {
	switch k {
	case schemas.KindSkip:
		return engagement.Skip
	case schemas.KindLike:
		return engagement.Like
	case schemas.KindUnlike:
		return engagement.Unlike
	case schemas.KindDislike:
		return engagement.Dislike
	case schemas.KindBan:
		return engagement.Ban
	case schemas.KindPlaylistAdd:
		return engagement.PlaylistAdd
	case schemas.KindShare:
		return engagement.Share
	default:
		return engagement.Play
	}
}

// setFlags keeps the latest explicit word on a song.
func setFlags(h *heard, e *schemas.Event) {
	switch e.Kind {
	case schemas.KindLike:
		if h.Flags&state.FlagLiked == 0 {
			h.LikedAt = e.At
		}
		h.Flags = h.Flags&^state.FlagBanned | state.FlagLiked
	case schemas.KindUnlike:
		h.Flags &^= state.FlagLiked
		h.LikedAt = 0
	case schemas.KindDislike, schemas.KindBan:
		h.Flags = h.Flags&^state.FlagLiked | state.FlagBanned
	case schemas.KindPlaylistAdd:
		h.Flags |= state.FlagAdded
	default:
	}
}

// unlike returns the engagement that takes away what is left at an instant of the like it undoes; 0 when there was none.
func unlike(h *heard, now int64, halfLife decay.HalfLife) float64 {
	if h.Flags&state.FlagLiked == 0 {
		return 0
	}
	var left decay.Counter
	left.Add(engagement.Value(engagement.Listen{Signal: engagement.Like}), h.LikedAt, halfLife)
	return -left.Read(max(now, h.LikedAt), halfLife)
}

// countListen updates the listener's habits.
func (t *Task) countListen(p *person, h *heard, e *schemas.Event, full, skipped bool) {
	c := &p.core
	c.Session.Plays++
	c.Plays.Add(1, e.At, skipHalfLife)
	if skipped {
		c.Session.Skips++
		c.Skips.Add(1, e.At, skipHalfLife)
	}
	artist, trends := t.table.Glance(h.row)
	p.trust.Observe(t.cfg.Trend, trend.TrustPlay{At: e.At, Song: uint64(h.song), Artist: uint64(artist), PlayedMs: e.PlayedMs})
	if _, viral := trends.Best(factor.Region(c.Region)); !viral {
		return
	}
	if full {
		c.ViralLikes.Add(1, e.At, skipHalfLife)
	} else if skipped {
		c.ViralSkips.Add(1, e.At, skipHalfLife)
	}
}

// learn trains on the first listen of a song and on explicit words about it.
func (t *Task) learn(p *person, h *heard, song factor.Index, e *schemas.Event, value float64, full bool) {
	if p.core.OptOut {
		return
	}
	switch e.Kind {
	case schemas.KindDislike, schemas.KindBan:
		t.metrics.step(t.learner.Feedback(p.core.Vector, song, 0, explicitWeight))
		if !slices.Contains(p.refused, song) {
			p.refused = append(p.refused, song)
		}
		t.learner.Solve(p.core.Vector, p.past())
		return
	case schemas.KindLike, schemas.KindPlaylistAdd, schemas.KindShare:
		if h.Flags&state.FlagTrained != 0 {
			t.metrics.step(t.learner.Feedback(p.core.Vector, song, 1, explicitWeight))
			return
		}
	default:
		if !full || value <= 0 || h.Flags&state.FlagTrained != 0 {
			return
		}
	}
	if h.FirstAt == h.LastAt { // one that was skipped before could not have been recommended
		t.prequential(p, song, e.At)
	}
	weight := engagement.Confidence(value)
	t.metrics.step(t.learner.FirstListen(p.core.Vector, song, float32(weight), p.past()))
	p.core.Positives += weight
	h.Flags |= state.FlagTrained
	t.pair(p, song, e.At)
	p.trained = append(p.trained, song)
}

// applyWithoutSong handles events about no song: opened playlists, surveys, onboarding answers, bans of artists.
func (t *Task) applyWithoutSong(p *person, e *schemas.Event) stream.Outcome {
	if outcome := t.admit(p, &p.recall, noSong, e); outcome != stream.OutcomeApplied {
		return outcome
	}
	t.remember(p, e)
	switch e.Kind {
	case schemas.KindBan:
		artist := uint64(factor.KeyOf(factor.KindArtist, e.Artist))
		if !slices.Contains(p.core.Artists, artist) && len(p.core.Artists) < state.MaxArtistBans {
			p.core.Artists = append(p.core.Artists, artist)
		}
	case schemas.KindOnboarding:
		t.onboard(p, e)
	case schemas.KindPlaylistOpen:
		t.metrics.opened.Inc()
	case schemas.KindSurvey:
		t.metrics.ratings.Observe(float64(e.Rating))
	default:
	}
	return stream.OutcomeApplied
}

// onboard moves a new listener's vector towards the artists and genres that they chose.
func (t *Task) onboard(p *person, e *schemas.Event) {
	choose := func(kind factor.Kind, id []byte) {
		key := uint64(factor.KeyOf(kind, id))
		if len(p.core.Chosen) < state.MaxChosen && !slices.Contains(p.core.Chosen, key) {
			p.core.Chosen = append(p.core.Chosen, key)
			p.chosen = append(p.chosen, t.table.Row(kind, string(id)))
		}
	}
	for _, artist := range e.Artists {
		choose(factor.KindArtist, artist)
	}
	for _, genre := range e.Genres {
		choose(factor.KindGenre, genre)
	}
	t.learner.Solve(p.core.Vector, p.past())
}
