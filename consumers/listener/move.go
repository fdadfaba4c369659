package listener

import (
	"earworm/consumers/stream"
	"earworm/schemas"
)

// mayMove says whether an event can change the zone of somebody who may be owed a playlist: a profile can, and the first region.
func mayMove(p *person, e *schemas.Event) bool {
	if p.core.FirstAt == 0 {
		return false
	}
	return e.Kind == schemas.KindProfile || (p.core.Region == [2]byte{} && e.Region != [2]byte{})
}

// moved serves a listener who goes from a zone that still waits for its week to one whose emission is done or under way: they leave
// the index of the one before its emission and enter that of the other behind its cursor, so neither would find them.
func (t *Task) moved(p *person, from string, out *stream.Output) error {
	zone := t.zones.of(p.core.Zone, p.core.Region)
	if zone == from {
		return nil
	}
	week, ok := t.done.newest[zone]
	if !ok || t.done.has(from, week) {
		return nil // the zone they leave has served them
	}
	delivery := t.delivery(week, zone)
	return t.serve(p.id, week, delivery, schemas.Tick{At: max(delivery.UnixMilli(), p.core.LastAt)}, out)
}
