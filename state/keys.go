package state

import (
	"encoding/binary"
	"fmt"

	"earworm/internal/invariant"
)

// MaxIDBytes bounds every id (listener, song, artist ...) that becomes part of a key. Producers may send 256 bytes, and a pseudonym
// is somewhat longer than the id that it hides.
const MaxIDBytes = 256 + 64

// MaxZoneBytes bounds the name of a time zone in a key.
const MaxZoneBytes = 64

// First bytes of the key families. 0x00 and 0xff are reserved for the store itself.
const (
	familyUser   = 'u'
	familyZone   = 'z'
	familyFactor = 'f'
	familyNear   = 'n'
)

// Keys of another family. Whoever goes through rows of all families asks each key which it is: the answer must not be made anew each time.
var (
	errNotUser   = fmt.Errorf("%w: not a listener's", ErrKey)
	errNotFactor = fmt.Errorf("%w: not a factor row's", ErrKey)
	errNotNear   = fmt.Errorf("%w: not the neighbours of a song", ErrKey)
)

// UserRow says which row of a listener a key names.
type UserRow byte

// The rows of a listener, in key order.
const (
	RowCore     UserRow = '0'
	RowHistory  UserRow = '1'
	RowPlaylist UserRow = '2'
	RowFrozen   UserRow = '3'
	RowGiven    UserRow = '4'
)

// UserKey is a parsed key of a listener's row. User aliases the key.
type UserKey struct {
	User []byte
	Row  UserRow
	// Song is the song's factor key, for RowHistory.
	Song uint64
	// Week is the week's ordinal, for RowPlaylist.
	Week int32
}

// AppendUserPrefix appends the prefix that all rows of a listener share and no other row has.
// The length before the id keeps the listeners apart: no id is a prefix of another.
func AppendUserPrefix(dst []byte, user []byte) []byte {
	return appendID(append(dst, familyUser), user)
}

// AppendCoreKey appends the key of a listener's core row.
func AppendCoreKey(dst []byte, user []byte) []byte {
	return append(AppendUserPrefix(dst, user), byte(RowCore))
}

// AppendHistoryPrefix appends the prefix of a listener's history rows.
func AppendHistoryPrefix(dst []byte, user []byte) []byte {
	return append(AppendUserPrefix(dst, user), byte(RowHistory))
}

// AppendHistoryKey appends the key of the history row of a listener and a song.
func AppendHistoryKey(dst []byte, user []byte, song uint64) []byte {
	return binary.BigEndian.AppendUint64(AppendHistoryPrefix(dst, user), song)
}

// AppendPlaylistPrefix appends the prefix of a listener's playlist rows, which sort by week.
func AppendPlaylistPrefix(dst []byte, user []byte) []byte {
	return append(AppendUserPrefix(dst, user), byte(RowPlaylist))
}

// AppendPlaylistKey appends the key of the playlist a listener got in a week. Flipping the sign bit sorts weeks before 1970 first.
func AppendPlaylistKey(dst []byte, user []byte, week int32) []byte {
	return binary.BigEndian.AppendUint32(AppendPlaylistPrefix(dst, user), uint32(week)^1<<31) //nolint:gosec // bits
}

// AppendFrozenKey appends the key of the candidates of a listener that wait for what the listener does with them.
func AppendFrozenKey(dst []byte, user []byte) []byte {
	return append(AppendUserPrefix(dst, user), byte(RowFrozen))
}

// AppendGivenKey appends the key of the tracks of a listener's latest playlist, with their features, that wait for their outcomes.
func AppendGivenKey(dst []byte, user []byte) []byte {
	return append(AppendUserPrefix(dst, user), byte(RowGiven))
}

// AppendZonePrefix appends the prefix of the index entries of one time zone.
func AppendZonePrefix(dst []byte, zone string) []byte {
	if len(zone) > MaxZoneBytes {
		_ = invariant.Failf("a zone of %d bytes becomes a key", len(zone))
	}
	dst = append(dst, familyZone, byte(len(zone))) //nolint:gosec // at most MaxZoneBytes
	return append(dst, zone...)
}

