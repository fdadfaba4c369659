package schemas

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// LayoutKey is the key of the record that holds the Layout.
const LayoutKey = "layout"

// Layout says which generation of the internal topics is in force. The zero
// value is that of an application that was never resharded.
type Layout struct {
	// Current is in force; its number is 0 before the first move, which means 1.
	Current Generation `json:"current"`
	// Newest is the number of the newest generation that was ever begun.
	Newest int `json:"newest,omitempty"`
	// Kept are earlier generations whose topics are still there.
	Kept []Generation `json:"kept,omitempty"`
	// Move is under way, nil if none is.
	Move *Move `json:"move,omitempty"`
}

// Generation is one set of the internal topics that have P partitions.
type Generation struct {
	Number     int   `json:"number"`
	Partitions int32 `json:"partitions"`
}

// Move is the copying of one generation into another.
type Move struct {
	To Generation `json:"to"`
	// StartedAt is when it was asked for first, Unix ms.
	StartedAt int64 `json:"started_at"`
	// WaitingOnly leaves listens behind that were processed.
	WaitingOnly bool `json:"waiting_only,omitempty"`
	// Frozen is where the old topics stood when nobody could change them any more; nil before.
	Frozen []Frozen `json:"frozen,omitempty"`
	// Runs counts the runs that worked on it.
	Runs int `json:"runs"`
}

// Frozen is where one partition of the old generation stands: its first
// offset, the one after its last, and the one that its group goes on from.
type Frozen struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Committed int64  `json:"committed"`
}

// Number returns the number of the generation in force.
func (l *Layout) Number() int { return max(1, l.Current.Number) }

// Generation returns the names of the topics of one generation; only those
// of internal topics with P partitions differ.
func (t Topics) Generation(number int) Topics {
	if number <= 1 {
		return t
	}
	suffix := "-g" + strconv.Itoa(number)
	for _, name := range []*string{&t.Listens, &t.ListenerChangelog, &t.SongUpdates, &t.SongFactors, &t.Ticks} {
		*name += suffix
	}
	return t
}

// FirstName returns the name that an internal topic had in the first
// generation: what the same topic has in common with itself over all of them.
func FirstName(topic string) string {
	at := strings.LastIndex(topic, "-g")
	if at < 0 {
		return topic
	}
	if n, err := strconv.Atoi(topic[at+2:]); err != nil || n < 2 {
		return topic
	}
	return topic[:at]
}

// Moving returns the topics that belong to a generation.
func (t Topics) Moving() []string {
	return []string{t.Listens, t.ListenerChangelog, t.SongUpdates, t.SongFactors, t.Ticks}
}

// AppendJSON appends the value of the record.
func (l *Layout) AppendJSON(dst []byte) ([]byte, error) {
	value, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding the layout: %w", err)
	}
	return append(dst, value...), nil
}

// ParseLayout reads the value of the record. The error is a *DecodeError.
func ParseLayout(value []byte) (Layout, error) {
	var l Layout
	if err := json.Unmarshal(value, &l); err != nil {
		return Layout{}, refuse(CodeNotJSON, "", reason("not a layout"))
	}
	if l.Current.Number < 0 || l.Current.Partitions < 0 || l.Newest < l.Current.Number {
		return Layout{}, refuse(CodeOutOfRange, "current", reason("not a generation"))
	}
	if l.Move != nil && (l.Move.To.Number <= l.Current.Number || l.Move.To.Partitions < 1) {
		return Layout{}, refuse(CodeOutOfRange, "move", reason("not a generation"))
	}
	return l, nil
}
