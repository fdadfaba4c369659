// Package engagement turns one event of a listener into one number: how much it says that the listener wants
// more of the song.
//
// The invariant it protects: hearing more of a song never lowers its value, an explicit signal outweighs any
// single play, and every value lies in [Min, Max] whatever the event claims about lengths.
//
// It refuses to remember: sums over time are decay's, filters for disliked or banned songs are the caller's.
package engagement
