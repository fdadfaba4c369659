package listener

import (
	"fmt"
	"time"

	"earworm/model/calendar"
)

// zones resolves the time zone in which a listener is served. Locations are cached: loading one reads the database.
type zones struct {
	fallback string
	loaded   map[string]*time.Location // nil entry: no such zone
	regions  map[[2]byte]string        // zone of a region, the fallback where it has none
}

func newZones(fallback string) (*zones, error) {
	z := &zones{fallback: fallback, loaded: map[string]*time.Location{}, regions: map[[2]byte]string{}}
	if z.location(fallback) == nil {
		return nil, fmt.Errorf("unknown time zone %q", fallback)
	}
	return z, nil
}

// of returns the zone of the profile, else of the region, else the configured one.
func (z *zones) of(profile string, region [2]byte) string {
	if profile != "" && z.location(profile) != nil {
		return profile
	}
	zone, known := z.regions[region]
	if !known {
		zone = z.fallback
		if found := calendar.ZoneOfRegion(string(region[:])); found != "" && z.location(found) != nil {
			zone = found
		}
		z.regions[region] = zone
	}
	return zone
}

// location returns nil for a zone that does not exist. "Local" would be this machine's: it is none.
func (z *zones) location(name string) *time.Location {
	if loc, ok := z.loaded[name]; ok {
		return loc
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		loc = nil
	}
	z.loaded[name] = loc
	return loc
}

// place is location for a zone that was served before: one that this machine's time zone database lacks is served in UTC.
func (z *zones) place(name string) *time.Location {
	if loc := z.location(name); loc != nil {
		return loc
	}
	return time.UTC
}
