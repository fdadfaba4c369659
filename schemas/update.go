package schemas

import (
	"encoding/binary"
	"math"
	"slices"
)

// Bounds of the compact song records.
const (
	maxDimensions = 4096
	maxBuckets    = 65_536
	maxRegions    = 1024
	maxAcks       = 65_536
	maxState      = 1 << 20
	maxPairs      = 1 << 20
)

// The first bytes of the compact song records.
const (
	songUpdatesVersion = 4 // 4: a mark; 3: records of several updates; of one they were 1 and 2
	songUpdateVersion  = 4 // 4: evidence instead of a bias; 2: pairs
	withdrawalVersion  = 5 // as 4, to be taken back, and CameAt
	refitVersion       = 6 // as 4, and Epoch and Base
	factorRowVersion   = 2 // evidence instead of a bias
	refittedRowVersion = 3 // as 2, and Epoch
	neighboursVersion  = 1
)

// SongUpdate is what one transaction of one listener task changed about one
// row. It travels with others for the same song task in one SongUpdates.
type SongUpdate struct {
	// Kind is the kind byte of the row and ID its id; ID aliases the input.
	Kind byte
	ID   []byte
	// Partition and Seq say where the change comes from: the listens partition
	// and an offset of it that grows from update to update.
	Partition int32
	Seq       int64
	// Count is the number of training steps the change combines.
	Count uint32
	// Vector and Evidence are to be added to the row. Vector is empty when nothing was learnt.
	Vector   []float32
	Evidence float32
	// Listens are the counts for popularity and the trend detector.
	Listens []ListenBucket
	// Listeners counts those who came to the song, and Pairs the songs that the same listeners had come to before or came to
	// after, all at PairsAt in Unix ms.
	Listeners uint32
	Pairs     []Pair
	PairsAt   int64
	// Withdraws says that the listens, listeners and pairs are taken back and not added: somebody who was erased had brought them.
	// Listeners came at CameAt, Unix ms, which only a withdrawal says.
	Withdraws bool
	CameAt    int64
	// Epoch is not 0 in an update that comes from a refit and from no listens partition. Vector then takes the row from where it was at
	// the refit's cut to where the refit has it, and counts only if the row's epoch is still Base.
	Epoch, Base uint32
}

// Pair is another song, by its factor key, and how many listeners it stands for.
type Pair struct {
	Song   uint64
	Weight float32
}

// ListenBucket counts what happened to a song in one region within five minutes.
type ListenBucket struct {
	Region [2]byte
	// At is the start of the bucket in Unix ms.
	At int64
	// First counts listeners who heard the song for the first time ever, Unique
	// those who did for the first time in 24 hours.
	First, Unique uint32
	// Trusted is the sum of the trust of the unique listeners.
	Trusted float32
	// Plays to Likes count events. ShortPlays ended at 30 to 36 s, as paid plays do.
	Plays, Skips, Completions, ShortPlays, Likes uint32
	// NewAccounts counts plays of listeners first seen in the last three days.
	NewAccounts uint32
	// TopPlays is the number of plays of the listener with the most.
	TopPlays uint32
}

// bucketBytes is the least a bucket takes.
const bucketBytes = 2 + 1 + 2 + 4 + 7

// SongUpdates is the value of a record: changes of rows of one song partition.
type SongUpdates struct {
	Mark    SongMark
	Updates []SongUpdate
}

// SongMark says how far a listens partition has come: what it had to tell this song partition of the listens that it had read when its
// event time was At, is in this record and in those before it. A later listen may still be older, as late ones are.
type SongMark struct {
	// Partition is the listens partition, or NoPartition.
	Partition int32
	// At is the event time in Unix ms; 0 in a record that others of the same transaction follow.
	At int64
}

// NoPartition is in the mark of a record that no listener task has sent: it says nothing of how far one has come.
const NoPartition = math.MaxInt32

// markBytes is the size of what a record begins with: the version and the mark.
const markBytes = 1 + 4 + 8

// updateMin is the least that an update takes behind its length of four bytes.
const updateMin = 4 + 10