// AppendZoneKey appends the index entry that says: this listener is served in this time zone.
func AppendZoneKey(dst []byte, zone string, user []byte) []byte {
	return appendID(AppendZonePrefix(dst, zone), user)
}

// AppendFactorPrefix appends the prefix of the factor rows of one kind.
func AppendFactorPrefix(dst []byte, kind byte) []byte { return append(dst, familyFactor, kind) }

// AppendFactorKey appends the key of the factor row of a song, artist, genre or language.
func AppendFactorKey(dst []byte, kind byte, id []byte) []byte {
	return appendID(AppendFactorPrefix(dst, kind), id)
}

// ParseUserKey takes apart a key of a listener's row.
func ParseUserKey(key []byte) (UserKey, error) {
	if len(key) == 0 || key[0] != familyUser {
		return UserKey{}, errNotUser
	}
	user, rest, err := cutID(key[1:])
	if err != nil {
		return UserKey{}, err
	}
	if len(rest) == 0 {
		return UserKey{}, fmt.Errorf("%w: names no row", ErrKey)
	}
	k := UserKey{User: user, Row: UserRow(rest[0])}
	rest = rest[1:]
	switch {
	case (k.Row == RowCore || k.Row == RowFrozen || k.Row == RowGiven) && len(rest) == 0:
	case k.Row == RowHistory && len(rest) == 8:
		k.Song = binary.BigEndian.Uint64(rest)
	case k.Row == RowPlaylist && len(rest) == 4:
		k.Week = int32(binary.BigEndian.Uint32(rest) ^ 1<<31) //nolint:gosec // bits
	default:
		return UserKey{}, fmt.Errorf("%w: unknown row of a listener", ErrKey)
	}
	return k, nil
}

// ParseZoneKey takes apart an index entry. The results alias the key.
func ParseZoneKey(key []byte) (zone, user []byte, err error) {
	if len(key) < 2 || key[0] != familyZone || int(key[1]) > MaxZoneBytes || len(key) < 2+int(key[1]) {
		return nil, nil, fmt.Errorf("%w: not a zone's", ErrKey)
	}
	zone, key = key[2:2+int(key[1])], key[2+int(key[1]):]
	user, rest, err := cutID(key)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: bytes left over", ErrKey)
	}
	return zone, user, err
}

// ParseFactorKey takes apart the key of a factor row. The id aliases the key.
func ParseFactorKey(key []byte) (kind byte, id []byte, err error) {
	if len(key) < 2 || key[0] != familyFactor {
		return 0, nil, errNotFactor
	}
	id, rest, err := cutID(key[2:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: bytes left over", ErrKey)
	}
	return key[1], id, err
}

// AppendNeighboursKey appends the key of the neighbours of a song.
func AppendNeighboursKey(dst []byte, song []byte) []byte {
	return appendID(append(dst, familyNear), song)
}

// ParseNeighboursKey takes apart such a key. The song aliases the key.
func ParseNeighboursKey(key []byte) (song []byte, err error) {
	if len(key) < 1 || key[0] != familyNear {
		return nil, errNotNear
	}
	song, rest, err := cutID(key[1:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: bytes left over", ErrKey)
	}
	return song, err
}

// appendID appends a length of two bytes and the id, so that keys sort by length and then by id.
func appendID(dst, id []byte) []byte {
	if len(id) > MaxIDBytes {
		_ = invariant.Failf("an id of %d bytes becomes a key", len(id))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(id))) //nolint:gosec // at most MaxIDBytes
	return append(dst, id...)
}

func cutID(b []byte) (id, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, fmt.Errorf("%w: ends early", ErrKey)
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > MaxIDBytes || n > len(b)-2 {
		return nil, nil, fmt.Errorf("%w: id is too long", ErrKey)
	}
	return b[2 : 2+n : 2+n], b[2+n:], nil
}

// prefixEnd returns the first key after every key with the prefix, or nil if there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
