package refit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"earworm/consumers/stream"
	"earworm/model/als"
	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
)

// ErrNothing means that there is nothing to fit to.
var ErrNothing = errors.New("no listener has come to a song yet")

// FitConfig says how to fit.
type FitConfig struct {
	// Sweeps is how often everything is solved, Steps how many steps of conjugate gradients each row takes.
	Sweeps, Steps int
	// HalfLife fades what a listener came to by the time of their last event with it, up to At, Unix ms.
	HalfLife decay.HalfLife
	At       int64
	// Begin, if set, is told how much there is to do, Done how much more is done. Done is called concurrently.
	Begin func(total int64)
	Done  func(n int64)
}

// DefaultFit returns the settings in use, without an instant.
func DefaultFit() FitConfig {
	return FitConfig{Sweeps: 1, Steps: 8, HalfLife: rank.DefaultParams().FoldHalfLife}
}

// Move is by how much a row moves.
type Move struct {
	Row    factor.Index
	Kind   factor.Kind
	ID     string
	Base   uint32 // the epoch in which the row was read
	Vector []float32
}

// Plan is a fit that can be sent.
type Plan struct {
	Epoch uint32
	Moves []Move

	Listeners, Songs, Pairs int
	LossBefore, LossAfter   float64
	Cosine                  float64 // mean, between songs before and after
}

// problem is the table's rows as a fit has them.
type problem struct {
	als.Problem
	table  *factor.Table
	rows   []factor.Index // by number
	number []int32        // by Index: number of the row, plus one
	song   []int32        // by Index: number of the song, plus one
}

// Prepare fits the rows of a table, to which nothing may come meanwhile, to histories.
func Prepare(ctx context.Context, table *factor.Table, histories *Histories, cfg FitConfig) (*Plan, error) {
	p := newProblem(table)
	p.Steps = cfg.Steps
	pairs := p.listen(histories, cfg)
	if pairs == 0 {
		return nil, ErrNothing
	}
	if cfg.Begin != nil {
		cfg.Begin(int64(p.Work(cfg.Sweeps)))
	}
	if cfg.Done != nil {
		p.Done = func(units int) { cfg.Done(int64(units)) }
	}
	was := slices.Clone(p.Rows)
	fit, err := als.New(ctx, &p.Problem)
	if err != nil {
		return nil, fmt.Errorf("solving the listeners: %w", err)
	}
	plan := &Plan{Epoch: table.Epoch() + 1, Listeners: len(p.Past), Songs: len(p.Songs), Pairs: pairs, LossBefore: fit.Loss()}
	songs := fit.Vectors()
	for range cfg.Sweeps {
		if err := fit.Sweep(ctx); err != nil {
			return nil, fmt.Errorf("solving the rows: %w", err)
		}
	}
	plan.LossAfter = fit.Loss()
	p.turnBack(fit, songs)
	plan.Cosine = als.Cosine(songs, p.effective(), p.Params.Dim)
	plan.Moves = p.moves(was)
	return plan, nil
}

// newProblem reads every song that anybody has come to, and its rows.
func newProblem(table *factor.Table) *problem {
	p := &problem{table: table, number: make([]int32, table.Rows()+1), song: make([]int32, table.Rows()+1)}
	p.Params = table.Params()
	vector := make([]float32, p.Params.Dim)
	for _, song := range table.SongList() {
		if int(song) >= len(p.song) || table.Vector(song, vector) == 0 {
			continue
		}
		var parts []als.Part
		table.Parts(song, func(row factor.Index, share float32) {
			n := p.row(row)
			if at := slices.IndexFunc(parts, func(part als.Part) bool { return part.Of == n }); at >= 0 {
				parts[at].Share += share // a genre that is named twice
				return
			}
			parts = append(parts, als.Part{Of: n, Share: share})
		})
		p.Songs = append(p.Songs, parts)
		p.song[song] = int32(len(p.Songs)) //nolint:gosec // as many as the table has
	}
	return p
}

// row returns the number of a row.
func (p *problem) row(i factor.Index) int32 {
	for int(i) >= len(p.number) {
		p.number = append(p.number, 0)
	}
	if n := p.number[i]; n != 0 {
		return n - 1
	}
	n, d := len(p.rows), p.Params.Dim
	p.rows = append(p.rows, i)
	p.Rows = append(p.Rows, make([]float32, d)...)
	p.table.Vector(i, p.Rows[n*d:])
	p.number[i] = int32(n + 1) //nolint:gosec // as many as the table has
	return int32(n)            //nolint:gosec // as above
}

// negligible is the weight below which a song says nothing of a listener any more.
const negligible = 1e-3