// AppendSongUpdate appends an update to the value of a record. One that is empty begins with the update's partition and no time.
func AppendSongUpdate(dst []byte, u *SongUpdate) []byte {
	if len(dst) == 0 {
		dst = MarkSongUpdates(dst, SongMark{Partition: u.Partition})
	}
	from := len(dst)
	dst = u.AppendBinary(append(dst, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(dst[from:], uint32(len(dst)-from-4)) //nolint:gosec // a record is far smaller
	return dst
}

// MarkSongUpdates sets the mark of the value of a record; one that is empty becomes one without updates.
func MarkSongUpdates(dst []byte, m SongMark) []byte {
	if len(dst) == 0 {
		dst = append(dst, make([]byte, markBytes)...)
	}
	dst[0] = songUpdatesVersion
	binary.LittleEndian.PutUint32(dst[1:], uint32(m.Partition)) //nolint:gosec // bits
	binary.LittleEndian.PutUint64(dst[5:], uint64(m.At))        //nolint:gosec // bits
	return dst
}

// UnmarshalBinary reads the value of a record; what was in s is reused. The ids
// alias b. The error wraps a *DecodeError; s is then undefined.
func (s *SongUpdates) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	s.Mark = r.mark()
	s.Updates = s.Updates[:0]
	for len(r.rest) > 0 && !r.bad {
		if len(r.rest) < updateMin {
			r.bad = true
			break
		}
		one := r.take(int(binary.LittleEndian.Uint32(r.take(4))))
		if len(s.Updates) < cap(s.Updates) {
			s.Updates = s.Updates[:len(s.Updates)+1]
		} else {
			s.Updates = append(s.Updates, SongUpdate{})
		}
		if err := s.Updates[len(s.Updates)-1].UnmarshalBinary(one); err != nil {
			return err
		}
	}
	return r.finish("song updates")
}

// mark reads what a record begins with.
func (r *reader) mark() SongMark {
	r.version(songUpdatesVersion)
	b := r.take(markBytes - 1)
	if b == nil {
		return SongMark{}
	}
	m := SongMark{
		Partition: int32(binary.LittleEndian.Uint32(b)),     //nolint:gosec // checked below
		At:        int64(binary.LittleEndian.Uint64(b[4:])), //nolint:gosec // checked below
	}
	r.bad = r.bad || m.Partition < 0 || m.At < 0
	return m
}

// AppendBinary appends the compact form of u.
func (u *SongUpdate) AppendBinary(dst []byte) []byte {
	version := byte(songUpdateVersion)
	switch {
	case u.Withdraws:
		version = withdrawalVersion
	case u.Epoch != 0:
		version = refitVersion
	}
	dst = append(dst, version, u.Kind)
	dst = appendBytes(dst, u.ID)
	dst = binary.AppendVarint(dst, int64(u.Partition))
	dst = binary.AppendVarint(dst, u.Seq)
	dst = binary.AppendUvarint(dst, uint64(u.Count))
	dst = appendFloats(dst, u.Vector)
	dst = appendFloat32(dst, u.Evidence)
	dst = binary.AppendUvarint(dst, uint64(len(u.Listens)))
	for i := range u.Listens {
		l := &u.Listens[i]
		dst = append(dst, l.Region[:]...)
		dst = binary.AppendVarint(dst, l.At)
		dst = binary.AppendUvarint(dst, uint64(l.First))
		dst = binary.AppendUvarint(dst, uint64(l.Unique))
		dst = appendFloat32(dst, l.Trusted)
		for _, n := range [...]uint32{
			l.Plays, l.Skips, l.Completions, l.ShortPlays, l.Likes, l.NewAccounts, l.TopPlays,
		} {
			dst = binary.AppendUvarint(dst, uint64(n))
		}
	}
	dst = binary.AppendUvarint(dst, uint64(u.Listeners))
	dst = appendPairs(dst, u.Pairs)
	dst = binary.AppendVarint(dst, u.PairsAt)
	switch version {
	case withdrawalVersion:
		dst = binary.AppendVarint(dst, u.CameAt)
	case refitVersion:
		dst = binary.AppendUvarint(dst, uint64(u.Epoch))
		dst = binary.AppendUvarint(dst, uint64(u.Base))
	}
	return dst
}

// UnmarshalBinary reads the compact form into u, whose slices are reused. ID
// aliases b. The error wraps a *DecodeError; u is then undefined.
func (u *SongUpdate) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	version := r.versionOf(songUpdateVersion, withdrawalVersion, refitVersion)
	u.Kind = r.byte()
	u.ID = r.bytes(maxInternalID)
	u.Partition = r.int32()
	u.Seq = r.varint()
	u.Count = r.uint32()
	u.Vector = r.floats(u.Vector)
	u.Evidence = r.float32()
	u.Listens = u.Listens[:0]
	for range r.count(maxBuckets, bucketBytes) {
		l := ListenBucket{Region: r.region(), At: r.varint(), First: r.uint32(), Unique: r.uint32(), Trusted: r.float32()}
		for _, n := range [...]*uint32{
			&l.Plays, &l.Skips, &l.Completions, &l.ShortPlays, &l.Likes, &l.NewAccounts, &l.TopPlays,
		} {
			*n = r.uint32()
		}
		u.Listens = append(u.Listens, l)
	}
	u.Listeners = r.uint32()
	u.Pairs = r.pairs(u.Pairs)
	u.PairsAt = r.varint()
	u.Withdraws, u.CameAt, u.Epoch, u.Base = version == withdrawalVersion, 0, 0, 0
	switch version {
	case withdrawalVersion:
		u.CameAt = r.varint()
	case refitVersion:
		u.Epoch, u.Base = r.uint32(), r.uint32()
		r.bad = r.bad || u.Epoch == 0
	default:
	}
	return r.finish("song update")
}

