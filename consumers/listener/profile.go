package listener

import (
	"fmt"
	"slices"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// profile takes in what the users topic says of a listener. The latest word counts: profiles are absolute, so a copy does no harm.
func (t *Task) profile(p *person, e *schemas.Event) {
	t.mark(p)
	c, in := &p.core, e.Profile
	if len(in.Region) == 2 {
		c.Region = [2]byte{in.Region[0], in.Region[1]}
	}
	c.Zone = in.TimeZone
	c.Languages = slices.Clone(in.Languages)
	c.AgeBand = in.AgeBand
	c.OptOut = in.OptOut
	c.Discovery = -1
	if in.Discovery != nil {
		c.Discovery = float32(*in.Discovery)
	}
}

// erase forgets a listener. Their stored rows go at the end of the transaction; whatever arrives after this, even in the same
// transaction, belongs to somebody of whom nothing is known.
func (t *Task) erase(p *person) error {
	t.mark(p)
	t.takeBack(p)
	zone := p.wipedZone
	if p.core.ServedZone != "" {
		zone = p.core.ServedZone
	}
	counted := p.counted
	*p = *newPerson(p.id, t.params.Dim)
	p.counted = counted
	factor.InitRow(t.params, factor.KeyOf(factor.KindListener, p.id), p.core.Vector)
	p.lists = map[int32]*list{} // those in the store are to be deleted
	p.dirty, p.erased, p.wiped, p.wipedZone = true, true, true, zone
	return nil
}

// withdraw tells readers of the playlists that a listener is gone.
func (t *Task) withdraw(pseudonym []byte, out *stream.Output) error {
	id, err := t.reveal.Reveal(pseudonym)
	if err != nil {
		return fmt.Errorf("revealing an erased listener: %w", err)
	}
	out.Emit(stream.Message{Topic: t.cfg.Playlists, Partition: -1, Key: id})
	t.metrics.erased.Inc()
	return nil
}

// write puts the changed rows of a listener into the transaction.
func (t *Task) write(p *person, out *stream.Output) error {
	if p.wiped {
		if err := t.remove(p, out); err != nil || p.erased {
			return err
		}
	}
	if err := t.writeZone(p, out); err != nil {
		return err
	}
	t.key = state.AppendCoreKey(t.key[:0], p.id)
	t.row = t.appendCore(t.row[:0], p)
	out.Put(t.key, t.row)
	for _, n := range p.changed {
		p.history.exportEntry(n, &t.entry)
		t.key = state.AppendHistoryKey(t.key[:0], p.id, uint64(p.history.entries[n].song))
		t.row = t.entry.AppendBinary(t.row[:0])
		out.Put(t.key, t.row)
	}
	for _, week := range p.weekly {
		t.key = state.AppendPlaylistKey(t.key[:0], p.id, week)
		t.row = p.lists[week].appendBinary(t.row[:0])
		out.Put(t.key, t.row)
	}
	switch {
	case p.frozen != nil:
		t.row = p.frozen.AppendBinary(t.row[:0])
		out.Put(state.AppendFrozenKey(t.key[:0], p.id), t.row)
	case p.thawed:
		out.Delete(state.AppendFrozenKey(t.key[:0], p.id))
	}
	switch {
	case p.given != nil:
		t.row = p.given.AppendBinary(t.row[:0])
		out.Put(state.AppendGivenKey(t.key[:0], p.id), t.row)
	case p.ungiven:
		out.Delete(state.AppendGivenKey(t.key[:0], p.id))
	}
	for _, week := range p.expired {
		out.Delete(state.AppendPlaylistKey(t.key[:0], p.id, week))
	}
	return nil
}

// appendCore appends the core row. What only the row needs is made in the task's buffers: a listener in memory does without.
func (t *Task) appendCore(dst []byte, p *person) []byte {
	t.weeks, t.trust = p.weeks.AppendBinary(t.weeks[:0]), p.trust.AppendBinary(t.trust[:0])
	p.history.export(&p.recall, noSong, &t.entry.Remembered)
	c := &p.core
	c.Weeks, c.Trust, c.Remembered = t.weeks, t.trust, t.entry.Remembered
	dst = c.AppendBinary(dst)
	c.Weeks, c.Trust, c.Remembered = nil, nil, state.Remembered{}
	return dst
}

// writeZone keeps the emitter's index: a listener stands under exactly one zone.
func (t *Task) writeZone(p *person, out *stream.Output) error {
	zone := t.zones.of(p.core.Zone, p.core.Region)
	if zone == p.core.ServedZone {
		return nil
	}
	if p.core.ServedZone != "" {
		out.Delete(state.AppendZoneKey(t.key[:0], p.core.ServedZone, p.id))
	}
	p.core.ServedZone = zone
	out.Put(state.AppendZoneKey(t.key[:0], zone, p.id), []byte{1})
	return nil
}

// remove deletes every stored row of a listener but those that are written again in the same transaction.
func (t *Task) remove(p *person, out *stream.Output) error {
	var keys [][]byte
	err := t.store.Scan(state.AppendUserPrefix(nil, p.id), func(key, _ []byte) error {
		k, err := state.ParseUserKey(key)
		if err != nil {
			return err
		}
		if !p.rewrites(k) {
			keys = append(keys, slices.Clone(key))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the rows to erase: %w", err)
	}
	for _, key := range keys {
		out.Delete(key)
	}
	if p.wipedZone != "" && (p.erased || p.wipedZone != t.zones.of(p.core.Zone, p.core.Region)) {
		out.Delete(state.AppendZoneKey(nil, p.wipedZone, p.id))
	}
	return nil
}

// rewrites says whether a row of an erased listener who came back is written, or deleted, in this transaction anyway.
func (p *person) rewrites(k state.UserKey) bool {
	if p.erased {
		return false
	}
	switch k.Row {
	case state.RowCore:
		return true
	case state.RowFrozen:
		return p.frozen != nil || p.thawed
	case state.RowGiven:
		return p.given != nil || p.ungiven
	case state.RowHistory:
		_, heard := p.history.find(factor.Key(k.Song))
		return heard
	default:
		return slices.Contains(p.weekly, k.Week) || slices.Contains(p.expired, k.Week)
	}
}

// profileOf is the listener as the ranker sees them.
func (t *Task) profileOf(p *person, now int64) rank.Listener {
	l := rank.Listener{
		Vector: p.core.Vector, Region: factor.Region(p.core.Region).String(), Languages: p.core.Languages,
		Discovery: t.discovery(p), ViralAffinity: viralAffinity(p, now),
	}
	// An exclusion is no use of taste: whoever opted out is still never given what they banned, heard or just got.
	for _, list := range p.lists {
		l.Excluded = t.known(l.Excluded, list.songs)
	}
	for _, artist := range p.core.Artists {
		if row, ok := t.table.Lookup(factor.Key(artist)); ok {
			l.ExcludedArtists = append(l.ExcludedArtists, row)
		}
	}
	if p.core.OptOut {
		l.Vector = nil // region and popularity only
		for i := range p.history.entries {
			if song, ok := t.songOf(&p.history.entries[i]); ok {
				l.Excluded = append(l.Excluded, song)
			}
		}
		return l
	}
	l.History = make([]rank.Heard, 0, len(p.history.entries))
	for i := range p.history.entries {
		h := &p.history.entries[i]
		song, known := t.songOf(h)
		if !known {
			continue
		}
		l.History = append(l.History, rank.Heard{
			Song: song, Value: h.Engagement.Value, At: h.Engagement.At, Plays: int(h.Plays),
		})
	}
	return l
}

func (t *Task) discovery(p *person) float64 {
	if p.core.Discovery >= 0 {
		return float64(p.core.Discovery)
	}
	return t.cfg.Discovery
}

// viralAffinity is the mean of Beta(1 + completions, 3 + skips) of songs on trend (models.md B.7).
func viralAffinity(p *person, now int64) float64 {
	likes, skips := p.core.ViralLikes.Read(now, skipHalfLife), p.core.ViralSkips.Read(now, skipHalfLife)
	return (1 + likes) / (4 + likes + skips)
}

// known appends the songs of a list that the table has: of the others there is nothing to exclude.
func (t *Task) known(dst []factor.Index, list []factor.Key) []factor.Index {
	for _, key := range list {
		if song, ok := t.table.Lookup(key); ok {
			dst = append(dst, song)
		}
	}
	return dst
}
