package factor

import "math"

// Row is a factor row in the hands of its single writer, a song task.
type Row struct {
	Vector   []float32
	Evidence float32 // weight of the first listens and explicit words that it was trained on
}

// NewRow returns a row with the initial vector of its key.
func NewRow(p Params, k Key) Row {
	r := Row{Vector: make([]float32, p.Dim)}
	InitRow(p, k, r.Vector)
	return r
}

// Apply adds a combined change to the row and reports whether it was taken as it came. The change is shortened to
// Params.ChangeMax, a change of the wrong width or with a value that is not a number is ignored, and the
// row stays within Params.NormMax: whatever arrives, the row is finite and one change moves it only so far.
func (r *Row) Apply(p Params, d Delta) bool {
	if len(r.Vector) != p.Dim { // a row of another width cannot be learnt further: begin again
		r.Vector = make([]float32, p.Dim)
		InitRow(p, KeyOf(d.Kind, d.ID), r.Vector)
	}
	square := float32(0)
	if len(d.Vector) == p.Dim {
		square = dot(d.Vector, d.Vector)
	}
	if len(d.Vector) != p.Dim || !finite(square) || !finite(d.Evidence) {
		return false
	}
	whole := true
	share := float32(1)
	if norm := float32(math.Sqrt(float64(square))); norm > p.ChangeMax {
		share, whole = p.ChangeMax/norm, false
	}
	axpy(share, d.Vector, r.Vector)
	whole = bound(r.Vector, p.NormMax) && whole
	r.Evidence = min(max(r.Evidence+d.Evidence, 0), evidenceMax)
	return whole
}
