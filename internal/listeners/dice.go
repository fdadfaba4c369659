package listeners

import (
	"math"
	"math/bits"
)

// dice is a SplitMix64 generator (Steele, Lea, Flood 2014): eight bytes of state, so that every listener has one
// of his own and the order in which listeners are simulated does not matter.
type dice uint64

// The purposes a stream of dice is for; each gives independent streams.
const (
	forScenes = iota + 1
	forArtists
	forSongs
	forListeners
	forDrift
	forListening
	forPlaylists
	forVirals
	forBots
)

func roll(seed uint64, purpose, index int) dice {
	return dice(mix(seed ^ mix(uint64(purpose)<<48^uint64(index)))) //nolint:gosec // purposes and indices are not negative
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	return mix(uint64(*d))
}

// float is uniform in [0, 1).
func (d *dice) float() float64 { return float64(d.next()>>11) * 0x1p-53 }

// chance is true with probability p.
func (d *dice) chance(p float64) bool { return d.float() < p }

// below is uniform in 0..n-1.
func (d *dice) below(n int) int {
	high, _ := bits.Mul64(d.next(), uint64(n)) //nolint:gosec // n is a length
	return int(high)                           //nolint:gosec // below n
}

// within is uniform in [low, high).
func (d *dice) within(low, high float64) float64 { return low + (high-low)*d.float() }

// logWithin is log-uniform in [low, high): every order of magnitude is as likely.
func (d *dice) logWithin(low, high float64) float64 { return low * math.Pow(high/low, d.float()) }

// normal is standard normal (Box-Muller; 1-u keeps the logarithm finite).
func (d *dice) normal() float64 {
	r := math.Sqrt(-2 * math.Log(1-d.float()))
	return r * math.Cos(2*math.Pi*d.float())
}

// exponential has mean 1.
func (d *dice) exponential() float64 { return -math.Log(1 - d.float()) }

// poisson counts by inter-arrival products (Knuth), in pieces so that exp does not underflow.
func (d *dice) poisson(mean float64) int {
	n := 0
	for mean > 0 {
		piece := min(mean, 50)
		mean -= piece
		limit, p := math.Exp(-piece), d.float()
		for p > limit {
			p *= d.float()
			n++
		}
	}
	return n
}

// unit fills v with a random direction of length 1.
func (d *dice) unit() (v vector) {
	for i := range v {
		v[i] = float32(d.normal())
	}
	return v.normalised()
}

// near is a direction around v: noise of the given length is added before normalising.
func (d *dice) near(v vector, noise float32) vector {
	n := d.unit()
	for i := range v {
		v[i] += noise * n[i]
	}
	return v.normalised()
}

// latent is the dimension of the space of tastes.
const latent = 12

type vector [latent]float32

func (v vector) normalised() vector {
	length := float32(math.Sqrt(float64(dot(&v, &v))))
	for i := range v {
		v[i] /= length
	}
	return v
}

func dot(a, b *vector) float32 {
	var s, t float32
	for i := 0; i < latent; i += 2 {
		s += a[i] * b[i]
		t += a[i+1] * b[i+1]
	}
	return s + t
}

// alias draws an index with given weights in constant time (Walker 1977, set up as Vose 1991).
type alias struct {
	keep  []float32
	other []int32
}

func newAlias(weights []float64) alias {
	n := len(weights)
	a := alias{keep: make([]float32, n), other: make([]int32, n)}
	total := 0.
	for _, w := range weights {
		total += w
	}
	scaled := make([]float64, n)
	var small, large []int32
	for i, w := range weights {
		scaled[i] = w * float64(n) / total
		if scaled[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.keep[s], a.other[s] = float32(scaled[s]), l
		scaled[l] -= 1 - scaled[s]
		if scaled[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) { // what rounding left over
		a.keep[i], a.other[i] = 1, i
	}
	return a
}

func (a alias) draw(d *dice) int32 {
	i := d.below(len(a.keep))
	if float32(d.float()) < a.keep[i] {
		return int32(i) //nolint:gosec // at most 10 M songs
	}
	return a.other[i]
}
