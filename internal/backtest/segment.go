package backtest

// segment numbers a part of the listeners or of the items.
type segment uint8

// The parts, in the order of their numbers.
var (
	ageNames        = []string{"under_7_days", "under_28_days", "older", "not_out"}
	historyNames    = []string{"0-3", "4-20", "more"}
	mainstreamNames = []string{"low", "middle", "high"}
)

const (
	ageWeek segment = iota
	ageMonth
	ageOlder
	ageNotOut // at the freeze: nobody could list it who does not know what will come out
)

// ageOf is the part of the items that one belongs to at a freeze. An item is as old as its release, or else its first mention.
func (d *Dataset) ageOf(item int32, freeze int64) segment {
	switch age := freeze - d.bornAt(item); {
	case age <= 0:
		return ageNotOut
	case age < weekMs:
		return ageWeek
	case age < 4*weekMs:
		return ageMonth
	}
	return ageOlder
}

func (d *Dataset) bornAt(item int32) int64 {
	if released := d.ItemMeta[item].ReleasedAt; released != 0 {
		return released
	}
	return d.mentioned[item]
}

// historyOf is the part of the listeners that one with so many different items belongs to.
func historyOf(items int) segment {
	switch {
	case items <= 3:
		return 0
	case items <= 20:
		return 1
	}
	return 2
}
