// Package interest divides the songs that a listener came to into interests, so that each can be asked for songs of its own: one vector
// for somebody who likes metal and lullabies lies between the two, where there is neither (Pal et al., "PinnerSage: multi-modal user
// embedding framework for recommendations at Pinterest", KDD 2020).
//
// It protects one invariant: the same vectors give the same interests.
//
// It refuses to know what the vectors mean and what becomes of the interests.
package interest
