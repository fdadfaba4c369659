package listener

import (
	"fmt"

	"earworm/consumers/stream"
	"earworm/state"
)

// Splitter says what the rows of a listener task become when its partition is split.
type Splitter struct{ split stream.Split }

// NewSplitter returns a Splitter.
func NewSplitter(split stream.Split) *Splitter { return &Splitter{split: split} }

// Split calls put for each row that a row of the changelog becomes. Key and value are valid during the call.
func (s *Splitter) Split(partition int32, key, value []byte, put func(to int32, key, value []byte)) error {
	return s.Facts(key, value, func(f stream.Fact) {
		if f.Home != nil {
			put(s.split.Of(f.Home), key, value)
			return
		}
		// A week that was emitted to the end in a zone of the partition was so for each part of its listeners.
		for to := range s.split.Parts(partition) {
			put(to, key, value)
		}
	})
}

// rowFamilies names the rows of a listener.
var rowFamilies = map[state.UserRow]string{ //nolint:gochecknoglobals // a constant that Go cannot spell
	state.RowCore: "listeners", state.RowHistory: "history entries", state.RowPlaylist: "remembered playlists", state.RowFrozen: "frozen candidates",
	state.RowGiven: "tracks that wait for outcomes",
}

// Facts calls yield for what a row says.
func (*Splitter) Facts(key, value []byte, yield func(stream.Fact)) error {
	if user, err := state.ParseUserKey(key); err == nil {
		yield(stream.Fact{Family: rowFamilies[user.Row], Home: user.User, Key: key, Value: value})
		return nil
	}
	if _, user, err := state.ParseZoneKey(key); err == nil {
		yield(stream.Fact{Family: "index by zone", Home: user, Key: key, Value: value})
		return nil
	}
	if _, err := state.ParseDoneKey(key); err != nil {
		return fmt.Errorf("a row of an unknown family: %w", err)
	}
	yield(stream.Fact{Family: "weeks done", Key: key, Value: value})
	return nil
}
