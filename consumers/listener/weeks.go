package listener

import (
	"fmt"
	"maps"
	"slices"

	"earworm/consumers/stream"
	"earworm/model/calendar"
	"earworm/state"
)

// doneWeeks knows, for each zone, the weeks that this partition emitted to the end.
type doneWeeks struct {
	zones map[string]*calendar.WeekSet
	dirty map[string]bool
	// newest is the last week of each zone that is done or under way. What is under way is known from its first chunk on that
	// this process handles.
	newest map[string]calendar.Week
	broken error // the store could not be read after an abandoned transaction
}

func (d *doneWeeks) load(store stream.Store) error {
	*d = doneWeeks{
		zones: map[string]*calendar.WeekSet{}, dirty: map[string]bool{}, newest: map[string]calendar.Week{},
	}
	err := store.Scan(state.DoneFamily(), func(key, value []byte) error {
		zone, err := state.ParseDoneKey(key)
		if err != nil {
			return err
		}
		set := &calendar.WeekSet{}
		if _, err := set.UnmarshalBinary(value); err != nil {
			return fmt.Errorf("weeks of a zone: %w", err)
		}
		d.zones[zone] = set
		if week, ok := set.Last(); ok {
			d.begin(zone, week)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the emitted weeks: %w", err)
	}
	return nil
}

func (d *doneWeeks) has(zone string, week calendar.Week) bool {
	set, ok := d.zones[zone]
	return ok && set.Has(week)
}

// begin notes that a zone's week is under way.
func (d *doneWeeks) begin(zone string, week calendar.Week) {
	if newest, ok := d.newest[zone]; !ok || newest.Before(week) {
		d.newest[zone] = week
	}
}

func (d *doneWeeks) add(zone string, week calendar.Week) {
	set, ok := d.zones[zone]
	if !ok {
		set = &calendar.WeekSet{}
		d.zones[zone] = set
	}
	if set.Add(week) {
		d.dirty[zone] = true
	}
}

func (d *doneWeeks) write(out *stream.Output) error {
	for _, zone := range slices.Sorted(maps.Keys(d.dirty)) {
		out.Put(state.AppendDoneKey(nil, zone), d.zones[zone].AppendBinary(nil))
	}
	return nil
}

func (d *doneWeeks) settled() { clear(d.dirty) }
