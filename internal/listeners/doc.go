// Package listeners simulates a world of people listening to music whose true tastes are known, so that what
// earworm learns can be held against the truth.
//
// People have a few interests (directions in a latent space around scenes of artists), languages, a region with
// its time zone and a rhythm of the week; they replay what they know, try new songs mostly within their taste,
// skip as measured on real listeners (../../../shared/data/README.md, "Figures"), drift, and get swept up by songs
// that go viral. The catalogue is Zipf-like and grows during the run. Bots, resent, late and broken events are part
// of the stream, each counted.
//
// It protects one invariant: the same Config gives the same stream, event for event, however often and in whatever
// order weeks are asked for (on one architecture: fused multiply-add may differ between two).
//
// It refuses to know earworm: it imports none of its packages, and writes events in the public JSON spelling on
// its own, as any producer would.
package listeners
