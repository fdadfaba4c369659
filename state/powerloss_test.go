package state

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// lossesFlag makes a campaign of the test: make power-loss N=10000.
var lossesFlag = flag.Int("losses", 0, "how often TestPowerLossLeavesAPrefix cuts the power; 0 is what it takes in CI")

// unsynced is how much of what was not synced is still there after a power loss, in percent.
var unsynced = [...]int{0, 10, 50, 90, 100}

// moment is when the power goes.
type moment int

const (
	betweenWrites moment = iota
	inAWrite             // at an operation on the disk: of a write, a flush, a compaction or a scrub
	atOpen               // at an operation on the disk while the survivor of another power loss opens
	moments
)

func (m moment) String() string {
	return [...]string{"between writes", "in a write", "at open"}[m]
}

// socket is what the disk is plugged into: at an operation chosen before, it keeps what a power loss would leave.
type socket struct {
	disk *CrashFS

	mu      sync.Mutex
	left    int // operations until the power goes; 0: it does not
	percent int
	rng     *rand.Rand
	durable func() int
	copied  *CrashFS
	floor   int // what durable said at that moment
}

var _ errorfs.Injector = (*socket)(nil)

func (*socket) String() string { return "socket" }

// MaybeError never fails an operation, it only watches.
func (s *socket) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return nil
	}
	if s.left--; s.left == 0 {
		s.cutLocked()
	}
	return nil
}

// arm has the power go at the n-th write from now on.
func (s *socket) arm(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = n
}

// cut returns what is left of the disk, and the newest step that was durable then. If the moment has not come yet, it is now.
func (s *socket) cut() (*CrashFS, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copied == nil {
		s.cutLocked()
	}
	copied := s.copied
	s.left, s.copied = 0, nil
	return copied, s.floor
}

func (s *socket) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copied != nil
}

func (s *socket) cutLocked() {
	s.percent = unsynced[s.rng.IntN(len(unsynced))]
	s.floor = s.durable()
	s.copied = s.disk.Crash(s.percent, s.rng)
}

// campaign is a store that loses power again and again, and what came of it.
type campaign struct {
	tb      testing.TB
	rng     *rand.Rand
	history *history
	socket  *socket
	shared  *Shared
	store   *Store

	lost, duplicated, wrong int
	tails, whole            int // survivors that miss something, and those that miss nothing
	at                      [moments]int
}

// scrubSoon is short enough for scrubs to be under way when the power goes.
const scrubSoon = time.Millisecond

// open opens what a power loss left as the next process would. Nothing may be set aside.
func (*campaign) open(fs FS) (*Shared, *Store, error) {
	cfg := testConfig(fs)
	var at atomic.Int64 // scrubs look at the clock beside the writer
	at.Store(cfg.Now().UnixMilli())
	cfg.Now = func() time.Time { return time.UnixMilli(at.Add(1000)) }
	cfg.ScrubDelay = scrubSoon
	var aside error
	shared, err := NewShared(cfg, Deps{OnQuarantine: func(q Quarantine) {
		aside = fmt.Errorf("set aside as %s: %w", q.Reason, cmp.Or(q.Cause, errors.New("no cause")))
	}})
	if err != nil {
		return nil, nil, err
	}
	store, err := shared.Open(testID)
	if err := errors.Join(err, aside); err != nil {
		return nil, nil, errors.Join(err, shared.Close())
	}
	return shared, store, nil
}

// plug gives a disk a socket of its own.
func (c *campaign) plug(disk *CrashFS) (FS, *socket) {
	s := &socket{disk: disk, rng: rand.New(rand.NewPCG(c.rng.Uint64(), 0)), durable: c.history.lastSynced}
	return errorfs.Wrap(disk.MemFS, s), s
}

// lose cuts the power once and judges what is left.
func (c *campaign) lose() {
	c.tb.Helper()
	when := moment(c.rng.IntN(int(moments)))
	c.at[when]++
	if when == inAWrite {
		c.socket.arm(1 + c.rng.IntN(150))
		for range 200 {
			if c.history.advance(c.tb, c.store); c.socket.gone() {
				break
			}
		}
	} else {
		for range c.rng.IntN(40) {
			c.history.advance(c.tb, c.store)
		}
	}
	disk, floor := c.socket.cut()
	if when == atOpen {
		disk = c.loseAgain(disk)
	}
	fs, plug := c.plug(disk)
	shared, store, err := c.open(fs)
	if err != nil {
		c.complain(&c.wrong, when, fmt.Errorf("it does not open: %w", err))
		return
	}
	step, ok := c.judge(store, floor, when)
	if !ok || c.rng.IntN(4) > 0 {
		closeIn(c.tb, shared)
		return
	}
	// What the survivor holds is all there is now.
	closeIn(c.tb, c.shared)
	c.socket, c.shared, c.store = plug, shared, store
	c.history.restart(step)
}