// Neighbours is a published row of the co-occurrence counts: of whom came to
// a song, and of those how many came to which others. All counts are valid at At (Unix ms).
type Neighbours struct {
	At        int64
	Listeners float32
	Pairs     []Pair
}

// AppendBinary appends the compact form of n.
func (n *Neighbours) AppendBinary(dst []byte) []byte {
	dst = append(dst, neighboursVersion)
	dst = binary.AppendVarint(dst, n.At)
	dst = appendFloat32(dst, n.Listeners)
	return appendPairs(dst, n.Pairs)
}

// UnmarshalBinary reads the compact form into n, whose slice is reused. The
// error wraps a *DecodeError; n is then undefined.
func (n *Neighbours) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	r.version(neighboursVersion)
	n.At, n.Listeners = r.varint(), r.float32()
	n.Pairs = r.pairs(n.Pairs)
	return r.finish("neighbours")
}

// pairBytes is what a pair takes.
const pairBytes = 12

func appendPairs(dst []byte, pairs []Pair) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(pairs)))
	from := len(dst)
	dst = slices.Grow(dst, pairBytes*len(pairs))[:from+pairBytes*len(pairs)]
	b := dst[from:]
	for i, p := range pairs {
		binary.LittleEndian.PutUint64(b[pairBytes*i:], p.Song)
		binary.LittleEndian.PutUint32(b[pairBytes*i+8:], math.Float32bits(p.Weight))
	}
	return dst
}

// pairs reads a list of pairs into dst, which is reused.
func (r *reader) pairs(dst []Pair) []Pair {
	n := r.count(maxPairs, pairBytes)
	if n == 0 {
		return dst[:0]
	}
	dst = slices.Grow(dst[:0], n)[:n]
	b, infinite := r.take(pairBytes*n), false
	for i := range dst {
		bits := binary.LittleEndian.Uint32(b[pairBytes*i+8:])
		const exponent = 0x7f80_0000
		infinite = infinite || bits&exponent == exponent
		dst[i] = Pair{Song: binary.LittleEndian.Uint64(b[pairBytes*i:]), Weight: math.Float32frombits(bits)}
	}
	r.bad = r.bad || infinite
	return dst
}

// FactorRow is a published row of the song factors. State is opaque to every
// reader but the song task that wrote it.
type FactorRow struct {
	// Kind is the kind byte of the row and ID its id; ID aliases the input.
	Kind     byte
	ID       []byte
	Vector   []float32
	Evidence float32
	// FirstAt and LastAt are the first and last event times in Unix ms; 0 is none.
	FirstAt, LastAt int64
	// Plays counts every play and Updates every change ever applied.
	Plays, Updates uint64
	Popularity     Popularity
	// Listeners is the popularity by region.
	Listeners []RegionPopularity
	Trend     []TrendFlag
	// Acks tell which changes of which listens partition the row contains.
	Acks []Ack
	// State aliases the input.
	State []byte
	// Epoch counts the refits that the row has taken in; 0 is none.
	Epoch uint32
}

