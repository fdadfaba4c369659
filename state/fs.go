package state

import (
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system that stores live on.
type FS = vfs.FS

// MemoryFS returns an empty file system in memory, for tests and for state that need not outlive the process.
func MemoryFS() FS { return vfs.NewMem() }

// CrashFS is a file system in memory that can show what a power failure would leave of it.
type CrashFS struct{ *vfs.MemFS }

// NewCrashFS returns an empty CrashFS.
func NewCrashFS() *CrashFS { return &CrashFS{vfs.NewCrashableMem()} }

// Crash returns what is left after a power failure at this moment: all that was synced and, by chance, the given percentage of
// what was not. The CrashFS itself goes on. With 100 the copy is what a killed process leaves.
func (c *CrashFS) Crash(unsyncedPercent int, rng *rand.Rand) *CrashFS {
	return &CrashFS{c.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rng})}
}
