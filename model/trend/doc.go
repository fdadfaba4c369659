// Package trend finds songs that go viral: a negative-binomial z score of recent trusted listeners against what the
// song, the hour and the region's traffic lead to expect, alarms with hysteresis, and guards against bought plays.
//
// The unit of counting is the trusted first play in 24 hours: a listener counts once per song and day, with a
// weight in [0, 1] that Trust gives. State counts one song in one region, Season the traffic of the region, Detector
// turns readings into episodes, Concentration judges where an armed song's plays come from.
//
// The invariant it protects: one episode is announced once, in event time; observations may arrive in any order, the
// clock of a state never runs back, and a state that is written and read again behaves as if it had never left.
//
// It refuses to know songs and listeners, to read the clock, and to publish: it returns verdicts.
//
// Formulas: models.md §C, from Hendrickson et al. 2015 (season), Noufaily et al. 2013 (winsorised negative-binomial
// baseline), Anscombe 1948 (variance-stabilised z) and Benjamini, Hochberg 1995 (alarms among many songs).
package trend
