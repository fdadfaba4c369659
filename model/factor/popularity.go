package factor

import (
	"slices"
	"time"

	"earworm/model/decay"
)

// Half-lives of the popularity counters.
const (
	HalfLifeDay   = decay.HalfLife(24 * time.Hour)
	HalfLifeWeek  = decay.HalfLife(7 * 24 * time.Hour)
	HalfLifeMonth = decay.HalfLife(28 * 24 * time.Hour)
)

// Region is an ISO 3166 alpha-2 code; the zero Region is the whole world.
type Region [2]byte

// RegionOf returns the Region of a two-letter code and the zero Region for anything else.
func RegionOf(code string) Region {
	if len(code) != 2 {
		return Region{}
	}
	return Region{code[0], code[1]}
}

// String returns the two letters, "" for the whole world.
func (r Region) String() string {
	if r == (Region{}) {
		return ""
	}
	return string(r[:])
}

// RegionCount is the popularity of a song in one region.
type RegionCount struct {
	Region Region
	Week   decay.Counter // half-life HalfLifeWeek
}

// Popularity counts the first listens of a song, decayed. The counters are exact in any order of arrival.
type Popularity struct {
	Total            float64       // all first listens, never decayed
	Day, Week, Month decay.Counter // half-lives of a day, a week, 28 days
	Regions          []RegionCount // at most Params.RegionsMax, those with the most recent listens
}

// Add counts weight first listens at an instant in Unix ms.
func (p *Popularity) Add(limits Params, region Region, at int64, weight float64) {
	p.Total += weight
	p.Day.Add(weight, at, HalfLifeDay)
	p.Week.Add(weight, at, HalfLifeWeek)
	p.Month.Add(weight, at, HalfLifeMonth)
	if region == (Region{}) || limits.RegionsMax == 0 {
		return
	}
	n := slices.IndexFunc(p.Regions, func(c RegionCount) bool { return c.Region == region })
	if n < 0 && len(p.Regions) < limits.RegionsMax {
		n, p.Regions = len(p.Regions), append(p.Regions, RegionCount{Region: region})
	}
	if n < 0 { // the weakest region gives way: with a decay of a week it is one in which nobody listens any more
		n = 0
		for i := range p.Regions {
			if p.Regions[i].Week.Read(at, HalfLifeWeek) < p.Regions[n].Week.Read(at, HalfLifeWeek) {
				n = i
			}
		}
		p.Regions[n] = RegionCount{Region: region}
	}
	p.Regions[n].Week.Add(weight, at, HalfLifeWeek)
}

// Remove takes weight first listens back that Add counted at the same instant. No decayed count becomes negative, and Total, which
// counts what happened, stays.
func (p *Popularity) Remove(region Region, at int64, weight float64) {
	take := func(c *decay.Counter, h decay.HalfLife) {
		if at <= c.At {
			c.Value = max(0, c.Value-weight*h.Factor(at, c.At))
		}
	}
	take(&p.Day, HalfLifeDay)
	take(&p.Week, HalfLifeWeek)
	take(&p.Month, HalfLifeMonth)
	for i := range p.Regions {
		if p.Regions[i].Region == region {
			take(&p.Regions[i].Week, HalfLifeWeek)
		}
	}
}

// In returns the decayed weekly count of a region at an instant.
func (p Popularity) In(region Region, at int64) float64 {
	for i := range p.Regions {
		if p.Regions[i].Region == region {
			return p.Regions[i].Week.Read(at, HalfLifeWeek)
		}
	}
	return 0
}

// TrendStatus is the state of a song's trend.
type TrendStatus uint8

// The states of a trend. A quarantined song is counted but never put into a playlist as a trend.
const (
	TrendNone TrendStatus = iota
	TrendOngoing
	TrendQuarantined
)

// RegionTrend is the trend of a song in a region, or in the whole world for the zero Region.
type RegionTrend struct {
	Region    Region
	Status    TrendStatus
	StartedAt int64   // Unix ms
	Score     float32 // standard deviations above what was expected
}

// TrendInfo lists where a song is trending. The zero TrendInfo is a song that is not.
type TrendInfo struct{ Regions []RegionTrend }

// Best returns the strongest ongoing trend that a listener of the region can see: the region's or the world's.
func (t TrendInfo) Best(region Region) (RegionTrend, bool) {
	var best RegionTrend
	found := false
	for _, r := range t.Regions {
		visible := r.Region == region || r.Region == (Region{})
		if visible && r.Status == TrendOngoing && (!found || r.Score > best.Score) {
			best, found = r, true
		}
	}
	return best, found
}

// Quarantined reports whether the song is quarantined anywhere: its plays look bought.
func (t TrendInfo) Quarantined() bool {
	return slices.ContainsFunc(t.Regions, func(r RegionTrend) bool { return r.Status == TrendQuarantined })
}

// Stats are what a song task publishes of a song beside its factors.
type Stats struct {
	Popularity      Popularity
	Trend           TrendInfo
	FirstAt, LastAt int64 // first and latest listen, Unix ms; 0 = never
}

// Stats returns the published statistics of a song. The caller must not change the slices in it.
func (t *Table) Stats(song Index) Stats {
	c, at := t.at(song)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	if s := c.rows[at].stats; s != nil {
		return *s
	}
	return Stats{}
}
