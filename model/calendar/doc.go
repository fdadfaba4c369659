// Package calendar answers when a listener's week begins: ISO weeks, the local delivery instant of a week, the
// time zone of a region, and compact sets of weeks.
//
// The invariant it protects: every (week, zone, hour) has exactly one delivery instant, delivery instants of
// consecutive weeks are strictly increasing, and the instant does not depend on the machine's own zone. So
// "one playlist per listener and week" needs no more than a set of weeks.
//
// It refuses to read the clock, to know which listeners live where, and to keep a cache of zones: callers
// pass *time.Location and hold on to it. Only Zone touches the tz database.
package calendar
