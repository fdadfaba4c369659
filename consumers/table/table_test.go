package table_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"earworm/consumers/table"
	"earworm/internal/broker"
	"earworm/model/cooccur"
	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a broker with both topics, a producer, and a table that follows.
type rig struct {
	tb      testing.TB
	broker  *broker.Broker
	client  *kgo.Client
	factors *factor.Table
	near    *cooccur.Table
	ranker  *rank.Ranker
	reg     *prometheus.Registry
	log     bytes.Buffer
	role    *table.Table
}

func newRig(t *testing.T) *rig {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(client).CreateTopics(t.Context(), 2, 1, nil, "factors", "catalog"); err != nil {
		t.Fatal(err)
	}
	params := factor.DefaultParams()
	params.Dim = 4
	r := &rig{tb: t, broker: b, client: client, factors: factor.NewTable(params), reg: prometheus.NewPedanticRegistry()}
	near := cooccur.NewTable(cooccur.DefaultParams(), r.factors)
	r.ranker = rank.New(r.factors, near, rank.DefaultParams())
	r.near = near
	r.role, err = table.New(
		table.Config{SongFactors: "factors", Catalog: "catalog", ClientOptions: []kgo.Opt{kgo.SeedBrokers(b.Addrs()...)}},
		table.Deps{Tables: table.Tables{Factors: r.factors, Neighbours: near, Ranker: r.ranker}, Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Registerer: r.reg},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// run follows until the returned function is called.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.role.Run(ctx) }()
	return func() {
		r.tb.Helper()
		cancel()
		if err := <-done; err != nil {
			r.tb.Errorf("following ended with %v", err)
		}
	}
}

func (r *rig) produce(topic string, key, value []byte) {
	r.tb.Helper()
	rec := &kgo.Record{Topic: topic, Partition: int32(len(key) % 2), Key: key, Value: value}
	if err := r.client.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) row(row schemas.FactorRow) {
	r.tb.Helper()
	r.produce("factors", state.AppendFactorKey(nil, row.Kind, row.ID), row.AppendBinary(nil))
}

// eventually waits for what another goroutine does: the follower has no signal for a single record.
func (r *rig) eventually(what string, holds func() bool) {
	r.tb.Helper()
	for deadline := time.After(10 * time.Second); !holds(); {
		select {
		case <-deadline:
			r.tb.Fatalf("never: %s; log: %s", what, r.log.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func row(id string, vector ...float32) schemas.FactorRow {
	return schemas.FactorRow{Kind: byte(factor.KindSong), ID: []byte(id), Vector: vector, Evidence: .5}
}

func (r *rig) vector(kind factor.Kind, id string) []float32 {
	v := make([]float32, 4)
	r.factors.Vector(r.factors.Row(kind, id), v)
	return v
}

func TestFollowsRowsAndCatalogue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	full := row("s1", 1, 2, 3, 4)
	full.Plays, full.FirstAt, full.LastAt = 7, 1000, 2000
	full.Popularity = schemas.Popularity{At: 2000, Value1d: 1, Value7d: 2, Value28d: 3}
	full.Listeners = []schemas.RegionPopularity{{Region: [2]byte{'D', 'E'}, Value7d: 4, At: 1500}}
	full.Trend = []schemas.TrendFlag{{Region: [2]byte{'J', 'P'}, Score: 5, StartedAt: 1200}, {Score: 6, StartedAt: 1300, Quarantined: true}}
	r.row(full)
	artist := row("Abba", 4, 3, 2, 1)
	artist.Kind = byte(factor.KindArtist)
	r.row(artist)
	r.produce("catalog", []byte("s1"), []byte(
		`{"song_id":"s1","title":"SOS","artist":"Abba","album":"ABBA","genres":["pop"],"language":"en","duration_ms":201000,"tempo":120,"energy":0.5,"released_at":"1975-06-01"}`))
	r.produce("factors", state.AppendSeasonKey(nil, [2]byte{}), []byte("the song task's own"))
	r.produce("catalog", []byte("gone"), nil)
	if ready, reason := r.role.Ready(); ready || !strings.Contains(reason, "0 rows") {
		t.Errorf("ready before it ran: %q", reason)
	}
	stop := r.run()
	defer stop()
	<-r.role.CaughtUp()
	if ready, reason := r.role.Ready(); !ready {
		t.Errorf("not ready: %s", reason)
	}
	song := r.factors.Song("s1")
	if got := r.vector(factor.KindSong, "s1"); got[0] != 1 || got[3] != 4 {
		t.Errorf("vector %v", got)
	}
	if got := r.vector(factor.KindArtist, "Abba"); got[0] != 4 {
		t.Errorf("vector of the artist %v", got)
	}
	s := r.factors.Stats(song)
	if s.Popularity.Total != 7 || s.FirstAt != 1000 || s.LastAt != 2000 || s.Popularity.Day != (decay.Counter{Value: 1, At: 2000}) ||
		s.Popularity.Month.Value != 3 || len(s.Popularity.Regions) != 1 || s.Popularity.Regions[0].Week.Value != 4 {
		t.Errorf("statistics %+v", s)
	}
	if best, ok := s.Trend.Best(factor.RegionOf("JP")); !ok || best.Score != 5 || best.StartedAt != 1200 || !s.Trend.Quarantined() {
		t.Errorf("trends %+v", s.Trend)
	}
	m := r.factors.Meta(song)
	if m.Title != "SOS" || m.Artist != "Abba" || m.Album != "ABBA" || m.Language != "en" || m.DurationMs != 201_000 || m.Tempo != 120 ||
		m.Energy != .5 || m.ReleasedAt != time.Date(1975, 6, 1, 0, 0, 0, 0, time.UTC).UnixMilli() || len(m.Genres) != 1 {
		t.Errorf("description %+v", m)
	}

	// It goes on following, and the last word counts.
	r.row(row("s1", 3, 3, 3, 3))
	r.row(row("s2", 2, 2, 2, 2))
	r.produce("catalog", []byte("s1"), []byte(`{"song_id":"s1","title":"S.O.S."}`))
	r.eventually("new rows arrive", func() bool {
		return r.vector(factor.KindSong, "s1")[0] == 3 && r.vector(factor.KindSong, "s2")[0] == 2 && r.factors.Meta(song).Title == "S.O.S."
	})
	if r.log.Len() != 0 {
		t.Errorf("logged %s", r.log.String())
	}
}

// TestUndecodableRecordsAreCountedAndSkipped puts them in front of good ones.
func TestUndecodableRecordsAreCountedAndSkipped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := state.AppendFactorKey(nil, byte(factor.KindSong), []byte("s1"))
	r.produce("factors", key, []byte{99, 98})
	r.produce("factors", []byte("no key of ours"), []byte("x"))
	r.produce("factors", key, nil)
	r.produce("catalog", []byte("s1"), []byte("{"))
	r.produce("catalog", []byte("s1"), []byte{})
	r.produce("catalog", nil, []byte(`{"title":"of nothing"}`))
	r.row(row("s1", 1, 2, 3, 4))
	r.row(row("s2", 1)) // of another width: its statistics count, its factors do not
	r.produce("catalog", []byte("s1"), []byte(`{"song_id":"s1","title":"SOS"}`))
	stop := r.run()
	<-r.role.CaughtUp()
	stop()
	if got := r.vector(factor.KindSong, "s1"); got[0] != 1 || r.factors.Meta(r.factors.Song("s1")).Title != "SOS" {
		t.Errorf("what follows is lost: %v", got)
	}
	want := `
# HELP earworm_table_records_skipped_total Records of the broadcast topics that did not decode.
# TYPE earworm_table_records_skipped_total counter
earworm_table_records_skipped_total 4
# HELP earworm_table_rows_loaded_total Published factor rows taken in.
# TYPE earworm_table_rows_loaded_total counter
earworm_table_rows_loaded_total 2
# HELP earworm_table_songs_described_total Songs of the catalogue taken in.
# TYPE earworm_table_songs_described_total counter
earworm_table_songs_described_total 1
`
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "earworm_table_records_skipped_total",
		"earworm_table_rows_loaded_total", "earworm_table_songs_described_total"); err != nil {
		t.Error(err)
	}
	if n := strings.Count(r.log.String(), "skipping a record of the table"); n != 4 || strings.Contains(r.log.String(), "s1") {
		t.Errorf("%d warnings in\n%s", n, r.log.String())
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []table.Config{{}, {SongFactors: "a"}, {Catalog: "b"}} {
		if _, err := table.New(cfg, table.Deps{}); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