// Popularity holds decayed counts of first listens everywhere, by half-life,
// all of them valid at At (Unix ms).
type Popularity struct {
	At                         int64
	Value1d, Value7d, Value28d float64
}

// RegionPopularity is the decayed count of first listens in one region, with a
// half-life of seven days, valid at At (Unix ms).
type RegionPopularity struct {
	Region  [2]byte
	Value7d float64
	At      int64
}

// TrendFlag tells that the song is going viral in a region; the zero region is
// the world.
type TrendFlag struct {
	Region [2]byte
	Score  float32
	// StartedAt is Unix ms.
	StartedAt   int64
	Quarantined bool
}

// Ack is the last change of one listens partition that a row contains.
type Ack struct {
	Partition int32
	Seq       int64
}

// AppendBinary appends the compact form of f.
func (f *FactorRow) AppendBinary(dst []byte) []byte {
	version := byte(factorRowVersion)
	if f.Epoch != 0 {
		version = refittedRowVersion
	}
	dst = append(dst, version, f.Kind)
	dst = appendBytes(dst, f.ID)
	dst = appendFloats(dst, f.Vector)
	dst = appendFloat32(dst, f.Evidence)
	dst = binary.AppendVarint(dst, f.FirstAt)
	dst = binary.AppendVarint(dst, f.LastAt)
	dst = binary.AppendUvarint(dst, f.Plays)
	dst = binary.AppendUvarint(dst, f.Updates)
	dst = binary.AppendVarint(dst, f.Popularity.At)
	dst = appendFloat64(dst, f.Popularity.Value1d)
	dst = appendFloat64(dst, f.Popularity.Value7d)
	dst = appendFloat64(dst, f.Popularity.Value28d)
	dst = binary.AppendUvarint(dst, uint64(len(f.Listeners)))
	for _, l := range f.Listeners {
		dst = append(dst, l.Region[:]...)
		dst = appendFloat64(dst, l.Value7d)
		dst = binary.AppendVarint(dst, l.At)
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.Trend)))
	for _, t := range f.Trend {
		dst = append(dst, t.Region[:]...)
		dst = appendFloat32(dst, t.Score)
		dst = binary.AppendVarint(dst, t.StartedAt)
		dst = appendBool(dst, t.Quarantined)
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.Acks)))
	for _, a := range f.Acks {
		dst = binary.AppendVarint(dst, int64(a.Partition))
		dst = binary.AppendVarint(dst, a.Seq)
	}
	dst = appendBytes(dst, f.State)
	if f.Epoch != 0 {
		dst = binary.AppendUvarint(dst, uint64(f.Epoch))
	}
	return dst
}

// UnmarshalBinary reads the compact form into f, whose slices are reused. ID
// and State alias b. The error wraps a *DecodeError; f is then undefined.
func (f *FactorRow) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	version := r.versionOf(factorRowVersion, refittedRowVersion)
	f.Kind = r.byte()
	f.ID = r.bytes(maxInternalID)
	f.Vector = r.floats(f.Vector)
	f.Evidence = r.float32()
	f.FirstAt, f.LastAt = r.varint(), r.varint()
	f.Plays, f.Updates = r.uvarint(), r.uvarint()
	f.Popularity = Popularity{At: r.varint(), Value1d: r.float64(), Value7d: r.float64(), Value28d: r.float64()}
	f.Listeners = f.Listeners[:0]
	for range r.count(maxRegions, 2+8+1) {
		f.Listeners = append(f.Listeners, RegionPopularity{Region: r.region(), Value7d: r.float64(), At: r.varint()})
	}
	f.Trend = f.Trend[:0]
	for range r.count(maxRegions, 2+4+1+1) {
		f.Trend = append(f.Trend, TrendFlag{
			Region: r.region(), Score: r.float32(), StartedAt: r.varint(), Quarantined: r.bool(),
		})
	}
	f.Acks = f.Acks[:0]
	for range r.count(maxAcks, 1+1) {
		f.Acks = append(f.Acks, Ack{Partition: r.int32(), Seq: r.varint()})
	}
	f.State = r.bytes(maxState)
	if f.Epoch = 0; version == refittedRowVersion {
		f.Epoch = r.uint32()
		r.bad = r.bad || f.Epoch == 0
	}
	return r.finish("factor row")
}

// appendBool appends 0 or 1.
func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
