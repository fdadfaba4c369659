package listeners

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// Bad says in which way an event is broken.
type Bad uint8

// The ways; BadNone is a good event. Each of the others makes any correct reader refuse the record.
const (
	BadNone        Bad = iota
	BadTruncated       // JSON that ends in the middle
	BadNoUser          // no user_id
	BadUnknownType     // a type nobody knows
	BadWrongType       // an object where an id belongs
	badCount
)

// Event is one event as a client sends it. Strings belong to the world and live as long as it does.
type Event struct {
	// ID is a UUIDv7 of At; an event sent again has the same.
	ID [16]byte
	// Kind is play, skip, like, unlike, dislike, ban, playlist_add, share, playlist_open or onboarding.
	Kind string
	// User and Song are wire ids; Song is empty where the kind has none.
	User, Song string
	// At is when it happened, SentAt when it is sent: the stream is in order of SentAt. Both Unix ms.
	At, SentAt int64
	// PlayedMs, DurationMs and PositionMs are -1 where the kind has none.
	PlayedMs, DurationMs, PositionMs int64
	// Region, Device and Source use the wire's words.
	Region, Device, Source string
	// PlaylistID and Slot are set for what is played from a weekly playlist; Slot is -1 otherwise.
	PlaylistID [16]byte
	Slot       int
	// Genres and Artists are an onboarding listener's choice.
	Genres, Artists []string

	// Listener and SongIndex number User and Song in the world; SongIndex is -1 without a song.
	Listener, SongIndex int
	// Duplicate events were sent before, Late ones have SentAt minutes to days after At.
	Duplicate, Late bool
	// Bad events are broken by AppendJSON.
	Bad Bad
}

// AppendJSON appends the event in the public JSON spelling, broken when it is a bad one.
func (e *Event) AppendJSON(dst []byte) []byte {
	from := len(dst)
	kind := e.Kind
	if e.Bad == BadUnknownType {
		kind = "teleport"
	}
	dst = append(appendUUID(append(dst, `{"event_id":"`...), e.ID), `","type":"`...)
	dst = append(append(dst, kind...), '"')
	switch e.Bad {
	case BadNoUser:
	case BadWrongType:
		dst = append(dst, `,"user_id":{"id":17}`...)
	default:
		dst = text(dst, "user_id", e.User)
	}
	dst = text(dst, "song_id", e.Song)
	dst = number(dst, "at", e.At)
	dst = number(dst, "ms_played", e.PlayedMs)
	dst = number(dst, "duration_ms", e.DurationMs)
	dst = number(dst, "position_ms", e.PositionMs)
	dst = text(dst, "region", e.Region)
	dst = text(dst, "device", e.Device)
	dst = text(dst, "source", e.Source)
	if e.PlaylistID != [16]byte{} {
		dst = append(appendUUID(append(dst, `,"playlist_id":"`...), e.PlaylistID), '"')
	}
	dst = number(dst, "slot", int64(e.Slot))
	dst = list(dst, "genres", e.Genres)
	dst = list(dst, "artists", e.Artists)
	dst = append(dst, '}')
	if e.Bad == BadTruncated {
		dst = dst[:from+(len(dst)-from)/2]
	}
	return dst
}

// text needs no escaping: ids, names and words of this package hold no quotes, backslashes or control characters.
func text(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":"`...)
	return append(append(dst, value...), '"')
}

func number(dst []byte, name string, value int64) []byte {
	if value < 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return strconv.AppendInt(dst, value, 10)
}

func list(dst []byte, name string, values []string) []byte {
	if len(values) == 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":[`...)
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), v...), '"')
	}
	return append(dst, ']')
}

func appendUUID(dst []byte, id [16]byte) []byte {
	dst = append(hex.AppendEncode(dst, id[0:4]), '-')
	dst = append(hex.AppendEncode(dst, id[4:6]), '-')
	dst = append(hex.AppendEncode(dst, id[6:8]), '-')
	dst = append(hex.AppendEncode(dst, id[8:10]), '-')
	return hex.AppendEncode(dst, id[10:16])
}

// The kinds, devices and sources as a record numbers them.
const (
	kindPlay = iota
	kindSkip
	kindLike
	kindUnlike
	kindDislike
	kindBan
	kindPlaylistAdd
	kindShare
	kindPlaylistOpen
	kindOnboarding
)

var (
	kindNames   = [...]string{"play", "skip", "like", "unlike", "dislike", "ban", "playlist_add", "share", "playlist_open", "onboarding"}
	deviceNames = [...]string{"mobile", "desktop", "mobile", "web", "speaker", "mobile"}
	sourceNames = [...]string{"", "library", "playlist", "artist", "album", "chart", "search", "radio", "autoplay", "share", "weekly"}
)

const (
	sourceNone = iota
	sourceLibrary
	sourcePlaylist
	sourceArtist
	sourceAlbum
	sourceChart
	sourceSearch
	sourceRadio
	sourceAutoplay
	sourceShare
	sourceWeekly
)

// record is an event before it is sent, as small as it can be: a day of them waits to be put in order.
type record struct {
	sent, at  int64
	who, song int32
	played    int32 // ms, -1 = none
	position  int32
	number    uint32 // of the listener's events
	kind      uint8
	source    uint8
	slot      int8
	duplicate bool
	late      bool
	bad       Bad
}

// event spells a record out.
func (w *World) event(r *record) Event {
	p := &w.people[r.who]
	e := Event{
		Kind: kindNames[r.kind], User: w.users[r.who], At: r.at, SentAt: r.sent,
		PlayedMs: int64(r.played), DurationMs: -1, PositionMs: int64(r.position),
		Region: regionTable[p.region].code, Device: deviceNames[p.device], Source: sourceNames[r.source], Slot: -1,
		Listener: int(r.who), SongIndex: int(r.song), Duplicate: r.duplicate, Late: r.late, Bad: r.bad,
	}
	e.ID = w.eventID(r)
	if r.song >= 0 {
		e.Song = w.ids[r.song]
	}
	if r.kind <= kindSkip {
		e.DurationMs = int64(w.songs[r.song].duration)
	}
	switch {
	case r.kind == kindOnboarding:
		e.Genres, e.Artists = w.onboarding(p)
	case r.source == sourceWeekly:
		e.Slot = int(r.slot)
		// Asked for again, not kept in the record: few events come from a weekly playlist.
		e.PlaylistID = w.cfg.Playlists(int(r.who), w.weekOf(r.at)).ID
	}
	return e
}

// eventID is a UUIDv7 whose random part is a hash of the listener and the number of the event.
func (w *World) eventID(r *record) (id [16]byte) {
	d := dice(mix(w.cfg.Seed ^ mix(uint64(r.who)<<32|uint64(r.number)) + uint64(r.kind))) //nolint:gosec // not negative
	binary.BigEndian.PutUint64(id[0:], uint64(r.at)<<16|d.next()&0x0fff|0x7000)           //nolint:gosec // after 1970
	binary.BigEndian.PutUint64(id[8:], d.next()>>2|1<<63)
	return id
}

// onboarding is what a newcomer ticks: the genres of the interests, and the best known artist of each scene.
func (w *World) onboarding(p *listener) (genres, artists []string) {
	for k := range p.count {
		z := &w.scenes[p.interests[k].scene]
		genres = append(genres, genreNames[z.genre])
		best := z.songs[0]
		for _, s := range z.songs {
			if w.songs[s].weight > w.songs[best].weight {
				best = s
			}
		}
		artists = append(artists, w.names[w.songs[best].artist])
	}
	return genres, artists
}