// loseAgain cuts the power while the survivor opens.
func (c *campaign) loseAgain(disk *CrashFS) *CrashFS {
	fs, plug := c.plug(disk)
	plug.arm(1 + c.rng.IntN(12))
	shared, _, err := c.open(fs)
	if err != nil {
		c.complain(&c.wrong, atOpen, fmt.Errorf("it does not open: %w", err))
		return disk
	}
	again, _ := plug.cut()
	closeIn(c.tb, shared)
	return again
}

// judge tells what a survivor holds: a step that is not before the floor, or it says what is wrong.
func (c *campaign) judge(store *Store, floor int, when moment) (step int, ok bool) {
	got, err := rows(store)
	if err != nil {
		c.complain(&c.wrong, when, err)
		return 0, false
	}
	step, err = c.history.match(got, store.Offset(), floor)
	if err == nil {
		if step < c.history.newest() {
			c.tails++
		} else {
			c.whole++
		}
		return step, true
	}
	c.complain(c.kind(got, store.Offset()), when, err)
	return 0, false
}

// kind tells what a state that is no prefix does to the task that goes on with it. Rows older than the offset lack what nobody reads
// again; rows newer than the offset get it twice.
func (c *campaign) kind(got map[string]string, offset int64) *int {
	h := c.history
	if _, err := h.match(got, offset, h.first); err == nil {
		return &c.lost // a prefix, but of what was durable
	}
	for n := h.newest(); n >= h.first; n-- {
		if maps.Equal(h.at(n), got) {
			if offset > h.steps[n-h.first].offset {
				return &c.lost
			}
			return &c.duplicated
		}
	}
	return &c.wrong
}

func (c *campaign) complain(counter *int, when moment, err error) {
	c.tb.Helper()
	*counter++
	if c.lost+c.duplicated+c.wrong <= 10 {
		c.tb.Errorf("power lost %s, %d %% of what was not synced is there: %v", when, c.socket.percent, err)
	}
}

// closeIn is closeAll for helpers.
func closeIn(tb testing.TB, s *Shared) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Error(err)
	}
}

// TestPowerLossLeavesAPrefix cuts the power at random moments, in the middle of writes, flushes, compactions, scrubs and openings too, with
// any part of the unsynced data lost, and expects rows and offset of one and the same moment, not before the last durable write. Now and
// then the survivor lives on and loses power again.
func TestPowerLossLeavesAPrefix(t *testing.T) {
	noLeaks(t)
	losses := cmp.Or(*lossesFlag, 100)
	t.Logf("seed %d", *seed)
	c := &campaign{tb: t, rng: rand.New(rand.NewPCG(*seed, 11)), history: newHistory(*seed)}
	fs, plug := c.plug(NewCrashFS())
	c.socket = plug
	var err error
	if c.shared, c.store, err = c.open(fs); err != nil {
		t.Fatal(err)
	}
	for n := range losses {
		if n > 0 && n%1000 == 0 {
			t.Logf("%d of %d power losses", n, losses)
		}
		c.lose()
	}
	closeIn(t, c.shared)
	t.Logf("%d power losses (%d %s, %d %s, %d %s): %d took a tail, %d took nothing, %d writes", losses,
		c.at[betweenWrites], betweenWrites, c.at[inAWrite], inAWrite, c.at[atOpen], atOpen, c.tails, c.whole, c.history.newest())
	if c.tails == 0 || c.whole == 0 {
		t.Errorf("power losses took a tail %d times and nothing %d times: the test must see both", c.tails, c.whole)
	}
	t.Logf("%d lost, %d duplicated, %d wrong of %d", c.lost, c.duplicated, c.wrong, losses)
}

// moving takes copies of the disk whenever the marker moves to a new list of files.
type moving struct {
	disk   *CrashFS
	rng    *rand.Rand
	mu     sync.Mutex
	copies []*CrashFS
}

var _ errorfs.Injector = (*moving)(nil)

func (*moving) String() string { return "moving" }

// MaybeError never fails an operation. The old marker is removed when the new one is there, and before their directory is synced.
func (m *moving) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpRemove && strings.HasPrefix(path.Base(op.Path), "marker.manifest.") {
		m.mu.Lock()
		defer m.mu.Unlock()
		for range 8 {
			m.copies = append(m.copies, m.disk.Crash(50, m.rng))
		}
	}
	return nil
}

// TestAMarkerNamesAListThatIsThere: a file and the marker that names it are two entries of one directory, and a power loss may leave the
// later one alone, unless the directory was synced in between.
func TestAMarkerNamesAListThatIsThere(t *testing.T) {
	disk := NewCrashFS()
	m := &moving{disk: disk, rng: rand.New(rand.NewPCG(*seed, 23))}
	shared, store := reopen(t, errorfs.Wrap(disk.MemFS, m))
	h := newHistory(*seed)
	for range 200 {
		h.advance(t, store)
	}
	closeAll(t, shared)
	if len(m.copies) < 40 {
		t.Fatalf("the marker moved %d times only", len(m.copies)/8)
	}
	for _, left := range m.copies {
		survivor, _ := reopen(t, left)
		closeAll(t, survivor)
	}
}