// listen enters the histories, and has those rows solved that somebody in them came to. It returns the number of pairs.
func (p *problem) listen(h *Histories, cfg FitConfig) (pairs int) {
	touched := make([]bool, len(p.rows))
	for _, user := range h.users() {
		past := make([]als.Pair, 0, len(h.listeners[user].heard))
		for _, e := range h.listeners[user].heard {
			i, known := p.table.Lookup(e.song)
			if !known || int(i) >= len(p.song) || p.song[i] == 0 {
				continue // it came after the rows were read
			}
			if w := e.weight(cfg.At, cfg.HalfLife); w > negligible {
				past = append(past, als.Pair{Of: p.song[i] - 1, Weight: w})
				for _, part := range p.Songs[p.song[i]-1] {
					touched[part.Of] = true
				}
			}
		}
		if len(past) > 0 {
			p.Past = append(p.Past, past)
			pairs += len(past)
		}
	}
	// What many share first: what is left for a song's own row is what is its own.
	kinds := []factor.Kind{factor.KindGenre, factor.KindLanguage, factor.KindArtist, factor.KindSong}
	p.Levels = make([][]int32, len(kinds))
	for n, i := range p.rows {
		if level := slices.Index(kinds, p.table.KindAt(i)); level >= 0 && touched[n] {
			p.Levels[level] = append(p.Levels[level], int32(n))
		}
	}
	p.Levels = slices.DeleteFunc(p.Levels, func(level []int32) bool { return len(level) == 0 })
	return pairs
}

// turnBack takes out of the fit what only turned all songs together.
func (p *problem) turnBack(fit *als.Fit, songs []float32) {
	d := p.Params.Dim
	turn := als.Rotation(fit.Vectors(), songs, d, fit.Evidence)
	for _, level := range p.Levels {
		for _, n := range level {
			als.Rotate(p.Rows[int(n)*d:int(n+1)*d], turn, d)
		}
	}
}

// effective returns the vectors of all songs as the rows stand.
func (p *problem) effective() []float32 {
	d := p.Params.Dim
	out := make([]float32, len(p.Songs)*d)
	for s, parts := range p.Songs {
		for _, part := range parts {
			for i, v := range p.Rows[int(part.Of)*d : int(part.Of+1)*d] {
				out[s*d+i] += part.Share * v
			}
		}
	}
	return out
}

// moves are the differences to what the rows were.
func (p *problem) moves(was []float32) []Move {
	d := p.Params.Dim
	var moves []Move
	for _, level := range p.Levels {
		for _, n := range level {
			i, by := p.rows[n], p.Rows[int(n)*d:int(n+1)*d:int(n+1)*d]
			for k := range by {
				by[k] -= was[int(n)*d+k]
			}
			moves = append(moves, Move{Row: i, Kind: p.table.KindAt(i), ID: p.table.ID(i), Base: p.table.EpochOf(i), Vector: by})
		}
	}
	return moves
}

// recordBytes is the size from which a record of moves is sent.
const recordBytes = 32 << 10

// Apply moves the rows of the table that the plan was made of, as their song tasks will.
func (p *Plan) Apply(table *factor.Table) {
	vector := make([]float32, table.Params().Dim)
	for i := range p.Moves {
		m := &p.Moves[i]
		row := factor.Published{Kind: m.Kind, ID: m.ID, Evidence: table.Vector(m.Row, vector), Vector: vector, Epoch: p.Epoch}
		for k, by := range m.Vector {
			vector[k] += by
		}
		s := table.Stats(m.Row)
		row.Popularity, row.Trend, row.FirstAt, row.LastAt = s.Popularity, s.Trend, s.FirstAt, s.LastAt
		table.Load(row)
	}
}

// Send hands over the records of the song updates topic that bring the plan to the song tasks, whose topics have so many partitions, each
// with the number of rows in it.
func (p *Plan) Send(partitions int32, send func(partition int32, rows int, value []byte)) {
	type record struct {
		rows  int
		value []byte
	}
	filling := make([]record, partitions)
	flush := func(to int32) {
		if r := &filling[to]; r.rows > 0 {
			send(to, r.rows, schemas.MarkSongUpdates(r.value, schemas.SongMark{Partition: schemas.NoPartition}))
			*r = record{}
		}
	}
	var key []byte
	for i := range p.Moves {
		m := &p.Moves[i]
		key = append(append(key[:0], byte(m.Kind)), m.ID...)
		to := stream.PartitionOf(key, partitions)
		r := &filling[to]
		r.rows++
		r.value = schemas.AppendSongUpdate(r.value, &schemas.SongUpdate{
			Kind: byte(m.Kind), ID: []byte(m.ID), Vector: m.Vector, Epoch: p.Epoch, Base: m.Base,
		})
		if len(r.value) >= recordBytes {
			flush(to)
		}
	}
	for to := range partitions {
		flush(to)
	}
}
