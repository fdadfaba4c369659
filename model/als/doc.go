// Package als fits factor rows to whole histories by alternating least squares: the batch form of what model/factor learns from a stream.
//
// Fit minimises the loss of factor.Learner, row by row, each exactly as far as a few conjugate gradient steps go, so a sweep never raises
// it. Songs are sums of rows that they share, and every row of the sum is solved beside the others. Rotation finds the orthogonal matrix
// that brings one set of vectors nearest to another: what was fitted can be turned back so that vectors mean what they meant before.
//
// It is pure arithmetic: it reads no clock, draws no random numbers, and gives the same result on any number of processors.
package als
