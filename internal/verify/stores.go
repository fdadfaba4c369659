package verify

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/state"
)

// stores are the local stores of a stopped process. A store may be behind its changelog; it must equal the changelog's prefix
// that ends at its offset.
type stores struct {
	shared   *state.Shared
	open     []*localStore
	rows     int // compared
	unproved int // rows whose prefix value compaction has removed
}

type localStore struct {
	*state.Store
	changelog string
	rows      map[string]prefixRow
}

// prefixRow is what the changelog says about one key.
type prefixRow struct {
	known  bool   // a record before the store's offset is there
	hash   uint64 // of the last such record's value
	gone   bool   // that record deletes the key
	beyond bool   // there is a record at or behind the store's offset: compaction may have removed earlier ones
}

// openStores opens what lies in dir, to read. The caller closes it.
func openStores(cfg Config) (s *stores, err error) {
	if _, err := os.Stat(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("looking for the state directory: %w", err)
	}
	shared, err := state.NewShared(state.Config{
		Dir: cfg.StateDir, Now: time.Now, MinFreeBytes: -1, MinFreePercent: -1,
	}, state.Deps{})
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	s = &stores{shared: shared}
	for role, changelog := range map[string]string{
		feed.RoleListener: cfg.Topics.ListenerChangelog, feed.RoleSong: cfg.Topics.SongFactors,
	} {
		partitions, err := shared.Stores(role)
		if err != nil {
			return nil, errors.Join(err, shared.Close())
		}
		for _, p := range partitions {
			opened, err := shared.OpenReadOnly(state.Identity{
				App: cfg.App, Role: role, Partition: p, Partitions: cfg.Partitions,
			})
			if err != nil {
				return nil, errors.Join(err, shared.Close())
			}
			s.open = append(s.open, &localStore{Store: opened, changelog: changelog, rows: map[string]prefixRow{}})
		}
	}
	return s, nil
}

func (s *stores) close() error {
	if s == nil {
		return nil
	}
	return s.shared.Close()
}

// forget drops what was read, before everything is read again.
func (s *stores) forget() {
	if s == nil {
		return
	}
	s.rows, s.unproved = 0, 0
	for _, st := range s.open {
		clear(st.rows)
	}
}

// record takes in one record of a changelog.
func (s *stores) record(rec *stream.Record) {
	if s == nil {
		return
	}
	for _, st := range s.open {
		if st.changelog != rec.Topic || st.Identity().Partition != rec.Partition {
			continue
		}
		row := st.rows[string(rec.Key)]
		if rec.Offset < st.Offset() {
			row.known, row.gone, row.hash = true, rec.Value == nil, xxhash.Sum64(rec.Value)
		} else {
			row.beyond = true
		}
		st.rows[string(rec.Key)] = row
	}
}

// compare judges every store by what was read of its changelog.
func (s *stores) compare(r *Result, spans map[stream.TopicPartition]stream.Span) error {
	if s == nil {
		return nil
	}
	for _, st := range s.open {
		id := st.Identity()
		span := spans[stream.TopicPartition{Topic: st.changelog, Partition: id.Partition}]
		if st.Offset() > span.End {
			r.wrong(1, "store %s: is at offset %d, its changelog ends at %d", id, st.Offset(), span.End)
		}
		found := make(map[string]bool, len(st.rows))
		err := st.Scan(nil, func(key, value []byte) error {
			found[string(key)] = true
			s.rows++
			row, there := st.rows[string(key)]
			switch {
			case row.known && (row.gone || row.hash != xxhash.Sum64(value)):
				r.wrong(1, "store %s: a row is not as in its changelog at offset %d", id, st.Offset())
			case there && !row.known:
				s.unproved++
			case !there:
				r.wrong(1, "store %s: a row that its changelog does not have", id)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading store %s: %w", id, err)
		}
		for _, key := range slices.Sorted(maps.Keys(st.rows)) {
			if row := st.rows[key]; row.known && !row.gone && !found[key] {
				r.wrong(1, "store %s: a row of its changelog is missing at offset %d", id, st.Offset())
			}
		}
	}
	return nil
}
