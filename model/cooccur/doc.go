// Package cooccur counts which songs are first heard by the same listeners within a short stretch of each other's first listens, and
// keeps for each song the neighbours that it shares most listeners with.
//
// The likeness of two songs is the cosine of their listeners, shrunk so that rare pairs do not win (models.md §0.1; shrinkage as in
// Bell, Koren: "Scalable collaborative filtering with jointly derived neighborhood interpolation weights", 2007):
//
//	sim(i, j) = n_ij / ((n_i + s)^½ (n_j + s)^½)
//
// All counts fade with one half-life. A row is additive: changes may come in any order and from anywhere.
package cooccur
