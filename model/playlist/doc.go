// Package playlist chooses and orders the tracks of one weekly playlist from ranked candidates.
//
// The list has slots of five kinds: taste, artist and popular follow the ranking, trend slots hold songs that are spreading now, and explore
// slots draw songs that hardly anybody has heard, so that the model learns about them; what chance decided carries the
// probability with which it did (shared/models.md §B.4, §B.5, §B.7, §B.8).
//
// The invariant it protects: no song and no recording is in a list twice; an artist has at most ArtistCap tracks as
// long as the candidates last; the list is shorter than asked only if there are fewer candidates.
//
// It refuses to rank, and to draw from any source of chance but the one it is given.
package playlist
