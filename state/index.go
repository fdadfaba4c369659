package state

import (
	"encoding/binary"
	"fmt"
)

// First bytes of the rows that belong to a task as a whole.
const (
	familyDone   = 'w'
	familySeason = 's'
	familyClock  = 'c'
	familyHeld   = 'h' // behind the factor rows, which are of the same partition
)

// ZoneFamily returns the prefix of all index entries of time zones.
func ZoneFamily() []byte { return []byte{familyZone} }

// ZoneFamilyEnd returns the first key behind all index entries of time zones.
func ZoneFamilyEnd() []byte { return []byte{familyZone + 1} }

// ZoneEnd returns the first key behind all index entries of a time zone.
func ZoneEnd(zone string) []byte { return prefixEnd(AppendZonePrefix(nil, zone)) }

// DoneFamily returns the prefix of the rows that tell which weeks were emitted to the end.
func DoneFamily() []byte { return []byte{familyDone} }

// AppendDoneKey appends the key of the emitted weeks of one time zone.
func AppendDoneKey(dst []byte, zone string) []byte { return append(append(dst, familyDone), zone...) }

// ParseDoneKey returns the time zone of such a key.
func ParseDoneKey(key []byte) (zone string, err error) {
	if len(key) < 2 || key[0] != familyDone || len(key) > 1+MaxZoneBytes {
		return "", fmt.Errorf("%w: not a row of emitted weeks", ErrKey)
	}
	return string(key[1:]), nil
}

// AppendSeasonKey appends the key of the traffic of one region; the zero region is the world.
func AppendSeasonKey(dst []byte, region [2]byte) []byte {
	return append(dst, familySeason, region[0], region[1])
}

// ParseSeasonKey returns the region of such a key.
func ParseSeasonKey(key []byte) (region [2]byte, err error) {
	if len(key) != 3 || key[0] != familySeason {
		return region, fmt.Errorf("%w: not a row of traffic", ErrKey)
	}
	return [2]byte{key[1], key[2]}, nil
}

// ClockKey returns the key of what a song task knows of the time: it comes before all other rows of the task.
func ClockKey() []byte { return []byte{familyClock} }

// AppendHeldKey appends the key of listens that a song task has not counted yet.
func AppendHeldKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, familyHeld), number)
}

// ParseHeldKey returns the number of such a key.
func ParseHeldKey(key []byte) (number uint64, err error) {
	if len(key) != 9 || key[0] != familyHeld {
		return 0, fmt.Errorf("%w: not listens that wait", ErrKey)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}
